# SPDX-License-Identifier: Apache-2.0
"""XFER and SIGNAL at an exchange and a scratchpad that take their time: bursts, beats, and where
the engine's cycles go."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.sim import Simulator

from hw.engine.profile import Buckets
from hw.exchange.send import SendEngine
from isa.instructions import GANG_QUEUES, Instruction, Opcode
from isa.presets import PRESETS
from tests.hw.handshake import until
from tests.hw.spm_stub import server

CONFIG = replace(PRESETS["tiny"], exchange=True)
RNG = random.Random(0)
WORDS = [RNG.getrandbits(8 * CONFIG.word_bytes) for _ in range(CONFIG.spm_words)]
PER_BEAT = CONFIG.bus_bytes // CONFIG.word_bytes


class Bench:
    """Runs instructions. ``posts``, ``beats``: shares of cycles in which the exchange takes them;
    ``lands``: cycles from the last beat of a burst to its answer; ``reads``: share of cycles in
    which the scratchpad takes a request.

    Attributes
    ----------
    posted : list of bursts
    sent : list of (words, strobes) of beats
    buckets : Counter
        Of every cycle from the first instruction to the last ``done``.
    """

    def __init__(self, program, *, posts=1.0, beats=1.0, lands=3, reads=1.0, seed=0):
        self.program, self.lands = program, lands
        self.shares, self.reads, self.rng = (posts, beats), reads, random.Random(seed)
        self.posted: list = []
        self.sent: list[tuple[int, int]] = []
        self.buckets: Counter[str] = Counter()
        self.cycles = 0
        self._answers: list[int] = []

    def run(self) -> "Bench":
        m = Module()
        m.submodules.dut = self.dut = dut = SendEngine(CONFIG)
        m.submodules.account = self.account = account = Buckets("send", GANG_QUEUES)
        m.d.comb += [account.events.eq(dut.events),
                     account.present.eq(dut.engine.busy | dut.instr.valid)]
        sim = Simulator(m)
        sim.add_clock(1e-6)
        for port in dut.read:
            sim.add_testbench(server(port, WORDS, self.reads), background=True)
        sim.add_testbench(self._feed, background=True)
        sim.add_testbench(self._exchange, background=True)
        sim.add_testbench(self._watch)
        sim.run()
        return self

    async def _feed(self, ctx):
        for index, i in enumerate(self.program):
            ctx.set(self.dut.instr.payload, {**i.fields, "index": index})
            ctx.set(self.dut.instr.valid, 1)
            await until(ctx, self.dut.instr.ready)
        ctx.set(self.dut.instr.valid, 0)

    async def _exchange(self, ctx):
        post, w, b = self.dut.post, self.dut.w, self.dut.b
        while True:
            for stream, share in zip((post, w), self.shares, strict=True):
                ctx.set(stream.ready, self.rng.random() < share)
            ctx.set(b.valid, bool(self._answers) and self._answers[0] <= self.cycles)
            _, _, posted, burst, sent, beat, answered = await ctx.tick().sample(
                post.valid & post.ready, post.payload, w.valid & w.ready, w.payload,
                b.valid & b.ready)
            if posted:
                self.posted.append(burst)
            if sent:
                self.sent.append((beat.data, beat.strb))
                if beat.last:
                    self._answers.append(self.cycles + self.lands)
            if answered:
                self._answers.pop(0)

    async def _watch(self, ctx):
        left = len(self.program)
        while left:
            *_, done, fault, bucket = await ctx.tick().sample(
                self.dut.engine.done, self.dut.engine.fault, self.account.bucket)
            assert not fault and self.cycles < 5000
            self.cycles += 1
            self.buckets.update(n for n in bucket.shape().members if bucket[n])
            left -= done


def xfer(**fields) -> Instruction:
    return Instruction(Opcode.XFER, {"to": 0b10, "n0": 8 * PER_BEAT, "n1": 4, "n2": 1, "n3": 1,
                                     "spm_stride1": 8 * PER_BEAT, "peer_stride1": 8 * PER_BEAT,
                                     **fields})


def words(beats: list[tuple[int, int]]) -> list[int]:
    """Those that count."""
    size = CONFIG.word_bytes
    return [data >> 8 * size * k & (1 << 8 * size) - 1 for data, strobes in beats
            for k in range(PER_BEAT) if strobes >> size * k & 1]


@pytest.mark.parametrize("shares", [{}, {"posts": 0.3, "beats": 0.4, "reads": 0.5, "lands": 9}])
def test_words_go_in_order_and_the_cycles_add_up(shares):
    program = [xfer(spm=16, peer=64, signal=1, counter=5),
               Instruction(Opcode.SIGNAL, {"to": 0b100, "counter": 2}), xfer(spm=96, peer=256)]
    bench = Bench(program, **shares).run()
    beats = 4 * 8
    assert words(bench.sent[:beats]) == WORDS[16:16 + 32 * PER_BEAT]
    assert words(bench.sent[-beats:]) == WORDS[96:96 + 32 * PER_BEAT]
    assert len(bench.sent) == 2 * beats + 1
    signals = [(p.to, p.counter, p.empty) for p in bench.posted if p.signal]
    assert signals == [(0b10, 5, 0), (0b100, 2, 1)]
    assert sum(p.len + 1 for p in bench.posted) == len(bench.sent)
    assert sum(bench.buckets.values()) == bench.cycles
    assert bench.buckets["active"] == len(bench.sent) and bench.buckets["overhead"] > 0


@pytest.mark.parametrize("slow, bucket", [
    ({"posts": 0.02}, "wait_out"), ({"beats": 0.1}, "wait_out"), ({"reads": 0.1}, "wait_data"),
    ({"lands": 200}, "wait_gang")])
def test_whom_it_waits_for(slow, bucket):
    quick, found = Bench([xfer()]).run(), Bench([xfer()], **slow).run()
    more = found.buckets - quick.buckets
    assert found.buckets[bucket] > 80 and more.most_common(1)[0][0] == bucket
    assert found.buckets["active"] == quick.buckets["active"]


def test_lint():
    rtlil.convert(SendEngine(CONFIG))
