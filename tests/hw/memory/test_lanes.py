# SPDX-License-Identifier: Apache-2.0
"""How a DMA engine reports: which fault, of which instruction."""

import itertools

import pytest
from amaranth.sim import Simulator

from hw.memory.axi import Resp
from hw.memory.lanes import Status
from isa.instructions import Fault

OKAY = 0
EVENTS = {
    "SLVERR": ({"response": 1, "resp": Resp.SLVERR}, Fault.AXI_SLVERR),
    "DECERR": ({"response": 1, "resp": Resp.DECERR}, Fault.AXI_DECERR),
    "EXOKAY": ({"response": 1, "resp": Resp.EXOKAY}, Fault.AXI_PROTOCOL),
    "EXOKAY to a gang": ({"response": 1, "resp": Resp.EXOKAY, "together": 1}, Fault.GROUP),
    "breach": ({"response": 1, "breach": 1}, Fault.AXI_PROTOCOL),
    "breach alone": ({"breach": 1}, Fault.AXI_PROTOCOL),
    "error and breach": ({"response": 1, "resp": Resp.SLVERR, "breach": 1}, Fault.AXI_SLVERR),
    "address": ({"bad": 1, "bad_code": Fault.SPM_RANGE}, Fault.SPM_RANGE)}
"""What comes, and the fault that it is."""


def give(ctx, dut: Status, event: dict[str, int], index: int) -> None:
    """An event of instruction ``index`` in this cycle; the address generator's stays."""
    ctx.set(dut.response, event.get("response", 0))
    ctx.set(dut.resp, event.get("resp", OKAY))
    ctx.set(dut.breach, event.get("breach", 0))
    ctx.set(dut.together, event.get("together", 0))
    ctx.set(dut.index, index)
    if "bad" in event:
        ctx.set(dut.bad, 1)
        ctx.set(dut.bad_code, event["bad_code"])
        ctx.set(dut.bad_index, index)


@pytest.mark.parametrize("first, second", [
    pair for pair in itertools.product(EVENTS, EVENTS) if pair != ("address", "address")])
def test_the_first_fault_stays(first: str, second: str) -> None:
    """Whatever comes in the cycles behind it, of whichever instruction."""
    dut = Status()
    event, want = EVENTS[first]

    async def bench(ctx):
        give(ctx, dut, {"response": 1}, 3)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.engine.fault) and not ctx.get(dut.halted)
        give(ctx, dut, event, 4)
        await ctx.tick()
        give(ctx, dut, {}, 0)
        await ctx.tick()
        for _ in range(8):
            give(ctx, dut, EVENTS[second][0], 5)
            await ctx.tick()
            if ctx.get(dut.engine.fault):
                seen.append((ctx.get(dut.engine.fault_code), ctx.get(dut.engine.fault_index)))

    seen: list[tuple[int, int]] = []
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert len(seen) == 8 and set(seen) == {(want, 4)}
