# SPDX-License-Identifier: Apache-2.0
"""JSON in another process: the loop goes on meanwhile, and the process may die."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from makalu.serve.fronts import text
from makalu.serve.requests import Failure, ServeError

VALUES = list(range(text.BYTES))
"""Too many for this process."""


def run(test: Callable[[text.Texts], Awaitable[None]]) -> None:
    """A test with an object that is closed at its end."""
    async def closed() -> None:
        texts = text.Texts()
        try:
            await test(texts)
        finally:
            texts.close()
    asyncio.run(closed())


@pytest.mark.parametrize("count", [4, len(VALUES)])
def test_there_and_back(count: int) -> None:
    async def test(texts: text.Texts) -> None:
        value = {"data": VALUES[:count], "shape": [count], "none": [], "name": "x"}
        read = await texts.read(json.dumps(value).encode())
        assert isinstance(read["data"], np.ndarray)
        assert json.loads(await texts.write(read)) == value
    run(test)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000,
                                  b"[" + b"1," * text.BYTES], ids=len)
def test_no_json(body: bytes) -> None:
    async def test(texts: text.Texts) -> None:
        with pytest.raises(ServeError, match="the body is no JSON") as e:
            await texts.read(body)
        assert e.value.failure is Failure.BAD
    run(test)


def test_the_loop_goes_on() -> None:
    async def test(texts: text.Texts) -> None:
        await texts.read(json.dumps(VALUES).encode())      # the other process starts
        reading = asyncio.create_task(texts.read(json.dumps([0.1] * 1_000_000).encode()))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert len(await reading) == 1_000_000
        assert turns > 5        # read in this process it is one turn
    run(test)


def test_the_process_may_die() -> None:
    async def test(texts: text.Texts) -> None:
        for _ in range(2):
            assert len(await texts.read(json.dumps(VALUES).encode())) == len(VALUES)
            assert texts._pool is not None
            for pid in list(texts._pool._processes):
                os.kill(pid, signal.SIGKILL)
        assert len(await texts.read(json.dumps(VALUES).encode())) == len(VALUES)
    run(test)
