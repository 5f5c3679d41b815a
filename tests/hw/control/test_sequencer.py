# SPDX-License-Identifier: Apache-2.0
"""Order, waits, the end, faults and the watchdog, with engines that take any time they like."""

import random
from collections import Counter

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.control.sequencer import ENGINES, SELF_GATED, Sequencer, engines_of
from isa.instructions import (GANG_QUEUES, QUEUES, QUEUE_OF, Fault, Instruction, Opcode, queues_of)
from tests.hw.handshake import until
from tests.hw.memory.dma_bench import small

QUEUE_DEPTH, BUS = 3, 32

ALONE = engines_of(small(8, BUS, window_taps=3))
"""The opcodes of a machine alone."""


class Bench:
    """Feeds a program; each engine works on one instruction at a time, for as long as ``times``
    says for its position, faults at the positions in ``bad``, and hangs at those in ``stuck``; the
    words (position, word) in ``unread`` could not be read. ``waited`` counts the cycles in which
    the next instruction of a queue waits for another one, and ``dispatched`` has the queues that
    instructions enter."""

    def __init__(self, program, times=None, bad=None, stuck=(), watchdog=0, unread=None,
                 window_taps=3, bus=BUS, depth=QUEUE_DEPTH, exchange=False):
        self.bus = bus
        config = small(8, bus, queue_depth=depth, window_taps=window_taps, exchange=exchange)
        self.queues = queues_of(config)
        self.dut, self.names = Sequencer(config), [QUEUE_OF[op] for op in engines_of(config)]
        self.program, self.times = program, times or {}
        self.bad, self.stuck, self.unread = bad or {}, stuck, unread or {}
        self.watchdog = watchdog
        self.taken: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.done: dict[int, int] = {}
        self.cycle = 0
        self.fault: tuple[int, int] | None = None
        self.faulted: list[int] = []
        self.ended = False
        self.waited: Counter[tuple[str, str]] = Counter()
        self.dispatched: list[str] = []

    async def _feed(self, ctx):
        instr = self.dut.instr
        for index, i in enumerate(self.program):
            raw = i if isinstance(i, bytes) else i.encode()
            for at in range(0, len(raw), self.bus):
                end = at + self.bus
                ctx.set(instr.payload, {
                    "word": int.from_bytes(raw[at:end], "little"), "index": index,
                    "first": at == 0, "last": end == len(raw),
                    "fault": self.unread.get((index, at // self.bus), 0)})
                ctx.set(instr.valid, 1)
                await until(ctx, instr.ready)
            self.taken[index] = self.cycle
        ctx.set(instr.valid, 0)

    async def _engine(self, ctx, name):
        queue, engine = getattr(self.dut, name), getattr(self.dut, f"{name}_engine")
        opcode = next(op for op in ENGINES if QUEUE_OF[op] == name)
        while True:
            ctx.set(queue.ready, 1)
            (i,) = await until(ctx, queue.valid, queue.payload)
            ctx.set(queue.ready, 0)
            want = self.program[i.index]
            assert want.opcode is opcode
            known = queue.payload.shape().members
            assert all(getattr(i, f) == v & (1 << known[f].width) - 1
                       for f, v in want.fields.items() if f in known)
            if opcode in SELF_GATED:
                while not self._free(ctx, want, engine.completed):
                    await ctx.tick()
            self.started[i.index] = self.cycle
            for _ in range(max(1, self.times.get(i.index, 1))):
                await ctx.tick()
            if i.index in self.stuck:
                return
            if i.index in self.bad:
                ctx.set(engine.fault_code, self.bad[i.index])
                ctx.set(engine.fault_index, i.index)
                ctx.set(engine.fault, 1)
                self.faulted.append(self.cycle)
                return
            ctx.set(engine.done, 1)
            self.done[i.index] = self.cycle
            await ctx.tick()
            ctx.set(engine.done, 0)

    def _free(self, ctx, i, completed):
        return all(ctx.get(completed[q]) >= i.fields.get(f"wait_{q}", 0)
                   for bit, q in enumerate(QUEUES) if i.wait_mask >> bit & 1)

    async def _watch(self, ctx):
        dut = self.dut
        ctx.set(dut.watchdog, self.watchdog)
        ctx.set(dut.quiet, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while True:
            *_, done, fault, busy, blocked, dispatch = await ctx.tick().sample(
                dut.done, dut.fault, dut.busy, dut.blocked, dut.dispatch)
            self.cycle += 1
            self.waited.update((name, other) for name in self.names
                               for k, other in enumerate(self.queues) if blocked[name] >> k & 1)
            self.dispatched += [q for k, q in enumerate(self.queues) if dispatch >> k & 1]
            if done:
                self.ended = True
                return
            if fault:
                self.fault = (ctx.get(dut.fault_code), ctx.get(dut.fault_index))
                assert all(ctx.get(getattr(dut, f"{n}_engine").halt) for n in self.names)
                return
            assert busy and self.cycle < 3000

    def run(self):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(self._feed, background=True)
        for name in self.names:
            async def engine(ctx, name=name):
                await self._engine(ctx, name)
            sim.add_testbench(engine, background=True)
        sim.add_testbench(self._watch)
        sim.run()
        return self


END = Instruction(Opcode.END)


def chain(rng: random.Random, count: int) -> list[Instruction]:
    """Instructions of all queues with waits on any earlier ones."""
    program, issued = [], dict.fromkeys(QUEUES, 0)
    for _ in range(count):
        fields, mask = {}, 0
        for bit, queue in enumerate(QUEUES):
            if issued[queue] and rng.random() < 0.4:
                mask |= 1 << bit
                fields[f"wait_{queue}"] = rng.randint(1, issued[queue])
        opcode = rng.choice(ALONE)
        program.append(Instruction(opcode, {"wait_mask": mask, **fields}))
        issued[QUEUE_OF[opcode]] += 1
    return [*program, END]


@pytest.mark.parametrize("seed", range(3))
def test_waits_order_and_end(seed):
    rng = random.Random(seed)
    program = chain(rng, 60)
    bench = Bench(program, {k: rng.choice([1, 1, 5, 30]) for k in range(60)}).run()
    assert bench.ended and bench.fault is None
    assert bench.dispatched == [QUEUE_OF[i.opcode] for i in program[:-1]]
    assert sorted(bench.done) == list(range(60))
    per_queue = {q: [k for k, i in enumerate(program[:-1]) if QUEUE_OF[i.opcode] == q]
                 for q in QUEUES}
    for queue, members in per_queue.items():
        starts = [bench.started[k] for k in members]
        assert starts == sorted(starts), queue
    for k, i in enumerate(program[:-1]):
        for bit, queue in enumerate(QUEUES):
            if i.wait_mask >> bit & 1:
                awaited = per_queue[queue][i.fields[f"wait_{queue}"] - 1]
                assert bench.started[k] > bench.done[awaited]


@pytest.mark.parametrize("op", ALONE, ids=lambda op: op.name)
@pytest.mark.parametrize("bus, depth, cycles", [(BUS, 3, 5), (8, 4, 6)])
def test_cycles_to_the_engine(op, bus, depth, cycles):
    bench = Bench([Instruction(op), END], bus=bus, depth=depth).run()
    assert bench.started[0] == bench.taken[0] + cycles + (op not in SELF_GATED)


@pytest.mark.parametrize("op", ENGINES, ids=lambda op: op.name)
@pytest.mark.parametrize("other", [Opcode.XFER, Opcode.AWAIT], ids=lambda op: op.name)
def test_waits_for_the_queues_of_a_gang(op, other):
    """They are seen as those for the others are, behind which they come."""
    queue, name = QUEUE_OF[other], QUEUE_OF[op]
    waits = {"wait_mask": 1 << GANG_QUEUES.index(queue), f"wait_{queue}": 1}
    program = [Instruction(other), Instruction(op, waits), END]
    bench = Bench(program, {0: 40}, exchange=True).run()
    assert bench.ended and bench.dispatched == [queue, name]
    assert bench.started[1] == bench.done[0] + (4 if op in SELF_GATED else 5)
    assert bench.waited.keys() == {(name, queue)} and 30 < bench.waited[name, queue] < 45


def test_a_step_takes_four_cycles_from_done_to_start():
    program = [Instruction(Opcode.LOAD),
               Instruction(Opcode.STORE, {"wait_mask": 1, "wait_load": 1}), END]
    bench = Bench(program, {0: 20}).run()
    assert bench.started[1] == bench.done[0] + 4


def test_full_queue_holds_up_the_rest():
    slow = [Instruction(Opcode.LOAD)] * (QUEUE_DEPTH + 3)
    bench = Bench([*slow, Instruction(Opcode.STORE), END], {0: 100}).run()
    assert bench.ended
    assert bench.started[QUEUE_DEPTH + 3] > bench.done[0]


def test_nothing_runs_far_ahead_of_the_oldest(monkeypatch):
    """Where 2**13 are 2**4: what follows the oldest instruction stops behind it until it is done,
    and goes on then; so its waits are never overtaken by counters that wrap."""
    monkeypatch.setattr(Sequencer, "AHEAD_BITS", 4)
    program = [Instruction(Opcode.LOAD), Instruction(Opcode.VECTOR),
               *[Instruction(Opcode.LOAD)] * 40, END]
    bench = Bench(program, {1: 600}).run()
    assert bench.ended and sorted(bench.done) == list(range(42))
    ahead = [k for k, cycle in bench.started.items() if cycle < bench.done[1]]
    assert 16 <= max(ahead) <= 16 + 4


@pytest.mark.parametrize("raw", [
    bytes(32), b"\xff\1" + bytes(30), b"\x07\2" + bytes(62), b"\1" + bytes(31),
    b"\1\3" + bytes(94), b"\6\2" + bytes(62)], ids=bytes.hex)
def test_illegal_opcode(raw):
    bench = Bench([Instruction(Opcode.LOAD), raw, END], {0: 50}).run()
    assert bench.fault == (Fault.ILLEGAL_OPCODE, 1)


@pytest.mark.parametrize("taps,want", [(0, (Fault.ILLEGAL_OPCODE, 1)), (1, None)])
def test_window_without_its_engine(taps, want):
    program = [Instruction(Opcode.LOAD), Instruction(Opcode.WINDOW), END]
    assert Bench(program, {0: 50}, window_taps=taps).run().fault == want


@pytest.mark.parametrize("word", range(4))
@pytest.mark.parametrize("second", [Instruction(Opcode.TENSOR, {"hi_f": 1}),
                                    Instruction(Opcode.END), bytes(32)], ids=str)
def test_unreadable_instruction(second, word):
    """Whatever it is, it does not begin, and what is behind it does not, either."""
    last = 3 if isinstance(second, Instruction) and second.opcode is Opcode.TENSOR else 0
    word = min(word, last)
    bench = Bench([Instruction(Opcode.LOAD), second, *[Instruction(Opcode.STORE)] * 3],
                  unread={(1, last): Fault.AXI_SLVERR, (1, word): Fault.AXI_DECERR}).run()
    assert bench.fault == (Fault.AXI_DECERR, 1)
    assert bench.started.keys() <= {0}


def test_faults_of_one_cycle():
    """Load before tensor before window before vector before store, all in the same cycle."""
    every = [Instruction(op) for op in reversed(ALONE)]
    # an instruction has a cycle and its words in the decoder, and a gate takes a cycle
    times = {k: 28 - (1 + len(i.encode()) // BUS) * k - (i.opcode not in SELF_GATED)
             for k, i in enumerate(every)}
    for last in range(len(every), 0, -1):
        bad = {k: Fault.BAD_FIELD for k in range(last)}
        bench = Bench([*every, END], times, bad).run()
        assert len(bench.faulted) == last and len(set(bench.faulted)) == 1
        assert bench.fault == (Fault.BAD_FIELD, last - 1)


def test_engine_fault():
    bench = Bench([*[Instruction(Opcode.VECTOR)] * 4, END], bad={2: Fault.SPM_RANGE}).run()
    assert bench.fault == (Fault.SPM_RANGE, 2)


def test_watchdog_names_the_oldest():
    program = [Instruction(Opcode.LOAD), Instruction(Opcode.VECTOR),
               *[Instruction(Opcode.LOAD)] * 3,
               Instruction(Opcode.STORE, {"wait_mask": 8, "wait_vector": 1}), END]
    bench = Bench(program, {k: 20 for k in range(6)}, stuck={1}, watchdog=50).run()
    assert bench.fault == (Fault.WATCHDOG, 1)
    last = max(bench.done.values())
    assert last + 50 <= bench.cycle <= last + 60


def test_watchdog_without_instructions():
    bench = Bench([Instruction(Opcode.LOAD)], watchdog=40).run()
    assert bench.fault is not None and bench.fault[0] == Fault.WATCHDOG


def test_each_program_has_the_whole_watchdog():
    """Two in a row in which nothing completes: each within the limit, both together beyond it."""
    bench, faults = Bench([END]), []
    dut = bench.dut

    async def run(ctx):
        ctx.set(dut.watchdog, 50)
        ctx.set(dut.quiet, 1)
        for _ in range(2):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().repeat(40)
            assert ctx.get(dut.busy), "the program before has used up the time of this one"
            await bench._feed(ctx)
            faults.append((await until(ctx, dut.done | dut.fault, dut.fault))[0])

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(run)
    sim.run()
    assert faults == [0, 0]


def test_no_watchdog_when_off():
    program = [Instruction(Opcode.LOAD), END]
    assert Bench(program, {0: 1000}).run().ended
    assert Bench(program, {0: 1000}, watchdog=900).run().fault == (Fault.WATCHDOG, 0)


def test_lint():
    rtlil.convert(Sequencer(small(16, 16)))
