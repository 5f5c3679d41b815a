# SPDX-License-Identifier: Apache-2.0
"""Words through a read port: each once, in order, as many in flight as have a place."""

import random

import pytest
from amaranth.sim import Simulator

from hw.scratchpad.read_port import ReadPort
from isa.presets import PRESETS
from tests.hw.spm_stub import server

CONFIG = PRESETS["tiny"]
COUNT = 200


def run(dut: ReadPort, reader, ready: float = 1.0) -> list[int]:
    """Ask for COUNT random words while ``reader`` takes them; returns the words asked for."""
    rng = random.Random(1)
    words = [rng.randrange(1 << 8 * CONFIG.word_bytes) for _ in range(CONFIG.spm_words)]
    addresses = [rng.randrange(CONFIG.spm_words) for _ in range(COUNT)]

    async def ask(ctx):
        for at in addresses:
            ctx.set(dut.addr.payload, at)
            ctx.set(dut.addr.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(dut.addr.ready)
        ctx.set(dut.addr.valid, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(ask, background=True)
    sim.add_testbench(server(dut.port, words, ready), background=True)
    sim.add_testbench(reader)
    sim.run()
    return [words[at] for at in addresses]


@pytest.mark.parametrize("queue", [0, 4])
@pytest.mark.parametrize("ready, takes, pause", [(1.0, 1.0, 0), (0.4, 1.0, 0), (1.0, 0.4, 0),
                                                 (1.0, 1.0, 60), (0.7, 0.7, 60)])
def test_words_come_once_and_in_order(queue: int, ready: float, takes: float, pause: int) -> None:
    """Also where nobody takes them for ``pause`` cycles, in which the landing buffer fills."""
    dut, rng, got = ReadPort(CONFIG, queue), random.Random(2), []

    async def read(ctx):
        for _ in range(40 * COUNT):
            if len(got) == COUNT:
                break
            if len(got) % 50 == 10 and pause:
                ctx.set(dut.data.ready, 0)
                await ctx.tick().repeat(pause)
            ctx.set(dut.data.ready, rng.random() < takes)
            _, _, valid, taken, word = await ctx.tick().sample(
                dut.data.valid, dut.data.ready, dut.data.payload)
            if valid and taken:
                got.append(word)

    assert run(dut, read, ready) == got


def test_throughput_and_latency() -> None:
    dut, at = ReadPort(CONFIG), []

    async def read(ctx):
        ctx.set(dut.data.ready, 1)
        for cycle in range(2 * COUNT):
            _, _, valid = await ctx.tick().sample(dut.data.valid)
            at.extend([cycle] * valid)

    run(dut, read)
    assert at == list(range(ReadPort.LATENCY, ReadPort.LATENCY + COUNT))
