# SPDX-License-Identifier: Apache-2.0
"""Shared scratchpad ports: each user sees a memory of its own words, whatever the others do."""

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.scratchpad.banks import Scratchpad
from hw.scratchpad.port_share import SharedRead, SharedWrite
from hw.scratchpad.read_port import ReadPort
from isa.config import Config
from isa.presets import PRESETS

CONFIG = Config(lanes=4, spm_bytes=1024, spm_banks=4, psum_depth=8, ppu_lanes=4, weight_words=1,
                vector_lanes=4)
USERS, COUNT = 3, 50
LIMIT = 20_000
REGION = CONFIG.spm_words // USERS


class Ports(Elaboratable):
    """Users of a shared write port and of a shared read port, and a rival of higher priority."""

    def __init__(self) -> None:
        self.spm = Scratchpad(CONFIG, reads=2, writes=1,
                              order=[("read", 0), ("write", 0), ("read", 1)])
        self.writes, self.reads = SharedWrite(CONFIG, USERS), SharedRead(CONFIG, USERS)
        self.readers = [ReadPort(CONFIG) for _ in range(USERS)]
        self.rival = self.spm.read[0]

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.spm, m.submodules.writes, m.submodules.reads = (
            self.spm, self.writes, self.reads)
        wiring.connect(m, self.writes.port, self.spm.write[0])
        wiring.connect(m, self.reads.port, self.spm.read[1])
        for k, reader in enumerate(self.readers):
            m.submodules[f"reader{k}"] = reader
            wiring.connect(m, reader.port, self.reads.users[k])
        return m


@pytest.mark.parametrize("idle", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("rivalry", [0.0, 0.8])
def test_users_read_what_they_wrote(idle: float, rivalry: float) -> None:
    """Each user writes words of a region of its own, waits until they are made, and reads them."""
    dut, rng = Ports(), np.random.default_rng(3)
    addresses = [[int(a) for a in k * REGION + rng.permutation(REGION)[:COUNT]]
                 for k in range(USERS)]
    got: list[list[int]] = [[] for _ in range(USERS)]

    def word(a: int) -> int:
        return a * 0x01010101 ^ 0x5A

    def user(k: int):
        async def bench(ctx):
            port = dut.writes.users[k]
            for a in addresses[k]:
                while rng.random() < idle:
                    await ctx.tick()
                ctx.set(port.valid, 1)
                ctx.set(port.addr, a)
                ctx.set(port.data, word(a))
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)
            await ctx.tick().until(~port.pending)
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
            while len(got[k]) < COUNT:
                ctx.set(stream.ready, int(rng.random() >= idle))
                _, _, valid, ready, payload = await ctx.tick().sample(
                    stream.valid, stream.ready, stream.payload)
                if valid and ready:
                    got[k].append(payload)
        return bench

    async def compete(ctx):
        for _ in range(LIMIT):
            ctx.set(dut.rival.valid, int(rng.random() < rivalry))
            ctx.set(dut.rival.addr, int(rng.integers(CONFIG.spm_words)))
            await ctx.tick()
        pytest.fail("a user waits for ever")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(compete, background=True)
    for k in range(USERS):
        sim.add_testbench(user(k))
        sim.add_testbench(take(k))
    sim.run()
    assert got == [[word(a) for a in mine] for mine in addresses]


def test_machines_that_share() -> None:
    """Only where the results together leave half of the port free."""
    assert [n for n, config in PRESETS.items() if config.shared_ports] == ["ecp5", "ecp5_fp"]
