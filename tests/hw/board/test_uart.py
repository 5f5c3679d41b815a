# SPDX-License-Identifier: Apache-2.0
"""The serial line against a line that is drawn bit by bit."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.board.uart import UartReceiver, UartTransmitter, check_divisor
from tests.hw.handshake import until


def levels(byte: int, stop: int = 1) -> list[int]:
    return [0, *((byte >> i & 1) for i in range(8)), stop]


def receive(divisor: int, line: list[tuple[int, int]], take=lambda cycle: True):
    """What a receiver makes of (level, cycles) pairs."""
    dut, got = UartReceiver(divisor), []

    async def drive(ctx):
        ctx.set(dut.rx, 1)
        for level, cycles in line:
            ctx.set(dut.rx, level)
            await ctx.tick().repeat(cycles)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(3 * divisor + 4)

    async def watch(ctx):
        cycle = 0
        while True:
            ctx.set(dut.o.ready, take(cycle))
            *_, valid, ready, p = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            cycle += 1
            if valid and ready:
                got.append((p.data, bool(p.bad)))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(watch, background=True)
    sim.add_testbench(drive)
    sim.run()
    rtlil.convert(dut)
    return got


@pytest.mark.parametrize("divisor", [4, 7, 25])
def test_receives_what_a_clock_a_little_off_sends(divisor):
    rng = random.Random(divisor)
    data = [rng.randrange(256) for _ in range(20)]
    for error in (-1, 0, 1) if divisor > 20 else (0,):
        line = [(1, 10), *((v, divisor + error) for b in data for v in levels(b))]
        assert receive(divisor, line) == [(b, False) for b in data]


def test_a_missing_stop_bit_is_flagged_and_the_next_byte_is_right():
    line = [(1, 10), *((v, 8) for v in levels(0x5A, stop=0)), (0, 30), (1, 8),
            *((v, 8) for v in levels(0xC3))]
    assert receive(8, line) == [(0x5A, True), (0xC3, False)]


def test_a_glitch_is_no_byte():
    line = [(1, 10), (0, 2), (1, 20), *((v, 8) for v in levels(0x81))]
    assert receive(8, line) == [(0x81, False)]


def test_a_byte_that_nobody_takes_stays_and_the_next_is_lost():
    line = [(1, 10), *((v, 8) for b in (1, 2, 3) for v in levels(b))]
    assert receive(8, line, take=lambda cycle: cycle > 190) == [(1, False), (3, False)]


@pytest.mark.parametrize("divisor", [4, 9])
def test_sends(divisor):
    """Every byte as ten bits, back to back, the line at rest afterwards."""
    rng = random.Random(divisor)
    data = [rng.randrange(256) for _ in range(10)]
    dut, seen = UartTransmitter(divisor), []

    async def feed(ctx):
        for byte in data:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await until(ctx, dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def watch(ctx):
        for _ in range((len(data) + 2) * 11 * divisor):
            *_, tx = await ctx.tick().sample(dut.tx)
            seen.append(tx)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(watch)
    sim.run()
    rtlil.convert(dut)
    at = seen.index(0)
    for byte in data:
        assert seen[at:at + 10 * divisor] == [v for v in levels(byte) for _ in range(divisor)]
        at += 10 * divisor + 1
    assert all(seen[at - 1:])


def test_refuses_a_bit_that_is_too_short():
    with pytest.raises(ValueError, match="a bit of 3 clock cycles is too short"):
        check_divisor(3)
