# SPDX-License-Identifier: Apache-2.0
"""Every register of the map, the doorbell, the interrupt, the counters and the reset."""

import dataclasses

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.control.registers import IN_BUS_WIDTHS, Control
from isa.registers import (COUNTERS, EXCEPTIONS, GANG_PROFILE, OFFSET, PROFILE, REGISTERS,
                           counters_of)
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import small

CONFIG = small(8, 16)
IN_GANG = dataclasses.replace(CONFIG, exchange=True)
WRITABLE = {**{r.name: 0xFFFFFFFF for r in REGISTERS if r.access == "RW"}, "CONTROL": 1,
            "PROGRAM": 0xFFFFFF80,
            **{f"REGION{k}_{f}": 0xFFFFFFE0 for k in range(4) for f in ("BASE", "SIZE")}}


class Host:
    """AXI4-Lite, one access at a time."""

    def __init__(self, ctx, dut):
        self.ctx, self.host = ctx, dut.host

    async def write(self, name: str, value: int, strb: int = 0xF) -> None:
        ctx, host = self.ctx, self.host
        ctx.set(host.aw.payload, OFFSET[name])
        ctx.set(host.w.payload, {"data": value, "strb": strb})
        ctx.set(host.aw.valid, 1)
        ctx.set(host.w.valid, 1)
        ctx.set(host.b.ready, 1)
        await until(ctx, host.aw.ready)
        ctx.set(host.aw.valid, 0)
        ctx.set(host.w.valid, 0)
        assert await until(ctx, host.b.valid, host.b.payload) == [0]

    async def read(self, name: str) -> int:
        ctx, host = self.ctx, self.host
        ctx.set(host.ar.payload, OFFSET[name])
        ctx.set(host.ar.valid, 1)
        ctx.set(host.r.ready, 1)
        await until(ctx, host.ar.ready)
        ctx.set(host.ar.valid, 0)
        (r,) = await until(ctx, host.r.valid, host.r.payload)
        assert r.resp == 0
        return r.data

    async def read64(self, name: str) -> int:
        return await self.read(name) | await self.read(f"{name}_HI") << 32


def simulate(bench, config=CONFIG) -> None:
    dut = Control(config)

    async def testbench(ctx):
        ctx.set(dut.quiet, 1)
        await bench(ctx, dut, Host(ctx, dut))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_what_a_write_changes(register):
    async def bench(ctx, dut, host):
        name = register.name
        before = await host.read(name)
        await host.write(name, 0xFFFFFFFF & ~2)
        mask = WRITABLE.get(name, 0)
        assert await host.read(name) == (before & ~mask) | (mask & ~2)
        await host.write(name, 0, strb=0b0010)
        assert await host.read(name) == (before & ~mask) | (mask & ~2 & ~0xFF00)

    simulate(bench)


def test_settings_reach_the_core():
    async def bench(ctx, dut, host):
        await host.write("REGION3_BASE", 0x1000)
        await host.write("REGION3_BASE_HI", 0x12)
        await host.write("REGION3_SIZE", 0x40)
        await host.write("PROGRAM", 0x180)
        await host.write("WATCHDOG", 77)
        settings = ctx.get(dut.settings)
        assert settings.regions[3].base == 0x12_0000_1000 and settings.regions[3].size == 0x40
        assert settings.program == 0x180 and settings.watchdog == 77

    simulate(bench)


def test_doorbell_interrupt_and_status():
    async def bench(ctx, dut, host):
        starts = []

        async def ring(value):
            ctx.set(dut.host.b.ready, 1)
            ctx.set(dut.host.aw.payload, OFFSET["DOORBELL"])
            ctx.set(dut.host.w.payload, {"data": value, "strb": 0xF})
            ctx.set(dut.host.aw.valid, 1)
            ctx.set(dut.host.w.valid, 1)
            await until(ctx, dut.host.aw.ready)
            ctx.set(dut.host.aw.valid, 0)
            ctx.set(dut.host.w.valid, 0)
            strobes = 0
            for _ in range(6):
                await ctx.tick()
                strobes += ctx.get(dut.start)
            starts.append(strobes)

        await ring(0)
        await ring(1)
        ctx.set(dut.busy, 1)
        await ring(1)
        assert await host.read("STATUS") == 0b1001
        ctx.set(dut.done, 1)
        await ctx.tick()
        ctx.set(dut.done, 0)
        ctx.set(dut.busy, 0)
        assert await host.read("STATUS") == 0b1010
        assert not ctx.get(dut.irq)
        await host.write("CONTROL", 1)
        assert ctx.get(dut.irq) and await host.read("IRQ_STATUS") == 1
        await host.write("IRQ_STATUS", 2)
        assert ctx.get(dut.irq)
        await host.write("IRQ_STATUS", 1)
        assert not ctx.get(dut.irq)
        await ring(1)
        assert await host.read("STATUS") == 0b1000
        ctx.set(dut.fault, 1)
        ctx.set(dut.fault_code, 5)
        ctx.set(dut.fault_index, 1234)
        await ring(1)
        assert ctx.get(dut.irq) and await host.read("IRQ_STATUS") == 2
        assert (await host.read("ERROR_CODE"), await host.read("ERROR_INDEX")) == (5, 1234)
        await host.write("IRQ_STATUS", 2)
        assert not ctx.get(dut.irq)
        assert starts == [0, 1, 0, 1, 0]

    simulate(bench)


