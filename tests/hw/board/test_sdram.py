# SPDX-License-Identifier: Apache-2.0
"""The SDRAM controller against a memory that checks it, and the memory's checks themselves."""

import random
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.board.sdram import (ACTIVE, ALL_BANKS, MODE, NOP, PRECHARGE, READ, REFRESH, WRITE,
                            SdramController)
from hw.board.sdram_chip import SdramChip
from sim.harness import SimulationError
from sim.sdram import Pins, SdramModel

CHIP = SdramChip(startup=2_000.0)
CAS2 = 2 << 4 | 2
"""Mode: CAS latency 2, bursts of four."""


def behind(pins, model):
    """A test bench: the memory at a controller's pins."""
    names = ("a", "d_o", "ba", "dqm", "d_oe", "cke", "csn", "rasn", "casn", "wen")

    async def memory(ctx):
        while True:
            _, _, *levels = await ctx.tick().sample(*(getattr(pins, n) for n in names))
            ctx.set(pins.d_i, model.edge(Pins(*levels)))

    return memory


def simulate(frequency, requests, stall=0.0, most=10**6, extra=None, belief=CHIP):
    """Run requests (write, beat, data, strb) on a controller that takes its memory for ``belief``;
    gives answers, cycles when each came, statistics."""
    dut, model = SdramController(belief, frequency), SdramModel(CHIP, frequency)
    rng, answers, taken = random.Random(1), [], []
    reads = sum(not r[0] for r in requests)

    async def feed(ctx):
        request = dut.beats.request
        for write, beat, data, strb in requests:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(request.payload, {"write": write, "beat": beat, "data": data, "strb": strb})
            ctx.set(request.valid, 1)
            while not (await ctx.tick().sample(request.ready))[2]:
                pass
            ctx.set(request.valid, 0)

    async def take(ctx):
        cycle = 0
        while len(answers) < reads or extra and cycle < extra:
            *_, valid, data = await ctx.tick().sample(dut.beats.answer.valid,
                                                      dut.beats.answer.data)
            cycle += 1
            assert cycle < most, "answers are missing"
            if valid:
                answers.append(data)
                taken.append(cycle)

    sim = Simulator(dut)
    sim.add_clock(1 / frequency)
    sim.add_testbench(behind(dut.pins, model), background=True)
    sim.add_testbench(feed, background=True)
    sim.add_testbench(take)
    sim.run()
    return answers, taken, model.statistics


def traffic(rng, count, beats):
    """Random requests and the answers that a dictionary gives."""
    memory, requests, want = {}, [], []
    for _ in range(count):
        beat = rng.choice(beats)
        if rng.random() < 0.5:
            data, strb = rng.getrandbits(64), rng.choice([255, 255, rng.getrandbits(8)])
            if beat not in memory:
                strb = 255
            for i in range(8):
                if strb >> i & 1:
                    line = memory.setdefault(beat, bytearray(8))
                    line[i] = data >> 8 * i & 255
            requests.append((1, beat, data, strb))
        elif beat in memory:
            want.append(int.from_bytes(memory[beat], "little"))
            requests.append((0, beat, 0, 0))
    return requests, want


@pytest.mark.parametrize("frequency", [25e6, 50e6, 80e6, 100e6, 133e6])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_random_traffic(frequency, stall):
    """Rows and banks change at random, refreshes in between; every read gives what was written."""
    rng = random.Random(int(frequency) + int(10 * stall))
    near = [rng.randrange(1 << 22) for _ in range(3)]
    beats = [n + i & (1 << 22) - 1 for n in near for i in range(4)]
    beats += [b ^ 1 << k for b in beats for k in (7, 8, 9, 21)]
    requests, want = traffic(rng, 400, beats)
    answers, _, seen = simulate(frequency, requests, stall)
    assert answers == want
    assert seen.reads == len(want) and seen.refreshes > 8 and seen.activates > 50


def test_a_run_streams_a_word_a_cycle():
    """512 beats over five rows: four cycles each, but for rows and refreshes."""
    requests = [(0, 100 + i, 0, 0) for i in range(512)]
    _, taken, seen = simulate(50e6, requests)
    assert taken[-1] - taken[0] < 1.05 * 4 * 511
    assert {b - a for a, b in zip(taken[1:50], taken[2:51])} == {4}


def test_latency_in_an_open_row():
    """cas + 5 cycles, as the controller says, behind the initialization and an activation."""
    t = CHIP.cycles(50e6)
    _, taken, _ = simulate(50e6, [(0, 0, 0, 0)])
    start = t.startup + t.rp + 8 * t.rfc + t.mrd
    assert taken[0] == start + t.rcd + t.cas + 5


def test_refreshes_without_traffic():
    _, _, seen = simulate(50e6, [], extra=8000)
    assert seen.refreshes - 8 in (20, 21)       # 160 us less the start, over 7.8125 us


