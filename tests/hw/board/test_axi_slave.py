# SPDX-License-Identifier: Apache-2.0
"""AXI bursts onto the board's memory port, alone and shared, against a dictionary."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.board.axi_slave import AxiSlave
from hw.board.beats import Beats
from hw.board.share import Share
from hw.memory.axi import AXI4
from isa.presets import PRESETS
from tests.hw.board.beat_memory import BeatMemory

TINY = PRESETS["tiny"]
BITS = 12
END = 8 << BITS


class Shared(wiring.Component):
    """An AXI slave and another user of its memory."""

    def __init__(self):
        super().__init__({"bus": In(AXI4(TINY)), "other": In(Beats(BITS)),
                          "memory": Out(Beats(BITS))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.slave = slave = AxiSlave(TINY, BITS)
        m.submodules.share = share = Share(BITS)
        for one, other in ((wiring.flipped(self.bus), slave.bus), (slave.beats, share.a),
                           (wiring.flipped(self.other), share.b),
                           (share.memory, wiring.flipped(self.memory))):
            wiring.connect(m, one, other)
        return m


def strobes(strb):
    return sum(0xFF << 8 * i for i in range(8) if strb >> i & 1)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_bursts_of_two_users(stall):
    """The machine's reads and writes go on at the same time in halves of their own, so that their
    order does not matter; the other user has a third piece of memory."""
    rng = random.Random(int(10 * stall))
    dut, memory = Shared(), BeatMemory(stall=stall)
    bus, other = dut.bus, dut.other
    memory.data = {b: rng.getrandbits(64) for b in range(1024)}
    start, want_written = dict(memory.data), dict(memory.data)
    read_bursts = [(8 * rng.randrange(400), rng.randrange(1, 17), rng.randrange(2))
                   for _ in range(40)]
    write_bursts = [(8 * (500 + rng.randrange(400)), rng.randrange(1, 17)) for _ in range(40)]
    beats = [(b, i, n, rng.getrandbits(64), rng.choice([255, 255, rng.getrandbits(8)]))
             for b, n in write_bursts for i in range(n)]
    for b, i, _, value, strb in beats:
        at, mask = b // 8 + i, strobes(strb)
        want_written[at] = want_written[at] & ~mask | value & mask
    got, finished = [], set()

    def rest():
        return rng.random() < stall

    async def put(ctx, stream, payloads):
        for p in payloads:
            while rest():
                await ctx.tick()
            ctx.set(stream.payload, p)
            ctx.set(stream.valid, 1)
            while not (await ctx.tick().sample(stream.ready))[2]:
                pass
            ctx.set(stream.valid, 0)

    async def ar(ctx):
        await put(ctx, bus.ar, [{"addr": a, "len": n - 1, "id": i} for a, n, i in read_bursts])

    async def aw(ctx):
        await put(ctx, bus.aw, [{"addr": a, "len": n - 1, "id": 0} for a, n in write_bursts])

    async def w(ctx):
        await put(ctx, bus.w, [{"data": v, "strb": s, "last": i == n - 1}
                               for _, i, n, v, s in beats])

    async def r(ctx):
        total = sum(n for _, n, _ in read_bursts)
        while len(got) < total:
            ctx.set(bus.r.ready, not rest())
            *_, valid, ready, p = await ctx.tick().sample(bus.r.valid, bus.r.ready, bus.r.payload)
            if valid and ready:
                got.append((p.data, p.id, p.last, p.resp))
        finished.add("r")

    async def b(ctx):
        count = 0
        while count < len(write_bursts):
            ctx.set(bus.b.ready, not rest())
            *_, valid, ready, p = await ctx.tick().sample(bus.b.valid, bus.b.ready, bus.b.payload)
            if valid and ready:
                assert p.resp == 0
                count += 1
        finished.add("b")

    async def user(ctx):
        """Writes a beat and reads it back, over and over."""
        for n in range(60):
            value = rng.getrandbits(64)
            await put(ctx, other.request, [{"write": 1, "beat": 950 + n, "data": value,
                                            "strb": 255}, {"write": 0, "beat": 950 + n}])
            while not (s := await ctx.tick().sample(other.answer))[2].valid:
                pass
            assert s[2].data == value
            want_written[950 + n] = value
        finished.add("user")

    async def wait(ctx):
        for _ in range(20_000):
            await ctx.tick()
            if len(finished) == 3:
                return
        raise AssertionError(f"only {finished} came to an end")

    async def run_memory(ctx):
        await memory.run(ctx, dut.memory)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in (run_memory, ar, aw, w, r, b, user):
        sim.add_testbench(bench, background=True)
    sim.add_testbench(wait)
    sim.run()
    assert got == [(start[a // 8 + i], axi_id, i == n - 1, 0)
                   for a, n, axi_id in read_bursts for i in range(n)]
    assert memory.data == want_written


def test_behind_the_end_is_an_error_and_changes_nothing():
    dut, memory = AxiSlave(TINY, BITS), BeatMemory()
    memory.data = {0: 7}
    bus, seen = dut.bus, []

    async def bench(ctx):
        ctx.set(bus.aw.payload, {"addr": END, "len": 0})
        ctx.set(bus.w.payload, {"data": 99, "strb": 255, "last": 1})
        ctx.set(bus.ar.payload, {"addr": END, "len": 1, "id": 1})
        for c in (bus.aw.valid, bus.w.valid, bus.ar.valid, bus.b.ready, bus.r.ready):
            ctx.set(c, 1)
        for _ in range(30):
            *_, aw, w, ar, b, bp, r, rp = await ctx.tick().sample(
                bus.aw.ready, bus.w.ready, bus.ar.ready, bus.b.valid, bus.b.payload, bus.r.valid,
                bus.r.payload)
            for gone, valid in ((aw, bus.aw.valid), (w, bus.w.valid), (ar, bus.ar.valid)):
                if gone:
                    ctx.set(valid, 0)
            if b:
                seen.append(("b", bp.resp))
            if r:
                seen.append(("r", rp.resp, rp.id, rp.last))

    async def run_memory(ctx):
        await memory.run(ctx, dut.beats)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(run_memory, background=True)
    sim.add_testbench(bench)
    sim.run()
    assert sorted(seen) == [("b", 3), ("r", 3, 1, 0), ("r", 3, 1, 1)]
    assert memory.data == {0: 7}


def test_converts():
    rtlil.convert(Shared())