@pytest.mark.parametrize("config", [CONFIG, IN_GANG], ids=["alone", "in a gang"])
def test_counters_count_while_busy(config):
    """Those that only a machine of a gang has read zero elsewhere."""
    async def bench(ctx, dut, host):
        steps = {name: k % 2 if name in PROFILE else k + 1
                 for k, name in enumerate(counters_of(config)) if name not in EXCEPTIONS}
        assert (GANG_PROFILE <= steps.keys()) == config.exchange
        ctx.set(dut.events, {name.lower(): step for name, step in steps.items()})
        for _ in range(3):
            await ctx.tick()
        ctx.set(dut.busy, 1)
        for _ in range(10):
            await ctx.tick()
        ctx.set(dut.busy, 0)
        for name, step in steps.items():
            scale = CONFIG.bus_bytes if name in IN_BUS_WIDTHS else 1
            assert await host.read64(name) == 10 * step * scale, name
        await host.write("DOORBELL", 1)
        for name, _ in COUNTERS:
            assert await host.read64(name) == 0

    simulate(bench, config)


def test_without_profile_the_buckets_read_zero():
    async def bench(ctx, dut, host):
        ctx.set(dut.events, {name.lower(): 1 for name in counters_of(IN_GANG)})
        ctx.set(dut.busy, 1)
        await ctx.tick().repeat(10)
        assert await host.read("CYCLES") >= 10
        assert [await host.read64(name) for name in sorted(PROFILE)] == [0] * len(PROFILE)

    simulate(bench, dataclasses.replace(IN_GANG, profile=False))


def test_reset_waits_for_quiet():
    async def bench(ctx, dut, host):
        await host.write("WATCHDOG", 9)
        ctx.set(dut.quiet, 0)
        await host.write("CONTROL", 3)
        for _ in range(20):
            assert ctx.get(dut.stop) and not ctx.get(dut.clear[0])
            await ctx.tick()
        await host.write("DOORBELL", 1)
        assert await host.read("CONTROL") == 3
        ctx.set(dut.quiet, 1)
        clears = 0
        for _ in range(10):
            clears += ctx.get(dut.clear[0])
            await ctx.tick()
        assert clears == 1 and not ctx.get(dut.stop)
        assert await host.read("CONTROL") == 1 and await host.read("WATCHDOG") == 9

    simulate(bench)


@pytest.mark.parametrize("clear", [False, True])
def test_clear_wipes_behind_the_reset(clear):
    """The scratchpad is set to zero when nothing can write to it any more, and nothing starts
    before that is over."""
    async def bench(ctx, dut, host):
        await host.write("CONTROL", 1 | 2 | 4 * clear)
        cleared = wiping = 0
        for _ in range(60):
            cleared += ctx.get(dut.clear[0])
            if ctx.get(dut.wipe):
                assert cleared
                wiping += 1
                ctx.set(dut.wiped, wiping == 20)
                assert await host.read("CONTROL") == 3 or wiping >= 20
                await host.write("DOORBELL", 1)
            assert not ctx.get(dut.start)
            await ctx.tick()
        assert cleared == 1 and bool(wiping) == clear
        assert await host.read("CONTROL") == 1
        await host.write("CONTROL", 1 | 4)
        await ctx.tick().repeat(9)
        assert not ctx.get(dut.wipe) and not ctx.get(dut.stop)

    simulate(bench)


@pytest.mark.parametrize("name", ["REGION2_BASE", "REGION1_SIZE_HI", "PROGRAM", "WATCHDOG"])
def test_settings_stay_while_a_program_runs(name):
    async def bench(ctx, dut, host):
        await host.write(name, 0x1000)
        ctx.set(dut.busy, 1)
        await host.write(name, 0x2000)
        await host.write("CONTROL", 1)
        assert (await host.read(name), await host.read("CONTROL")) == (0x1000, 1)
        ctx.set(dut.busy, 0)
        await host.write(name, 0x2000)
        assert await host.read(name) == 0x2000

    simulate(bench)


def test_lint():
    rtlil.convert(Control(CONFIG))