@pytest.mark.parametrize("text, wrong", [
    ("tRCD is 15.0", {"rcd": 10.0, "rrd": 10.0}), ("tRP is 15.0", {"rp": 10.0}),
    ("tRFC is 37.*ns", {"rfc": 34.0}), ("tWR is 7.5", {"wr": 7.0}),
    ("tMRD is 7.5", {"mrd": 1}), ("refresh interval", {"refresh_ns": 256e6}),
    ("CAS latency of 2", {"cas2_hz": 200e6}), ("the pause after power-up", {"startup": 500.0})])
def test_a_controller_that_is_wrong_about_its_memory_is_caught(text, wrong):
    requests, _ = traffic(random.Random(1), 300, [k << 7 | 1 for k in range(24)])
    with pytest.raises(SimulationError, match=text):
        simulate(133e6, requests, extra=8000, belief=replace(CHIP, **wrong))


@pytest.mark.parametrize("when", range(1, 12))
def test_a_reset_at_any_time(when):
    """The memory, powered up, is initialized again without the long pause and without a rule
    broken, whatever was under way; what was written before is still there."""
    dut = ResetInserter(reset := Signal())(SdramController(CHIP, 100e6))
    model, answers = SdramModel(CHIP, 100e6), []

    async def host(ctx):
        request = dut.beats.request
        for write, beat in ((1, 5), (1, 900), (0, 900), (1, 901)):
            ctx.set(request.payload, {"write": write, "beat": beat, "data": beat, "strb": 255})
            ctx.set(request.valid, 1)
            while not (await ctx.tick().sample(request.ready))[2]:
                pass
        ctx.set(request.valid, 0)
        await ctx.tick().repeat(when)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(request.payload, {"write": 0, "beat": 5})
        ctx.set(request.valid, 1)
        for _ in range(150):
            *_, ready, answer = await ctx.tick().sample(request.ready, dut.beats.answer)
            if ready:
                ctx.set(request.valid, 0)
            if answer.valid:
                answers.append(answer.data)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(behind(dut.pins, model), background=True)
    sim.add_testbench(host)
    sim.run()
    assert answers == [5]


def test_a_frequency_that_is_too_high_is_refused():
    with pytest.raises(ValueError, match="150 MHz is too fast for the SDRAM: it takes up to 133"):
        CHIP.cycles(150e6)


def test_cycles():
    """Rounded up, but the refresh interval down."""
    t = SdramChip().cycles(50e6)
    assert (t.cas, t.rcd, t.ras, t.rc, t.wr, t.refresh, t.startup) == (2, 1, 3, 4, 1, 390, 10000)
    assert SdramChip().cycles(133e6).cas == 3


def test_converts():
    rtlil.convert(SdramController(SdramChip(), 50e6))


class Bench:
    """A controller by hand; ``at`` says after how many edges a command comes."""

    def __init__(self, frequency=100e6, **changes):
        self.model = SdramModel(replace(CHIP, **changes), frequency)

    def __call__(self, command=NOP, a=0, ba=0, wait=1, d=0, oe=0, dqm=0, cke=1):
        for _ in range(wait - 1):
            self.model.edge(pins(NOP))
        return self.model.edge(pins(command, a, ba, d, oe, dqm, cke))

    def start(self, mode=CAS2):
        """The initialization, as it has to be."""
        self(wait=300)
        self(PRECHARGE, 1 << ALL_BANKS)
        for i in range(8):
            self(REFRESH, wait=2 if i == 0 else 10)
        self(MODE, mode, wait=10)
        return self


def pins(command, a=0, ba=0, d=0, oe=0, dqm=0, cke=1):
    return Pins(a=a, d=d, ba=ba, dqm=dqm, oe=oe, cke=cke, csn=0, rasn=command >> 2 & 1,
                casn=command >> 1 & 1, wen=command & 1)


def test_the_model_reads_what_was_written_with_the_latency_of_its_mode():
    for cas in (2, 3):
        b = Bench().start(cas << 4 | 2)
        b(ACTIVE, 5, 1, wait=2)
        b(WRITE, 8, 1, wait=2, d=0x1111, oe=1)
        b(d=0x2222, oe=1)
        b(d=0x3333, oe=1, dqm=1)
        b(d=0x4444, oe=1)
        b(READ, 8, 1)
        words = [b() for _ in range(cas + 3)][cas - 2:]
        assert words[0] == 0x1111 and words[1] == 0x2222 and words[3] == 0x4444
        assert words[2] >> 8 == 0x33 and words[2] != 0x3333


