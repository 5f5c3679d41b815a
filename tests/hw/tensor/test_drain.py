# SPDX-License-Identifier: Apache-2.0
"""The drain: full PSUM banks, parameters and residuals, back-pressure, halt, fault."""

import random

import pytest
from amaranth.sim import Simulator

from hw.tensor.drain import Drain
from isa.presets import PRESETS

CONFIG = PRESETS["tiny"]
FIELDS = {"nx": 2, "ny": 3, "nx_last": 2, "ny_last": 3, "nnb": 3, "ntx": 1, "nty": 1, "m_last": 1,
          "n_last": 1, "o_base": 100, "o_x": 1, "o_y": 10, "o_n": 40, "r_base": 300, "r_n": 40,
          "index": 7}
BLOCKS, ENTRIES = 3, 6
OUT = [100 + 40 * nb + 10 * y + x for nb in range(3) for y in range(3) for x in range(2)]


class Bench:
    """The drain with a neighbor on each side: banks become full one after another, a bank that is
    released is empty; memory gives residuals after a few cycles and takes words with ``ready``."""

    def __init__(self, ready: float = 1.0, params: float = 1.0, **fields: int):
        self.dut, self._fields = Drain(CONFIG), {**FIELDS, **fields}
        self._rng, self._ready, self._params = random.Random(2), ready, params
        self.fills: list[int] = []      # cycles in which the next bank becomes full
        self.halts = 1 << 30
        self.reads: list[tuple[int, int, int]] = []     # cycle, bank, index
        self.out: list[int] = []
        self.residual: list[int] = []
        self.released: list[tuple[int, int]] = []       # cycle, bank
        self.done: int | None = None
        self.fault: int | None = None

    def run(self, cycles: int) -> "Bench":
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        self._cycles = cycles
        sim.add_testbench(self._bench)
        sim.run()
        return self

    async def _bench(self, ctx):
        d, rng = self.dut, self._rng
        for f, value in self._fields.items():
            ctx.set(d.instr.payload[f], value)
        ctx.set(d.instr.valid, 1)
        ctx.set(d.params.payload.last, 1)
        full, filled, on_the_way = 0, 0, []
        for cycle in range(self._cycles):
            if filled < len(self.fills) and cycle >= self.fills[filled] \
                    and not full >> filled % 2 & 1:
                full |= 1 << filled % 2
                filled += 1
            ctx.set(d.full, full)
            ctx.set(d.halt, cycle >= self.halts)
            ctx.set(d.params.valid, rng.random() < self._params)
            ctx.set(d.out[0].ready, rng.random() < self._ready)
            ctx.set(d.residual[0].ready, rng.random() < self._ready)
            ctx.set(d.residual[0].arrived, bool(on_the_way) and on_the_way[0] <= cycle)
            if on_the_way and on_the_way[0] <= cycle:
                on_the_way.pop(0)
            if ctx.get(d.psum_en):
                self.reads.append((cycle, ctx.get(d.psum_bank), ctx.get(d.psum_index)))
            if ctx.get(d.release):
                bank = ctx.get(d.release_bank)
                self.released.append((cycle, bank))
                full &= ~(1 << bank)
            if ctx.get(d.out[0].valid) and ctx.get(d.out[0].ready):
                self.out.append(ctx.get(d.out[0].addr))
            if ctx.get(d.residual[0].valid) and ctx.get(d.residual[0].ready):
                self.residual.append(ctx.get(d.residual[0].addr))
                on_the_way.append(max([cycle, *on_the_way]) + 5)
            if ctx.get(d.done):
                assert self.done is None
                self.done = cycle
            if ctx.get(d.fault) and self.fault is None:
                self.fault = ctx.get(d.fault_index)
            taken = ctx.get(d.instr.valid) and ctx.get(d.instr.ready)
            await ctx.tick()
            if taken:
                ctx.set(d.instr.valid, 0)


@pytest.mark.parametrize("ready, params", [(1.0, 1.0), (0.4, 0.05)])
@pytest.mark.parametrize("residual", [0, 1])
def test_banks_are_read_in_order(ready: float, params: float, residual: int) -> None:
    """Each entry of each block once, not before its bank is full, and the bank is free after its
    last one; a word for each, in order; done when the last has been taken."""
    bench = Bench(ready, params, residual=residual)
    bench.fills = [40, 60, 200]
    bench.run(900)
    assert [(bank, index) for _, bank, index in bench.reads] == [
        (block % 2, index) for block in range(BLOCKS) for index in range(ENTRIES)]
    for block, (cycle, bank) in enumerate(bench.released):
        mine = [c for c, _, _ in bench.reads[block * ENTRIES:(block + 1) * ENTRIES]]
        assert bank == block % 2 and mine[0] > bench.fills[block] and cycle >= mine[-1]
    assert len(bench.released) == BLOCKS
    assert bench.out == OUT
    assert bench.residual == [at + 200 for at in OUT] * residual
    assert bench.done is not None and bench.fault is None


def test_latency_from_a_full_bank() -> None:
    """The walk is ahead of the bank: its first entry is read four cycles after it is full, and the
    next ones an entry's slices apart."""
    bench = Bench()
    bench.fills = [60]
    bench.run(120)
    first = [c for c, _, _ in bench.reads][:ENTRIES]
    assert first[0] == 60 + 4
    gap = CONFIG.lanes // CONFIG.ppu_lanes
    assert [b - a for a, b in zip(first, first[1:])] == [gap] * (ENTRIES - 1)


def test_a_halt_stops_before_the_next_bank() -> None:
    bench = Bench()
    bench.fills, bench.halts = [40, 100, 160], 80
    bench.run(300)
    assert {bank for _, bank, _ in bench.reads} == {0} and len(bench.reads) == ENTRIES
    assert bench.out == OUT[:ENTRIES] and bench.done is None


@pytest.mark.parametrize("fields", [{"o_base": -1}, {"o_base": CONFIG.spm_words - 1},
                                    {"residual": 1, "r_base": CONFIG.spm_words - 12}])
def test_an_address_outside_is_a_fault(fields: dict[str, int]) -> None:
    """Named with the instruction's position; nothing is written from there on."""
    bench = Bench(**fields)
    bench.fills = [40, 60, 80]
    bench.run(400)
    assert bench.fault == FIELDS["index"] and bench.done is None
    assert all(0 <= at < CONFIG.spm_words for at in bench.out + bench.residual)
    assert len(bench.reads) < ENTRIES
