# SPDX-License-Identifier: Apache-2.0
"""Scratchpad and read ports: every port sees a memory, whoever else wants the banks."""

import gc

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.scratchpad.banks import Scratchpad
from hw.scratchpad.read_port import ReadPort
from hw.top import verilog_of
from isa.config import Config
from isa.presets import PRESETS

CONFIG = Config(lanes=4, spm_bytes=1024, spm_banks=4, psum_depth=8, ppu_lanes=4, weight_words=1,
                vector_lanes=4)
WORDS = CONFIG.spm_words


class Ports(Elaboratable):
    """Read ports with buffers, and a write port, on one scratchpad."""

    def __init__(self, banks: dict[tuple[str, int], int] | None = None, **options: int):
        self.spm = Scratchpad(CONFIG, reads=3, writes=1, banks=banks)
        self.readers = [ReadPort(CONFIG, **options) for _ in range(3)]

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.spm = self.spm
        for k, reader in enumerate(self.readers):
            m.submodules[f"reader{k}"] = reader
            wiring.connect(m, reader.port, self.spm.read[k])
        return m


def run(options: dict[str, int], idle: float, addresses: list[list[int]],
        banks: dict[tuple[str, int], int] | None = None) -> tuple[list[list[int]], int]:
    """Write word a with a * 3 + 1, then read; returns what each reader got, and the cycles."""
    dut, got, spent = Ports(banks, **options), [[] for _ in addresses], [0]
    rng = np.random.default_rng(0)

    async def write(ctx):
        port = dut.spm.write[0]
        for a in range(WORDS):
            ctx.set(port.valid, 1)
            ctx.set(port.addr, a)
            ctx.set(port.data, a * 3 + 1)
            await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    def ask(k: int):
        async def bench(ctx):
            for _ in range(WORDS + 4):
                await ctx.tick()
            stream = dut.readers[k].addr
            for a in addresses[k]:
                while rng.random() < idle:
                    await ctx.tick()
                ctx.set(stream.payload, a)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)
        return bench

    def take(k: int):
        async def bench(ctx):
            stream = dut.readers[k].data
            cycles = 0
            while len(got[k]) < len(addresses[k]):
                ctx.set(stream.ready, int(rng.random() >= idle))
                _, _, valid, ready, payload = await ctx.tick().sample(
                    stream.valid, stream.ready, stream.payload)
                cycles += 1
                if valid and ready:
                    got[k].append(payload)
            spent[0] = max(spent[0], cycles - WORDS - 4)
        return bench

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(write)
    for k in range(len(addresses)):
        sim.add_testbench(ask(k))
        sim.add_testbench(take(k))
    sim.run()
    return got, spent[0]


@pytest.mark.parametrize("options", [{}, {"queue": 4}])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_reads(options: dict[str, int], idle: float) -> None:
    rng = np.random.default_rng(9)
    addresses = [[int(a) for a in rng.integers(0, WORDS, 60)] for _ in range(3)]
    got, _ = run(options, idle, addresses)
    assert got == [[a * 3 + 1 for a in mine] for mine in addresses]


EVEN_AND_ODD = {("read", 0): 0b0101, ("read", 2): 0b1010}


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_ports_that_ask_for_some_banks(idle: float) -> None:
    rng = np.random.default_rng(10)
    addresses = [[int(a) for a in rng.choice(legal, 60)] for legal in (
        range(0, WORDS, 2), range(WORDS), range(1, WORDS, 2))]
    got, _ = run({}, idle, addresses, EVEN_AND_ODD)
    assert got == [[a * 3 + 1 for a in mine] for mine in addresses]


def test_a_bank_that_is_not_its_own_is_refused() -> None:
    with pytest.raises(AssertionError, match="not one of its own"):
        run({}, 0.0, [[0, 2, 5], [0], [1]], EVEN_AND_ODD)


def test_one_reader_gets_a_word_a_cycle() -> None:
    got, cycles = run({}, 0.0, [list(range(100)), [], []])
    assert len(got[0]) == 100
    assert cycles <= 100 + ReadPort.LATENCY + 1


def test_lockstep_readers_take_turns() -> None:
    """Three streams that start in the same bank: with queues, only the start costs cycles."""
    addresses = [list(range(k * 64, k * 64 + 60)) for k in range(3)]
    _, cycles = run({"queue": 4}, 0.0, addresses)
    assert cycles <= 60 + ReadPort.LATENCY + 3


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_order_has_to_name_every_port() -> None:
    with pytest.raises(ValueError, match="does not name each"):
        Scratchpad(CONFIG, reads=2, writes=1, order=[("read", 0), ("write", 0)])
    gc.collect()    # what was refused is gone before the filter is


@pytest.mark.long
def test_verilog_of_the_largest() -> None:
    """Yosys has 4 GiB for it, in which wires that are set bit by bit do not find room."""
    largest = Scratchpad(PRESETS["core1024"], reads=24, writes=12)
    assert "module scratchpad" in verilog_of(largest, "scratchpad")
