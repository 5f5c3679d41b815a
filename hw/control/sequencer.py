# SPDX-License-Identifier: Apache-2.0
"""The sequencer: hands fetched instructions to the engines' queues and knows when all are done.

::

    instr ─► decode ─┬─► queue ─► gather ─► wait gate ─► load
                     ├─► queue ─► gather ─────────────► tensor   (gates weights and activations
                     ├─► queue ─► gather ─────────────► window    itself, window likewise)
                     ├─► queue ─► gather ─► wait gate ─► vector
                     └─► queue ─► gather ─► wait gate ─► store
    done ──────────────► counters (COMPLETED), oldest instruction of each engine, watchdog

An instruction goes to its queue in bus words as they come, but the last only if all could be read,
so that nothing of it begins otherwise. Instructions go there in program order, and one whose queue
is full holds up those behind it; so does the oldest one that has not completed once 2**13
instructions have followed it, lest counters run away from its waits. Waits only refer to earlier
instructions, hence this never locks up a legal program. A program that does lock up is caught by
the watchdog, which names the oldest instruction that has not completed. Where the memory owes an
answer then, and nothing has moved on its bus either, that is the fault, of the oldest instruction
of the LOAD engine if that is owed one, or of STORE, or of the one that is being fetched.

The first fault is kept; it halts fetch, decoder and every engine in the third cycle after. Among
faults of one cycle the order is load, tensor, window, vector, store, decode (an illegal opcode, an
instruction that could not be fetched), watchdog.

Latency: 3 cycles from the last word of ``instr`` to the engine, 4 where queues are block RAM, and 1
for a gate; 3 cycles from ``done`` of an instruction to the start of one that waits for it.
"""

from amaranth.hdl import Assert, Cat, Const, Elaboratable, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.control.fetch import fetched_layout
from hw.control.gather import Gather, word_layout, words_of
from hw.engine.ports import (COMPLETED, FAULT_ENGINE, Engine, EnginePort, instruction_layout,
                             view_of)
from hw.engine.waits import WaitGate
from hw.exchange.gate import GONE, GangGate
from hw.memory.controller import OWED
from hw.parts.delay import register
from hw.parts.fifo import COMB_DEPTH, Fifo
from hw.parts.places import places
from hw.parts.skid import Skid
from isa.config import Config
from isa.instructions import (EXCHANGE, GANG_QUEUES, HEAD, INDEX_BITS, QUEUES, QUEUE_OF, UNITS,
                              UNIT_BYTES, WAIT_BITS, Fault, Opcode, queues_of)

ENGINES = (Opcode.LOAD, Opcode.TENSOR, Opcode.WINDOW, Opcode.VECTOR, Opcode.STORE, Opcode.XFER,
           Opcode.AWAIT)
"""Opcodes that have an engine, in the order in which faults of one cycle take precedence."""

TWINS = {Opcode.XFER: Opcode.SIGNAL}
"""Opcodes that go to the same engine, which does not tell them apart."""

SELF_GATED = (Opcode.TENSOR, Opcode.WINDOW)
"""Opcodes whose engine looks at the waits itself."""


def blocked_layout(config: Config) -> data.StructLayout:
    """For each queue, a bit for each queue that its next instruction waits for."""
    queues = queues_of(config)
    return data.StructLayout({q: len(queues) for q in queues})


def engines_of(config: Config) -> tuple[Opcode, ...]:
    """Those of :data:`ENGINES` that the configuration has."""
    return tuple(op for op in ENGINES if (op is not Opcode.WINDOW or config.window_taps)
                 and (op not in EXCHANGE or config.exchange))