VIOLATIONS = {
    "a command before the pause": [(PRECHARGE, 1 << ALL_BANKS)],
    "tRCD is 10 ns, less than 20": [..., (ACTIVE, 5, 0, 2), (READ, 0, 0, 1)],
    "tRP is 10 ns, less than 20": [
        ..., (ACTIVE, 5, 0, 2), (PRECHARGE, 0, 0, 5), (ACTIVE, 6, 0, 1)],
    "tRAS is 40 ns, less than 45": [..., (ACTIVE, 5, 0, 2), (PRECHARGE, 0, 0, 4)],
    "tRC is 60 ns, less than 67.5": [
        ..., (ACTIVE, 5, 0, 2), (PRECHARGE, 0, 0, 5), (ACTIVE, 6, 0, 1)],
    "tRFC is 60 ns, less than 67.5": [..., (REFRESH, 0, 0, 2), (ACTIVE, 5, 0, 6)],
    "tMRD is 10 ns, less than 20": [..., (ACTIVE, 5, 0, 1)],
    "tRRD is 10 ns, less than 15": [..., (ACTIVE, 5, 0, 2), (ACTIVE, 5, 1, 1)],
    "ACTIVATE in a bank with an open row": [..., (ACTIVE, 5, 0, 2), (ACTIVE, 6, 0, 8)],
    "READ: the row is not open": [..., (ACTIVE, 5, 0, 2), (READ, 0, 1, 2)],
    "WRITE: the row is not open": [..., (WRITE, 0, 1, 2)],
    "REFRESH while a row is open": [..., (ACTIVE, 5, 0, 2), (REFRESH, 0, 0, 9)],
    "refresh interval": [..., (NOP, 0, 0, 1600)],
    "a row is open for too long": [
        ..., (ACTIVE, 5, 0, 2), (PRECHARGE, 0, 0, 10_001)],
    "auto precharge": [..., (ACTIVE, 5, 0, 2), (READ, 1 << ALL_BANKS, 0, 2)],
    "BURST STOP": [..., (0b110, 0, 0, 2)],
}


@pytest.mark.parametrize("text", VIOLATIONS)
def test_the_model_catches(text):
    changes = {"tRP is 10 ns": {"rc": 50.0}, "tRC is 60 ns": {"rp": 10.0},
               "a row is op": {"refresh_ns": 64e9}}
    b = Bench(**next((c for k, c in changes.items() if text.startswith(k)), {}))
    with pytest.raises(SimulationError, match=text):
        for step in VIOLATIONS[text]:
            if step is ...:
                b.start()
            else:
                command, a, *rest = step
                b(command, a, *rest)


def test_the_model_catches_a_precharge_too_early_behind_a_write():
    b = Bench().start()
    b(ACTIVE, 5, 0, wait=2)
    b(WRITE, 0, 0, wait=2, oe=1)
    for _ in range(3):
        b(oe=1)
    with pytest.raises(SimulationError, match="tWR is 10 ns, less than 15"):
        b(PRECHARGE)


@pytest.mark.parametrize("gap, text", [(2, "bus conflict"), (5, "bus conflict"), (6, "bus conf"),
                                       (7, None)])
def test_the_model_catches_bus_conflicts(gap, text):
    """A read at edge 0 with CAS latency 2 drives at edges 2 to 5; 6 has to be idle. A word that a
    write cuts off is not driven."""
    b = Bench().start()
    b(ACTIVE, 5, 0, wait=2)
    b(READ, 0, 0, wait=2)
    if text is None:
        b(WRITE, 0, 0, wait=gap, oe=1)
        return
    with pytest.raises(SimulationError, match=text):
        b(NOP, wait=gap, oe=1)


def test_the_model_catches_missing_and_surplus_data():
    b = Bench().start()
    b(ACTIVE, 5, 0, wait=2)
    with pytest.raises(SimulationError, match="a word of a WRITE is not driven"):
        b(WRITE, 0, 0, wait=2)
    with pytest.raises(SimulationError, match="driven, and nothing is written"):
        Bench().start()(oe=1)


def test_the_model_catches_a_wrong_initialization():
    b = Bench()
    b(wait=300)
    with pytest.raises(SimulationError, match="REFRESH before PRECHARGE"):
        b(REFRESH)
    b = Bench()
    b(wait=300)
    b(PRECHARGE, 1 << ALL_BANKS)
    with pytest.raises(SimulationError, match="MODE REGISTER before the refreshes"):
        b(MODE, CAS2, wait=2)
    b = Bench()
    b(wait=300)
    with pytest.raises(SimulationError, match="ACTIVATE before MODE REGISTER"):
        b(ACTIVE)
    with pytest.raises(SimulationError, match="CAS latency of 1 at this frequency"):
        Bench().start(mode=1 << 4 | 2)
    with pytest.raises(SimulationError, match="CAS latency of 2 at this frequency"):
        Bench(133e6).start()
    with pytest.raises(SimulationError, match="CKE is low"):
        Bench()(cke=0)
