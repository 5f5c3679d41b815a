# SPDX-License-Identifier: Apache-2.0
"""JSON that does not stop the event loop: what is large is read and written by another process.

Python's JSON holds the interpreter's lock until it is done (28 ms for each MB that it reads, 1.2 us
for each number that it writes), so that a thread would not help.
"""

import asyncio
import json
import math
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from makalu.serve.fronts.tensors import bad, condensed, to_json

BYTES = 1 << 16
"""JSON of so many bytes is read at once: 2 ms."""

NUMBERS = 1 << 11
"""Arrays of so many elements together are written at once: 2 ms."""


def read(text: bytes) -> Any:
    """A JSON value, its lists of numbers as arrays. ``NaN`` and ``Infinity`` are numbers.

    Raises
    ------
    ValueError
    """
    try:
        return condensed(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write(value: Any) -> bytes:
    """JSON of a value that may contain arrays, which are nested as their shape is."""
    return json.dumps(value, default=to_json, separators=(",", ":")).encode()


class Texts:
    """Reads and writes JSON.

    The other process is started when it is first needed, and again if it dies.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def read(self, text: bytes) -> Any:
        """As :func:`read`; a ServeError BAD if it is no JSON."""
        try:
            return read(text) if len(text) <= BYTES else await self._elsewhere(read, text)
        except ValueError as e:
            raise bad(f"the body is no JSON ({e}); send one JSON value in UTF-8") from None

    async def write(self, value: Mapping[str, Any]) -> bytes:
        """As :func:`write`."""
        return write(value) if _numbers(value) <= NUMBERS else await self._elsewhere(write, value)

    def close(self) -> None:
        """End the other process."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    async def _elsewhere(self, function: Callable[[Any], Any], argument: Any) -> Any:
        for last in (False, True):
            pool = self._pool = self._pool or ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"))
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, function, argument)
            except BrokenProcessPool:
                if self._pool is pool:
                    self._pool = None
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")


def _numbers(value: Any) -> int:
    """Elements of all arrays in a value."""
    if isinstance(value, np.ndarray):
        return math.prod(value.shape)
    if isinstance(value, Mapping):
        return sum(map(_numbers, value.values()))
    return sum(map(_numbers, value)) if isinstance(value, list) else 0
