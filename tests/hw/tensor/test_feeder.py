# SPDX-License-Identifier: Apache-2.0
"""The feeder's vectors against the golden model's im2col, with back-pressure and lost
arbitrations."""

import itertools
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from golden.fault import MachineFault
from golden.tensor import Extent, Tensor
from hw.tensor.feeder import Feeder
from hw.top import verilog_of
from isa.config import Config
from isa.instructions import Instruction, Opcode
from isa.presets import PRESETS
from tests.hw.handshake import send
from tests.hw.spm_stub import server


def instruction(rng: random.Random, config: Config) -> dict[str, int]:
    """A convolution with padding whose vectors start at any granule."""
    nx, ny = rng.randint(1, 3), rng.randint(1, 2)
    wrap = rng.choice((0, 80))
    return {
        "nx": nx, "ny": ny, "nx_last": rng.randint(1, nx), "ny_last": rng.randint(1, ny),
        "ntx": rng.randint(1, 2), "nty": rng.randint(1, 2), "nnb": rng.randint(1, 2),
        "ncb": rng.randint(1, 2), "ns": rng.randint(1, 3), "nr": rng.randint(1, 2),
        "m_split": rng.randrange(config.tiles.bit_length()), "a_base": rng.randint(0, 60),
        "a_x": rng.randint(1, 5), "a_y": rng.randrange(80), "a_cb": rng.randint(0, 90),
        "a_s": rng.randint(0, 5), "a_r": rng.randrange(80), "a_nb": rng.choice((0, 40)),
        "a_m": rng.randrange(80), "a_row": rng.randrange(80), "a_wrap": wrap,
        "ix0": rng.randint(-2, 1), "ix_x": rng.randint(1, 2), "ix_s": rng.randint(0, 1),
        "iy0": rng.randint(-2, 1), "iy_y": rng.randint(1, 2), "iy_r": 1, "iy_m": rng.randint(0, 2),
        "iw": rng.randint(2, 8), "ih": rng.randint(2, 8), "lane_dx": rng.getrandbits(1),
        "a_signed": rng.getrandbits(1), "a_zp": rng.randint(-100, 200), "pad": rng.randint(-9, 9)}


def vectors(fields: dict[str, int], config: Config, spm: np.ndarray) -> list[tuple]:
    """For each vector the operands of each stream, and the flags that go with them.

    Raises
    ------
    MachineFault
        If one lies outside the scratchpad.
    """
    i = Instruction(Opcode.TENSOR, fields)
    gm = 1 << i.m_split
    e = Extent(gm, config.tiles // gm, (i.nty - 1) * i.ny + i.ny_last,
               (i.ntx - 1) * i.nx + i.nx_last)
    # [nb, y, m, x, r, s, cb, L]
    every = Tensor(config)._activations(i, 0, spm, np.dtype(np.float32), e).reshape(
        -1, e.ny, gm, e.nx, i.nr, i.ns, i.ncb, config.lanes).astype(int)
    found = []
    for ty, tx, nb in itertools.product(range(i.nty), range(i.ntx), range(i.nnb)):
        ny = i.ny_last if ty == i.nty - 1 else i.ny
        nx = i.nx_last if tx == i.ntx - 1 else i.nx
        passes = list(itertools.product(range(i.nr), range(i.ns), range(i.ncb)))
        for step in passes:
            for y, x in itertools.product(range(ny), range(nx)):
                opens, ends = step == passes[0], step == passes[-1]
                first, last = (y, x) == (0, 0), (y, x) == (ny - 1, nx - 1)
                data = every[nb if i.a_nb else 0, ty * i.ny + y, :, tx * i.nx + x, *step]
                found.append((data.tolist(), {
                    "index": y * nx + x, "swap": first, "overwrite": opens,
                    "opens": opens and first, "closes": ends and last, "keeps": 0,
                    "m_split": i.m_split}))
    return found