class Sequencer(wiring.Component):
    """Runs one program.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : 1
        Strobe: a program begins.
    abort : 1
        Halt everything, without a fault.
    watchdog : 32
        Cycles without a completion, and without ``moved``, that are a fault; 0: never.
    moved : 1
        The memory's bus carried something, or waits for something that is not the memory's fault.
    owed : OWED
        Whom the memory owes an answer.
    instr : stream of ``fetched_layout(config)``
        Nothing comes between programs.
    quiet : 1
        No memory traffic is under way: a program is not done before that.
    load, tensor, window, vector, store, send, await : streams of ``instruction_layout``
        Of the engines that the configuration has.
    load_engine, … : :class:`hw.engine.ports.Engine`, as the engines' own, flipped
    ended : 1
        Strobe: END was reached; fetch no more.
    halt, busy : 1
    done : 1
        Strobe: the program is done.
    fault, fault_code, fault_index, fault_engine
        The first fault, from the cycle in which ``halt`` rises until reset; ``fault_engine`` is the
        queue of the engine that found it, as register ERROR_ENGINE has it.
    completions : 3
        Instructions that complete in this cycle.
    dispatch : a bit for each queue
        An instruction enters it in this cycle.
    blocked : for each queue, a bit for each queue
        What the oldest instruction that has not started waits for.
    """

    UNDER_WAY = 28
    """Instructions of an engine that have left the decoder and not completed; more than a queue and
    an engine hold."""

    AHEAD_BITS = WAIT_BITS - 3
    """Of the instructions that may follow one that has not completed; a few more do, while the
    oldest one is found."""

    start: Signal
    abort: Signal
    watchdog: Signal
    moved: Signal
    owed: data.View
    quiet: Signal
    instr: stream.Interface
    load: stream.Interface
    tensor: stream.Interface
    window: stream.Interface
    vector: stream.Interface
    store: stream.Interface
    send: stream.Interface
    load_engine: EnginePort
    tensor_engine: EnginePort
    window_engine: EnginePort
    vector_engine: EnginePort
    store_engine: EnginePort
    send_engine: EnginePort
    await_engine: EnginePort
    ended: Signal
    halt: Signal
    busy: Signal
    done: Signal
    fault: Signal
    fault_code: Signal
    fault_index: Signal
    fault_engine: Signal
    completions: Signal
    dispatch: Signal
    blocked: data.View

    def __init__(self, config: Config):
        self._config, self._engines, self._queues = config, engines_of(config), queues_of(config)
        super().__init__({
            "start": In(1), "abort": In(1), "watchdog": In(32), "moved": In(1),
            "owed": In(OWED), "quiet": In(1),
            "instr": In(stream.Signature(fetched_layout(config))),
            **{QUEUE_OF[op]: Out(stream.Signature(instruction_layout(op))) for op in self._engines},
            **{f"{QUEUE_OF[op]}_engine": In(Engine()) for op in self._engines},
            "ended": Out(1), "halt": Out(1), "busy": Out(1), "done": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(INDEX_BITS),
            "fault_engine": Out(FAULT_ENGINE),
            "completions": Out(range(len(self._engines) + 1)),
            "dispatch": Out(len(self._queues)), "blocked": Out(blocked_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        completed, gone = view_of(COMPLETED), view_of(GONE)
        counts = {name: completed[name] if name in QUEUES else gone[name]
                  for name in map(QUEUE_OF.__getitem__, self._engines)}
        engines = {op: getattr(self, f"{QUEUE_OF[op]}_engine") for op in self._engines}
        oldest = {op: Fifo(INDEX_BITS, self._config.queue_depth + self.UNDER_WAY)
                  for op in self._engines}
        done = {op: Signal(name=f"{QUEUE_OF[op]}_done") for op in self._engines}
        halt = Signal()
        m.d.sync += [halt.eq(self.halt), *(done[op].eq(e.done) for op, e in engines.items())]
        for op in self._engines:
            name, engine = QUEUE_OF[op], engines[op]
            m.submodules[f"{name}_oldest"] = oldest[op]
            m.d.comb += [engine.completed.eq(completed), engine.halt.eq(halt),
                         oldest[op].o.ready.eq(done[op])]
            with m.If(self.start):
                m.d.sync += counts[name].eq(0)
            with m.Elif(done[op]):
                m.d.sync += counts[name].eq(counts[name] + 1)
        m.d.comb += self.completions.eq(sum(done.values(), Value.cast(0)))

        late = Signal()
        first, named = self._first(m, oldest, late)
        decoded, over = self._decode(m, completed, gone, oldest, first), Signal()
        idle = ~Cat(o.o.valid for o in oldest.values()).any()
        m.d.comb += self.done.eq(self.busy & over & idle & self.quiet & ~self.halt)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), over.eq(0)]
        with m.Elif(self.done | self.fault):
            m.d.sync += self.busy.eq(0)
        with m.If(self.ended):
            m.d.sync += over.eq(1)
        self._faults(m, engines, *decoded, first, named, late)
        return m

    def _decode(self, m: Module, completed: data.View, gone: data.View,
                oldest: dict[Opcode, Fifo], first: Value) -> tuple[Value, Value]:
        """Decodes an instruction with its first word, which waits for a place in its queue, a cycle
        at least, and moves the others in the cycle after they have come; returns the
        instruction's fault code, 0 where there is none, and its position."""
        coming, word = self.instr.payload, view_of(self.instr.payload.shape())
        held, free, flawed, unread = Signal(), Signal(), Signal(), Signal(8)
        kinds = {op: Signal(name=f"is_{op.name.lower()}") for op in (*self._engines, Opcode.END)}
        unknown, closed, go, moves, granted = Signal(), Signal(), Signal(), Signal(), Signal()
        code, index = Signal(8), Signal(INDEX_BITS)
        illegal = go & word.last & (flawed | unknown)
        m.d.comb += [go.eq(held & ~closed), self.instr.ready.eq(~held | moves),
                     self.ended.eq(go & word.last & kinds[Opcode.END] & ~flawed)]
        with m.If(self.start):
            m.d.sync += closed.eq(0)
        with m.Elif(self.ended | illegal | self.halt):
            m.d.sync += closed.eq(1)
        m.d.sync += [code.eq(Mux(illegal, Mux(flawed, unread, Fault.ILLEGAL_OPCODE), 0)),
                     index.eq(word.index)]
        with m.If(self.instr.ready):
            m.d.sync += [word.eq(coming), held.eq(self.instr.valid)]
            with m.If(self.instr.valid):
                opcode = coming.word[:HEAD[0].width]
                size = coming.word[HEAD[0].width:][:HEAD[1].width]
                legal = {op: (opcode == op) & (size != 0) & (size <= UNITS[op]) for op in Opcode}
                is_ = {op: legal[op] | (legal[TWINS[op]] if op in TWINS else 0) for op in kinds}
                m.d.sync += [flawed.eq((coming.fault != 0) | (flawed & ~coming.first)),
                             free.eq(~coming.first)]
                with m.If(coming.first | ~flawed):
                    m.d.sync += unread.eq(coming.fault)
                with m.If(coming.first):
                    m.d.sync += [*(kind.eq(is_[op]) for op, kind in kinds.items()),
                                 unknown.eq(~Cat(*is_.values()).any())]
        with m.If(closed):
            m.d.sync += held.eq(0)
        # opcode and size are done with, and the position comes in their place
        handed = register(m, "handed", Cat(
            Mux(word.first, word.index, word.word[:INDEX_BITS]), word.word[INDEX_BITS:],
            word.last))
        # how far it is ahead of the first; the next instruction may be the first, one ahead of it
        lead = Signal(self.AHEAD_BITS + 2)
        m.d.comb += lead.eq(word.index - first)
        far = register(m, "far", lead[self.AHEAD_BITS:] == 1)
        leaves: list[Value] = [kinds[Opcode.END], unknown]
        for op in self._engines:
            room = self._queue(m, op, handed, kinds[op] & ~flawed, word, moves, oldest[op],
                               completed, gone)
            leaves.append(kinds[op] & room & ~far)
        m.d.comb += moves.eq(go & (free | granted))
        m.d.sync += granted.eq(go & ~moves & Cat(*leaves).any())
        return code, index

    def _queue(self, m: Module, op: Opcode, handed: Value, mine: Value, word: data.View,
               moves: Value, list_: Fifo, completed: data.View, gone: data.View) -> Value:
        """An engine's queue, which a word enters a cycle after it ``moves``, when it is ``handed``,
        and what is behind it; returns whether the queue has room for an instruction, which is kept
        for all of its words."""
        config, name = self._config, QUEUE_OF[op]
        payload, depth = word_layout(config), config.queue_depth * words_of(config, op)
        if config.bus_bytes < UNIT_BYTES:   # block RAM, of which there is no less
            depth = max(depth, COMB_DEPTH + 1)
        queue = m.submodules[f"{name}_queue"] = Fifo(payload, depth)
        # the memory's word is in flip-flops before it goes on its way to the engine
        shown = m.submodules[f"{name}_shown"] = Skid(payload)
        gather = m.submodules[f"{name}_gather"] = Gather(config, op)
        connect(m, queue.o, shown.i)
        connect(m, shown.o, gather.i)
        comes, out = Signal(), flipped(getattr(self, name))
        left = register(m, f"{name}_left", gather.o.valid & gather.o.ready)
        some, _ = places(m, f"{name}_queue", config.queue_depth, comes & word.first, left)
        m.d.comb += [
            comes.eq(mine & moves), queue.i.payload.eq(handed),
            list_.i.payload.eq(word.index), list_.i.valid.eq(comes & word.last)]
        m.d.comb += self.dispatch[self._queues.index(name)].eq(list_.i.valid)
        m.d.sync += [queue.i.valid.eq(comes),
                     Assert(~queue.i.valid | queue.i.ready, "a queue has no place for a word")]
        whole, behind = gather.o, Value.cast(Const(0, 0))
        if self._config.exchange:
            gang = m.submodules[f"{name}_gang_gate"] = GangGate(op)
            m.d.comb += gang.completed.eq(gone)
            connect(m, gather.o, gang.i)
            whole, behind = gang.o, gang.blocked
        waits = getattr(self, f"{name}_engine").blocked
        if op in SELF_GATED:
            connect(m, whole, out)
        else:
            gate = m.submodules[f"{name}_gate"] = WaitGate(op)
            m.d.comb += gate.completed.eq(completed)
            waits = gate.blocked
            connect(m, whole, gate.i)
            connect(m, gate.o, out)
        m.d.comb += self.blocked[name].eq(Cat(waits, behind))
        return some & list_.i.ready

    def _faults(self, m: Module, engines: dict[Opcode, EnginePort], decode_fault: Value,
                decoded: Value, first: Value, named: int, late: Signal) -> None:
        waited = Signal(32, reset_less=True)
        # an engine's fault stays, and so does what it says of it
        failed = {op: Signal(name=f"{QUEUE_OF[op]}_failed") for op in engines}
        m.d.sync += [failed[op].eq(e.fault) for op, e in engines.items()]
        expired, lively, over = Signal(named + 1), Signal(), Signal()
        m.d.comb += [lively.eq(self.start | self.moved | self.completions.any()),
                     over.eq((self.watchdog != 0) & (waited >= self.watchdog))]
        # a register: the position of the first instruction that is late follows it
        m.d.sync += [late.eq(self.busy & over & ~lively),
                     expired.eq(Mux(late, Cat(1, expired), 0))]
        with m.If(lively):
            m.d.sync += waited.eq(0)
        with m.Elif(self.busy & ~over):
            m.d.sync += waited.eq(waited + 1)
        with m.If(~self.fault & ~self.abort):
            causes: list[tuple[Value, ValueLike, Value, ValueLike]] = [
                (failed[op], e.fault_code, e.fault_index, 1 + GANG_QUEUES.index(QUEUE_OF[op]))
                for op, e in engines.items()]
            owing = self.owed.as_value().any()
            guilty = Mux(self.owed.load, 1 + QUEUES.index("load"),
                         Mux(self.owed.store, 1 + QUEUES.index("store"), 0))
            causes += [(decode_fault != 0, decode_fault, decoded, 0),
                       (expired[-1] & late, Mux(owing, Fault.BUS_TIMEOUT, Fault.WATCHDOG), first,
                        guilty)]
            for condition, code, index, engine in reversed(causes):
                with m.If(condition):
                    m.d.sync += [self.fault.eq(1), self.fault_code.eq(code),
                                 self.fault_index.eq(index), self.fault_engine.eq(engine)]
        m.d.comb += self.halt.eq(self.fault | self.abort)

    def _first(self, m: Module, oldest: dict[Opcode, Fifo], late: Value) -> tuple[Value, int]:
        """Position of the oldest instruction that has not completed, or, if there is none, of the
        one that is to come next; and the cycles that this takes. Where it is ``late`` because of
        the memory, only those count that the memory owes an answer."""
        cycles = 0
        waits = {op: ~(late & self.owed.as_value().any()) for op in oldest}
        waits[Opcode.LOAD] |= self.owed.load
        waits[Opcode.STORE] |= self.owed.store & ~self.owed.load
        firsts = [Mux(o.o.valid & waits[op], o.o.payload, self.instr.payload.index)
                  for op, o in oldest.items()]
        while len(firsts) > 1:
            pairs = [firsts[k:k + 2] for k in range(0, len(firsts), 2)]
            firsts = [register(m, f"first{cycles}_{k}",
                               Mux(pair[0] < pair[-1], pair[0], pair[-1]))
                      for k, pair in enumerate(pairs)]
            cycles += 1
        return firsts[0], cycles
