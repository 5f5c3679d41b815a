# SPDX-License-Identifier: Apache-2.0
"""The vector engine: addition of two tensors, and maximum or sum over a window.

::

    loop nest ─► addresses, masks ─► read ports a, b ─► operands ─► taps ─► accumulators ─┐
     (cb, y, x, r / 2, s)                                                                 ▼
                                            scratchpad ◄──────────────────────── post (VectorPost)

Port a reads the even rows of a window, port b the odd row below, so two taps a cycle enter; an odd
last row comes alone. A word of L results leaves every ``ceil(nr / 2) * ns`` or ``L / vector_lanes``
cycles, whichever is more. Port b reads the second operand of an operation that has one. One
instruction at a time: the constants stand still until its last word has been accepted by the
scratchpad. What follows from them is there when the walk begins, two cycles after the instruction
has come. Behind the read ports nothing stalls: the last pair of a window waits in front for a place
behind.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import KIND
from hw.arith.normal import is_factor, is_scale
from hw.arith.operand import OPERAND_BITS, integer, known
from hw.engine.dispatch import CHECK_CYCLES, verdict
from hw.engine.ports import (Engine, EnginePort, SpmRead, SpmReader, SpmWrite, SpmWriter,
                             instruction_layout, view_of)
from hw.engine.profile import events_layout
from hw.parts.delay import cut, register
from hw.parts.fifo import Fifo
from hw.parts.nest import Enables, Nest, Term, circle_add
from hw.parts.places import places
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort
from hw.vector.floats import VectorFloat, log_size
from hw.vector.lane import is_function
from hw.vector.post import VectorPost, side_layout, windows_depth
from isa.config import Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, DType, Fault, Opcode, VectorOp
from isa.numerics import MAX_START

WORD = SPM_ADDRESS_BITS

MAX_BITS = 16
"""Width of a maximum: ``MAX_START`` and every operand."""

LOCKSTEP = 4
"""Addresses in the queue of a read port. Rows whose pitch is a multiple of the number of banks want
the same bank in every cycle; one port has to get ahead of the other."""


@dataclass(frozen=True)
class _Current:
    """The instruction under way, and what follows from it, all from registers.

    ``two``: the operation has two operands; ``logs``: as :meth:`VectorEngine._units` returns;
    ``held``: halt or fault, nothing more is read.
    """

    i: data.View
    two: Value
    logs: dict[str, Value]
    held: Signal


class VectorEngine(wiring.Component):
    """Throughput: a pair of taps a cycle, a word as the module says. Stall: a pair waits for its
    words, and the last one of a window also for a place behind; nothing after that stalls. The next
    instruction is taken when the last word of this one has been accepted by the scratchpad.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of VECTOR)
        Waits satisfied.
    engine : Out(Engine())
    a, b : Out(SpmRead(config))
    out : Out(SpmWrite(config))
    events : Out(events_layout("vector"))
        At most one bit is set.
    """

    LEVELS = ("s", "r", "part", "x", "y", "cb")
    """Levels of the loop nest, inner to outer."""

    META_DEPTH = 16

    instr: stream.Interface
    engine: EnginePort
    a: SpmReader
    b: SpmReader
    out: SpmWriter
    events: data.View

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.VECTOR))),
            "engine": Out(Engine()), "a": Out(SpmRead(config)), "b": Out(SpmRead(config)),
            "out": Out(SpmWrite(config)), "events": Out(events_layout("vector")),
            **{kind: Out(range(config.lanes + 1)) for kind, _ in KIND if config.floats}})
        mark = data.StructLayout({
            "first": 1, "last": 1,
            **({"from_a": 2, "from_b": 2, "there": 1, "ends": 1} if config.floats else {})})
        wants, word, image = {"want_a": 1, "want_b": 1}, signed(WORD), signed(IMAGE_BITS)
        self._terms = data.StructLayout({
            "valid": 1, "mark": mark, "there": 1, "single": 1,
            **dict.fromkeys(("x", "part", "even", "odd", "bx", "by", "out", "out_row"), word),
            **dict.fromkeys(("column", "above", "below"), image)})
        self._sums = data.StructLayout({"valid": 1, "mark": mark, **wants,
                                        **dict.fromkeys(("a", "b", "out"), word)})
        self._pair = data.StructLayout({**self._sums.members, "bad": 1})
        values = data.ArrayLayout(signed(OPERAND_BITS), config.lanes)
        self._operands = data.StructLayout({
            "first": 1, "last": 1, "with_a": 1, "with_b": 1, "a": values, "b": values})
        self._meta = data.StructLayout({"addr": range(config.spm_words), "mark": mark, **wants})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i = view_of(instruction_layout(Opcode.VECTOR))
        active, walking, go = Signal(), Signal(), Enables(self.LEVELS, stages=1)
        age = Signal(CHECK_CYCLES)
        two, held = register(m, "two", self._has_two(i)), Signal()
        current = _Current(i, two, self._units(m), held)
        pair, walked = self._walk(m, current, walking, go, begin=age[0])
        queue, readers, waits = self._issue(m, current, pair, go)
        coming = walking | age[0] | (walked | waits) | queue.o.valid
        idle = self._compute(m, current, queue, readers, coming)
        ending = active & ~coming & idle
        halt = self.engine.halt | self.engine.fault
        m.d.comb += [self.engine.start.eq(self.instr.valid & self.instr.ready),
                     self.engine.done.eq(ending & ~self.engine.fault),
                     self.engine.busy.eq(active),
                     self.instr.ready.eq(~active & ~halt)]
        # the verdict is there before the first pair can be read
        legal = self._legal(m, i)
        m.d.sync += age.eq(Cat(self.engine.start, age))
        with m.If(ending):
            m.d.sync += active.eq(0)
        # the payload is sampled in every idle cycle, valid or not, and active tells which it was
        with m.If(~active):
            m.d.sync += [i.eq(self.instr.payload), active.eq(self.engine.start)]
        with m.If(age[-1] & ~legal):
            m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(Fault.BAD_FIELD),
                         self.engine.fault_index.eq(i.index)]
        m.d.sync += held.eq(halt)
        return m

    def _legal(self, m: Module, i: data.View) -> Signal:
        """The rules of :func:`golden.vector.execute`, CHECK_CYCLES after the start."""
        two, function = self._has_two(i), is_function(i.vop)
        types = {n: i[f"{n}_type"] for n in "abo"}
        floating = (types["a"] != DType.INT8) | (types["o"] != DType.INT8) | (
            two & (types["b"] != DType.INT8))

        def on_circle(size: Value, *rows: Value) -> Value:
            return (size == 0) | Cat(*((r >= 0) & (r < size) for r in rows)).all()

        return verdict(m, [
            *(c != 0 for c in (i.nx, i.ny, i.ncb, i.ns, i.nr)),
            Mux(floating, is_factor(i.scale_a), is_scale(i.scale_a)),
            ~(function | (i.vop == VectorOp.ADD))
            | Mux(floating, is_factor(i.scale_b), is_scale(i.scale_b)),
            *(known(self._config, t) for t in types.values()), i.vop < len(VectorOp),
            function | ~i.plus,
            ~i.fold | (((i.vop == VectorOp.MAX) | (i.vop == VectorOp.SUM))
                       & (types["a"] != DType.INT8) & (types["o"] != DType.INT8)),
            ((i.vop != VectorOp.MUL) & ~function) | floating,
            (i.vop != VectorOp.SUM) | (types["a"] != DType.FP32),
            ~(two | function) | ((i.ns == 1) & (i.nr == 1)),
            on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r), ~two | on_circle(i.b_wrap, i.b_row, i.b_y),
            on_circle(i.o_wrap, i.o_row, i.o_y)])

    def _has_two(self, i: data.View) -> Value:
        """Whether the operation has two operands."""
        return (i.vop == VectorOp.ADD) | (i.vop == VectorOp.MUL) | i.plus

    def _units(self, m: Module) -> dict[str, Value]:
        """How the words of the operands and of the output share their elements, in logarithms, a
        cycle after the instruction has come: ``gather`` units make an output word, ``a`` and ``b``
        units lie in a word of theirs. ``largest``: of the bytes of the largest type. With ``fold``
        a word of the operand makes one of the output."""
        if not self._config.floats:
            return dict.fromkeys(("gather", "a", "b", "largest"), Const(0, 2))
        n, start = self.instr.payload, self.engine.start
        a, b, o = (log_size(n[f"{t}_type"]) for t in "abo")
        larger, largest = Mux((a > o) & ~n.fold, a, o), Signal(2)
        m.d.comb += largest.eq(Mux(self._has_two(n) & (b > larger), b, larger))
        logs = {name: Signal(2, name=f"log_{name}") for name in ("gather", "a", "b", "largest")}
        with m.If(start):
            m.d.sync += [logs["gather"].eq(largest - o), logs["a"].eq(Mux(n.fold, 0, largest - a)),
                         logs["b"].eq(largest - b), logs["largest"].eq(largest)]
        return {**logs}

    def _walk(self, m: Module, current: _Current, walking: Signal, go: Enables, begin: Value
              ) -> tuple[data.View, Value]:
        """The loop nest, and the addresses of a pair of taps: terms, sums, checks, a cycle each;
        and whether there is a pair in any of the three."""
        i, logs = current.i, current.logs
        pairs, two_rows = Signal.like(i.nr), Signal(signed(WORD), reset_less=True)
        gather, few = logs["gather"], 1 << logs["gather"]
        parts, words = Signal(3), Signal.like(i.ncb)
        nest = Nest(m, list(zip(self.LEVELS, (i.ns, pairs, parts, i.nx, i.ny, words), strict=True)))
        t, start = self._address_terms(m, current, nest, two_rows)
        unit = (nest.index("cb") << gather) | nest.index("part")
        terms, sums, pair = (view_of(shape) for shape in (self._terms, self._sums, self._pair))
        with m.If(go.walk):
            m.d.sync += [
                terms.valid.eq(walking & ~current.held),
                *(terms[f].eq(t[first].plus(t[second].value)) for f, first, second in (
                    ("x", "xa", "ca"), ("part", "pa", "sa"), ("even", "ya", "even"),
                    ("odd", "ya", "odd"), ("bx", "xb", "cb"), ("by", "pb", "yb"),
                    ("out", "xo", "co"), ("column", "ix", "sx"), ("above", "iy", "iy_even"),
                    ("below", "iy", "iy_odd"))),
                terms.out_row.eq(t["yo"].value),
                terms.there.eq(unit < i.ncb), terms.single.eq(nest.last("r") & i.nr[0]),
                terms.mark.first.eq((nest.index("s") == 0) & (nest.index("r") == 0)),
                terms.mark.last.eq(nest.all_last(["s", "r"]))]
            if self._config.floats:
                # a word has a unit, or two halves, or four quarters
                m.d.sync += [
                    *(terms.mark[f"from_{n}"].eq(unit[:2] << (2 - logs[n])[:2]) for n in "ab"),
                    terms.mark.ends.eq(nest.last("part"))]
            with m.If(nest.done):
                m.d.sync += walking.eq(0)
        nest.step(*go.levels)
        with m.If(go.stages[0]):
            self._add_up(m, current, terms, sums, pair)
        with m.If(begin):
            m.d.sync += [
                walking.eq(1),
                *nest.start(s=i.ns == 1, r=(i.nr == 1) | (i.nr == 2), part=gather == 0,
                            x=i.nx == 1, y=i.ny == 1, cb=i.ncb <= few),
                parts.eq(few), pairs.eq((i.nr + 1) >> 1), words.eq((i.ncb + (few - 1)) >> gather),
                two_rows.eq(circle_add(i.a_r, i.a_r, i.a_wrap, WORD)),
                *start]
        return pair, terms.valid | sums.valid | pair.valid

    def _address_terms(self, m: Module, current: _Current, nest: Nest, two_rows: Signal
                       ) -> tuple[dict[str, Term], list[object]]:
        """Address terms and coordinates by name, which go with the counters; and the statements
        that start them."""
        i = current.i
        t = {n: Term(n, WORD, size) for size, names in (
            (None, ("xa", "sa", "ca", "xb", "cb", "xo", "co", "pa", "pb")),
            (i.a_wrap, ("ya", "even", "odd")), (i.b_wrap, ("yb",)), (i.o_wrap, ("yo",)))
            for n in names}
        t |= {n: Term(n, IMAGE_BITS) for n in ("ix", "sx", "iy", "iy_even", "iy_odd")}
        starts: list[object] = []

        def advance(level: str, *terms: tuple[str, Value, Value | int]) -> None:
            leave = [t[n].value.eq(start) for n, _, start in terms]
            nest.on(level, enter=[t[n].value.eq(t[n].plus(step)) for n, step, _ in terms],
                    leave=leave)
            starts.extend(leave)

        advance("s", ("sa", i.a_s, 0), ("sx", i.ix_s, 0))
        advance("r", ("even", two_rows, 0), ("odd", two_rows, i.a_r),
                ("iy_even", i.iy_r << 1, 0), ("iy_odd", i.iy_r << 1, i.iy_r))
        advance("x", ("xa", i.a_x, 0), ("ix", i.ix_x, i.ix0), ("xb", i.b_x, 0), ("xo", i.o_x, 0))
        advance("y", ("ya", i.a_y, i.a_row), ("iy", i.iy_y, i.iy0), ("yb", i.b_y, i.b_row),
                ("yo", i.o_y, i.o_row))
        advance("part", *((f"p{n}", self._part_step(m, nest, n, current), 0) for n in "ab"))
        advance("cb", *((f"c{n}", self._block_step(m, nest, n, current), i[f"{n}_base"])
                        for n in "ab"), ("co", i.o_cb, i.o_base))
        return t, starts

    def _add_up(self, m: Module, current: _Current, terms: data.View, sums: data.View,
                pair: data.View) -> None:
        """From terms to addresses, and whether they are inside image and scratchpad."""
        words, i, two = self._config.spm_words, current.i, current.two

        def outside(address: Value) -> Value:
            return (address < 0) | (address >= words)

        inside = (terms.column >= 0) & (terms.column < i.iw)
        m.d.sync += [
            sums.valid.eq(terms.valid), sums.mark.eq(terms.mark),
            sums.a.eq(terms.x + terms.part + terms.even),
            sums.b.eq(Mux(two, terms.bx, terms.x) + Mux(two, terms.by, terms.part)
                      + Mux(two, 0, terms.odd)),
            sums.out.eq(terms.out + terms.out_row),
            sums.want_a.eq(terms.there & inside & (terms.above >= 0) & (terms.above < i.ih)),
            sums.want_b.eq(terms.there & (two | (inside & (terms.below >= 0)
                                                 & (terms.below < i.ih) & ~terms.single))),
            pair.valid.eq(sums.valid), pair.mark.eq(sums.mark), pair.want_a.eq(sums.want_a),
            pair.want_b.eq(sums.want_b), pair.a.eq(sums.a), pair.b.eq(sums.b),
            pair.out.eq(sums.out),
            pair.bad.eq((sums.want_a & outside(sums.a)) | (sums.want_b & outside(sums.b))
                        | (sums.mark.last & outside(sums.out)))]
        if self._config.floats:
            m.d.sync += sums.mark.there.eq(terms.there)

    def _part_step(self, m: Module, nest: Nest, name: str, current: _Current) -> Value:
        """To the next unit of an output word: a step of the operand, if it is in its next word."""
        if not self._config.floats:
            return Const(0, 1)
        last = register(m, f"{name}_last_unit", ((1 << current.logs[name]) - 1)[:2])
        return Mux((nest.index("part") & last) == last, current.i[f"{name}_cb"], 0)

    def _block_step(self, m: Module, nest: Nest, name: str, current: _Current) -> Value:
        """To the first unit of the next output word: several words, one, or none yet."""
        step = current.i[f"{name}_cb"]
        if not self._config.floats:
            return step
        log, gather = current.logs[name], current.logs["gather"]
        several = log <= gather
        last = register(m, f"{name}_last_block",
                        Mux(several, 0, (1 << (log - gather)[:2]) - 1)[:2])
        step = register(m, f"{name}_block", Mux(several, step << (gather - log)[:2], step)[:WORD]
                        .as_signed())
        return Mux((nest.index("cb") & last) == last, step, 0)

    def _issue(self, m: Module, current: _Current, pair: data.View, go: Enables
               ) -> tuple[Fifo, list[ReadPort], Value]:
        """Read the pair's words, queue what goes with them; and whether a pair waits for that."""
        m.submodules.skid = skid = Skid(self._pair, len(go.copies))
        m.d.comb += [skid.i.payload.eq(pair), skid.i.valid.eq(pair.valid), go.copies.eq(skid.go)]
        pair, bad, may, done = skid.o.payload, Signal(), Signal(), Signal()
        m.d.comb += [bad.eq(skid.o.valid & pair.bad), may.eq(skid.o.valid & ~bad & ~current.held)]
        with m.If(bad & ~current.held):
            m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(Fault.SPM_RANGE),
                         self.engine.fault_index.eq(current.i.index)]
        m.submodules.meta = queue = Fifo(self._meta, self.META_DEPTH)
        meta = view_of(self._meta)
        m.d.comb += [meta.addr.eq(pair.out), queue.i.payload.eq(meta), meta.want_a.eq(pair.want_a),
                     meta.want_b.eq(pair.want_b), meta.mark.eq(pair.mark)]
        readers, finished = [], []
        for name, port, want, address in (("a", self.a, pair.want_a, pair.a),
                                          ("b", self.b, pair.want_b, pair.b)):
            m.submodules[f"reader_{name}"] = reader = ReadPort(self._config, LOCKSTEP)
            wiring.connect(m, reader.port, wiring.flipped(port))
            issued = Signal(name=f"issued_{name}")
            m.d.comb += [reader.addr.payload.eq(address),
                         reader.addr.valid.eq(may & want & ~issued)]
            finished.append(issued | ~want | reader.addr.ready)
            m.d.sync += issued.eq(may & want & finished[-1] & ~done)
            readers.append(reader)
        queued = Signal()
        m.d.comb += [queue.i.valid.eq(may & ~queued),
                     done.eq(may & (queued | queue.i.ready) & Cat(*finished).all()),
                     skid.o.ready.eq(done)]
        m.d.sync += queued.eq(may & (queued | queue.i.ready) & ~done)
        return queue, readers, skid.o.valid

    def _compute(self, m: Module, current: _Current, queue: Fifo,
                 readers: list[ReadPort], coming: Value) -> Value:
        """Pairs of taps to windows, those to the lanes; returns whether it is idle. ``coming``:
        there are pairs that have not come here."""
        config, i, largest = self._config, current.i, current.logs["largest"]
        head, there, take, free = view_of(self._meta, reset_less=True), Signal(), Signal(), Signal()
        m.d.comb += queue.o.ready.eq(take | ~there)
        with m.If(queue.o.ready):
            m.d.sync += [head.eq(queue.o.payload), there.eq(queue.o.valid)]
        (a, b), present = self._words(m, readers, head, take)
        completes = take & head.mark.last
        m.submodules.side = side = Fifo(side_layout(config), windows_depth(config))
        popped = register(m, "popped", side.o.valid & side.o.ready)
        some, every = places(m, "windows", windows_depth(config), completes, popped)
        m.d.comb += [
            free.eq(some | ~head.mark.last), take.eq(there & present & free),
            side.i.valid.eq(completes), side.i.payload.addr.eq(head.addr),
            side.i.payload.second.eq(b)]
        with m.If(there):
            m.d.comb += [self.events.active.eq(take), self.events.wait_data.eq(~present),
                         self.events.wait_out.eq(present & ~free)]
        with m.Else():
            m.d.comb += [
                self.events.wait_data.eq(coming),
                self.events.wait_out.eq(~coming & self.out.valid & ~self.out.ready)]
        with_b = head.want_b & ~current.two
        pair, enters = view_of(self._operands, reset_less=True), register(m, "enters", take)
        m.d.sync += [
            pair.first.eq(head.mark.first), pair.last.eq(head.mark.last),
            pair.with_a.eq(head.want_a), pair.with_b.eq(with_b),
            *(pair[n][k].eq(integer(word[8 * k:8 * k + 8], i.a_signed, i.a_zp))
              for n, word in (("a", a), ("b", b)) for k in range(config.lanes))]
        m.submodules.post = post = VectorPost(config)
        m.d.comb += [post.instr.eq(i), post.side.payload.eq(side.o.payload)]
        integers: Value = Const(1)
        idle: Value = Const(1)
        if config.floats:
            m.submodules.floats = floats = VectorFloat(config)
            integers = register(m, "integers", largest == 0)
            m.d.comb += [
                *(side.i.payload[f].eq(head.mark[f]) for f in ("from_b", "there", "ends")),
                floats.instr.eq(i), floats.largest.eq(largest),
                floats.take.eq(take & ~integers),
                *(getattr(floats, f).eq(head.mark[f]) for f in ("first", "last", "from_a")),
                floats.with_a.eq(head.want_a), floats.with_b.eq(with_b), floats.word_a.eq(a),
                floats.word_b.eq(b), floats.side.payload.eq(side.o.payload),
                side.o.ready.eq(post.side.ready | floats.side.ready),
                *(getattr(self, kind).eq(getattr(floats, kind)) for kind, _ in KIND)]
            self._share(m, integers, post.out, floats.out)
            idle = floats.idle
        else:
            m.d.comb += side.o.ready.eq(post.side.ready)
            wiring.connect(m, post.out, wiring.flipped(self.out))
        self._integers(m, i, pair, enters & integers, post)
        return ~there & every & post.idle & idle

    def _words(self, m: Module, readers: list[ReadPort], head: data.View, take: Signal
               ) -> tuple[list[Value], Value]:
        """The pair's words, and whether those that it wants have come; they leave with ``take``."""
        words, present = [], []
        for name, reader, want in zip("ab", readers, (head.want_a, head.want_b), strict=True):
            m.submodules[f"word_{name}"] = word = Skid(reader.data.payload.shape())
            wiring.connect(m, reader.data, word.i)
            m.d.comb += word.o.ready.eq(take & want)
            words.append(word.o.payload)
            present.append(~want | word.o.valid)
        return words, present[0] & present[1]

    def _share(self, m: Module, integers: Value, mine: SpmWriter, theirs: SpmWriter) -> None:
        """One write port for the lanes of INT8 and those of floats: an instruction has left its
        lanes before the next one begins."""
        m.d.comb += [
            self.out.valid.eq(mine.valid | theirs.valid),
            self.out.addr.eq(Mux(integers, mine.addr, theirs.addr)),
            self.out.data.eq(Mux(integers, mine.data, theirs.data)),
            *(port.ready.eq(self.out.ready) for port in (mine, theirs)),
            *(port.pending.eq(self.out.pending) for port in (mine, theirs))]

    def _integers(self, m: Module, i: data.View, pair: data.View, enters: Value, post: VectorPost
                  ) -> None:
        """Pairs of taps of INT8 into one each, those into accumulators."""
        is_max = register(m, "is_max", i.vop == VectorOp.MAX)
        with_a, with_b = pair.with_a, pair.with_b
        acc = view_of(data.ArrayLayout(signed(32), self._config.lanes), reset_less=True)
        first, adds, last = cut(m, "tap_mark", pair.first, enters, pair.last)
        for k in range(self._config.lanes):
            a, b = pair.a[k], pair.b[k]
            greatest = Mux(with_b & (~with_a | (b > a)), b, Mux(with_a, a, MAX_START))
            tap = register(m, f"tap{k}", Mux(is_max, greatest, Mux(with_a, a, 0)
                                             + Mux(with_b, b, 0)), signed(MAX_BITS))
            replaces = first | (tap > acc[k][:MAX_BITS].as_signed())
            with m.If(adds):
                m.d.sync += acc[k].eq(Mux(is_max, Mux(replaces, tap, acc[k]),
                                          Mux(first, 0, acc[k]) + tap))
        m.d.comb += [post.whole.eq(register(m, "whole", adds & last)), post.acc.eq(acc)]