class Bench:
    """A feeder, its memory, and instructions that stay inside it."""

    def __init__(self, name: str, count: int, ready: float = 1.0):
        self.config, self.rng = PRESETS[name], random.Random(6)
        self.dut = Feeder(self.config)
        self.spm = np.random.default_rng(3).integers(
            0, 256, (self.config.spm_words, self.config.lanes), np.uint8)
        self.instructions: list[dict[str, int]] = []
        self.wanted: list[tuple] = []
        while len(self.instructions) < count:
            fields = instruction(self.rng, self.config)
            try:
                self.wanted += vectors(fields, self.config, self.spm)
            except MachineFault:
                continue
            self.instructions.append(fields)
        self.sim = Simulator(self.dut)
        self.sim.add_clock(1e-6)
        words = [int.from_bytes(row.tobytes(), "little") for row in self.spm]
        for k, port in enumerate(self.dut.port):
            self.sim.add_testbench(server(port, words, ready, k), background=True)
        self.sim.add_testbench(self._feed, background=True)

    async def _feed(self, ctx):
        await send(ctx, self.dut.instr, [{**i, "index": index}
                                         for index, i in enumerate(self.instructions)])


@pytest.mark.parametrize("ready, takes", [(1.0, 1.0), (0.6, 0.5), (0.3, 1.0), (1.0, 0.3)])
@pytest.mark.parametrize("name", ["tiny", "core256", "core1024"])
def test_vectors(name: str, ready: float, takes: float) -> None:
    bench = Bench(name, 5, ready)
    config, dut = bench.config, bench.dut

    async def check(ctx):
        for data, flags in bench.wanted:
            taken = False
            while not taken:
                ctx.set(dut.vectors.ready, bench.rng.random() < takes)
                _, _, valid, taken, got = await ctx.tick().sample(
                    dut.vectors.valid, dut.vectors.ready, dut.vectors.payload)
                taken = taken and valid
            assert {f: got[f] for f in flags} == flags
            for k, operands in enumerate(data):
                assert [got.streams[k][lane] for lane in range(config.lanes)] == operands
        await ctx.tick()
        assert not ctx.get(dut.vectors.valid) and not ctx.get(dut.busy)

    bench.sim.add_testbench(check)
    bench.sim.run()


@pytest.mark.parametrize("name", ["tiny", "core1024"])
def test_latency_and_throughput(name: str) -> None:
    """A vector in every cycle from the first one on."""
    bench = Bench(name, 1)
    dut, count = bench.dut, len(bench.wanted)
    queue = bench.config.tiles > 1 or bench.config.shared_ports
    latency = dut.LATENCY + bool(queue)

    async def check(ctx):
        ctx.set(dut.vectors.ready, 1)
        await ctx.tick()
        for cycle in range(1, latency + count + 1):
            assert ctx.get(dut.vectors.valid) == (latency <= cycle < latency + count), cycle
            await ctx.tick()

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_a_vector_outside_the_scratchpad_is_a_fault() -> None:
    bench = Bench("tiny", 1)
    dut, config = bench.dut, bench.config
    bench.instructions[0].update(
        **dict.fromkeys(("ny", "ny_last", "ntx", "nty", "nnb", "ncb", "ns", "nr"), 1), nx=2,
        nx_last=2, ix0=0, iy0=0, iw=9, ih=9, a_wrap=0, a_row=0, a_x=config.granules,
        a_base=(config.spm_words - 1) * config.granules)

    async def check(ctx):
        ctx.set(dut.vectors.ready, 1)
        count = 0
        for _ in range(60):
            _, _, valid = await ctx.tick().sample(dut.vectors.valid)
            count += valid
        assert ctx.get(dut.fault) and ctx.get(dut.fault_index) == 0 and count == 1

    bench.sim.add_testbench(check)
    bench.sim.run()


def test_convertible() -> None:
    verilog_of(Feeder(PRESETS["tiny_fp"]), "feeder")
