# SPDX-License-Identifier: Apache-2.0
"""The vector engine: addition of two tensors, and maximum or sum over a window.

::

    loop nest ─► addresses, masks ─► read ports a, b ─► operands ─► accumulators ─┐
     (cb, y, x, r / 2, s)                                                         ▼
                                            scratchpad ◄──────────────── post (VectorPost)

Port a reads the even rows of a window, port b the odd row below, so two taps a cycle enter; an odd
last row comes alone. A word of L results leaves every ``ceil(nr / 2) * ns`` or ``L / vector_lanes``
cycles, whichever is more. For an addition port b reads the second operand. One instruction
at a time: the constants stand still until its last word has been accepted by the scratchpad.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.address import Nest, Term, circle_add
from hw.dispatch import CHECK_CYCLES, verdict
from hw.float_lane import KIND
from hw.operand import integer, known
from hw.ports import (Engine, EnginePort, SpmRead, SpmReader, SpmWrite, SpmWriter,
                      instruction_layout, view_of)
from hw.profile import events_layout
from hw.read_port import ReadPort
from hw.skid import Skid
from hw.vector_float import VectorFloat, log_size, unit_layout
from hw.vector_lane import is_function
from hw.vector_post import VectorPost
from isa.config import Config
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, DType, Fault, Opcode, VectorOp

WORD = SPM_ADDRESS_BITS

MAX_START = -32768
"""The maximum of no taps at all."""

MAX_BITS = 16
"""Of a maximum: ``MAX_START`` and every operand."""

LOCKSTEP = {"queue": 4}
"""Of the read ports. Rows whose pitch is a multiple of the number of banks want the same bank in
every cycle; one port has to get ahead of the other."""


class VectorEngine(wiring.Component):
    """Parameters
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

    STALLS = 8
    """Copies of the stall: for the registers of the walk, for each of its levels, for the
    stages behind it."""

    META_DEPTH = 8

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
            **({"unit": unit_layout(config)} if config.floats else {})})
        wants, word, image = {"want_a": 1, "want_b": 1}, signed(WORD), signed(IMAGE_BITS)
        self._terms = data.StructLayout({
            "valid": 1, "mark": mark, "there": 1, "single": 1,
            **dict.fromkeys(("x", "part", "even", "odd", "bx", "by", "out", "out_row"), word),
            **dict.fromkeys(("column", "above", "below"), image)})
        self._sums = data.StructLayout({"valid": 1, "mark": mark, **wants,
                                        **dict.fromkeys(("a", "b", "out"), word)})
        self._pair = data.StructLayout({**self._sums.members, "bad": 1})
        values = data.ArrayLayout(signed(9), config.lanes)
        self._operands = data.StructLayout({
            "first": 1, "last": 1, "with_a": 1, "with_b": 1, "a": values, "b": values,
            "second": 8 * config.word_bytes, "addr": range(config.spm_words)})
        self._meta = data.StructLayout({"addr": range(config.spm_words), "mark": mark, **wants})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i = view_of(instruction_layout(Opcode.VECTOR))
        active, walking, go = Signal(), Signal(), Signal(self.STALLS)
        pair = self._walk(m, i, walking, go)
        queue, readers = self._issue(m, i, pair, go)
        idle = self._compute(m, i, queue, readers, coming=walking | self._on_the_way)
        ending = active & ~walking & ~self._on_the_way & ~queue.r_rdy & idle
        halt = self.engine.halt | self.engine.fault
        m.d.comb += [self.engine.start.eq(self.instr.valid & self.instr.ready),
                     self.engine.done.eq(ending & ~self.engine.fault),
                     self.engine.busy.eq(active),
                     self.instr.ready.eq(~active & ~halt)]
        # the verdict is there before the first pair can be read
        legal, age = self._legal(m, i), Signal(CHECK_CYCLES)
        m.d.sync += age.eq(Cat(self.engine.start, age))
        with m.If(ending):
            m.d.sync += active.eq(0)
        with m.If(self.engine.start):
            m.d.sync += [i.eq(self.instr.payload), active.eq(1), walking.eq(1)]
        with m.If(age[-1] & ~legal):
            m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(Fault.BAD_FIELD),
                         self.engine.fault_index.eq(i.index)]
        m.d.sync += self._held.eq(halt)
        return m

    def _legal(self, m: Module, i: data.View) -> Signal:
        """The rules of :func:`golden.vector.execute`, CHECK_CYCLES after the start."""
        two, function = self._two(i), is_function(i.vop)
        types = {n: i[f"{n}_type"] for n in "abo"}
        floating = (types["a"] != DType.INT8) | (types["o"] != DType.INT8) | (
            two & (types["b"] != DType.INT8))

        def on_circle(size: Value, *rows: Value) -> Value:
            return (size == 0) | Cat(*((r >= 0) & (r < size) for r in rows)).all()

        return verdict(m, [
            *(c != 0 for c in (i.nx, i.ny, i.ncb, i.ns, i.nr)),
            *(known(self._config, t) for t in types.values()),
            ((i.vop != VectorOp.MUL) & ~function) | floating,
            (i.vop != VectorOp.SUM) | (types["a"] != DType.FP32),
            ~(two | function) | ((i.ns == 1) & (i.nr == 1)),
            on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r), ~two | on_circle(i.b_wrap, i.b_row, i.b_y),
            on_circle(i.o_wrap, i.o_row, i.o_y)])

    def _two(self, i: data.View) -> Value:
        """Whether the operation has two operands."""
        return (i.vop == VectorOp.ADD) | (i.vop == VectorOp.MUL)

    def _units(self, m: Module, i: data.View) -> dict[str, Value]:
        """How the words of the operands and of the output share their elements, in logarithms:
        ``gather`` units make an output word, ``a`` and ``b`` units lie in a word of theirs."""
        if not self._config.floats:
            return {"gather": Const(0, 1), "a": Const(0, 1), "b": Const(0, 1)}
        a, b, o = (log_size(i[f"{n}_type"]) for n in "abo")
        largest = Signal(2)
        larger = Mux(a > o, a, o)
        m.d.comb += largest.eq(Mux(self._two(i) & (b > larger), b, larger))
        return {"gather": (largest - o)[:2], "a": (largest - a)[:2], "b": (largest - b)[:2]}

    def _walk(self, m: Module, i: data.View, walking: Signal, go: Signal) -> data.View:
        """The loop nest, and the addresses of a pair of taps: terms, sums, checks, a cycle each."""
        self._held = Signal()
        n = self.instr.payload
        pairs, two_rows = Signal.like(i.nr), Signal(signed(WORD), reset_less=True)
        logs, new = self._units(m, i), self._units(m, n)
        parts, words = Signal(3), Signal.like(i.ncb)
        new_words = (n.ncb + ((1 << new["gather"]) - 1)) >> new["gather"]
        m.d.comb += parts.eq(1 << logs["gather"])
        nest = Nest(m, [("s", i.ns), ("r", pairs), ("part", parts), ("x", i.nx), ("y", i.ny),
                        ("cb", words)])
        xa, sa, ca, xb, cb, xo, co, pa, pb = (Term(n, WORD) for n in (
            "xa", "sa", "ca", "xb", "cb", "xo", "co", "pa", "pb"))
        ya, even, odd = (Term(n, WORD, i.a_wrap) for n in ("ya", "even", "odd"))
        yb, yo = Term("yb", WORD, i.b_wrap), Term("yo", WORD, i.o_wrap)
        ix, sx, iy, iy_even, iy_odd = (Term(n, IMAGE_BITS) for n in ("ix", "sx", "iy", "iy_even",
                                                                     "iy_odd"))

        def advance(name: str, *terms: tuple[Term, Value, Value | int]) -> None:
            nest.on(name, enter=[t.value.eq(t.plus(step)) for t, step, _ in terms],
                    leave=[t.value.eq(start) for t, _, start in terms])

        advance("s", (sa, i.a_s, 0), (sx, i.ix_s, 0))
        advance("r", (even, two_rows, 0), (odd, two_rows, i.a_r), (iy_even, i.iy_r << 1, 0),
                (iy_odd, i.iy_r << 1, i.iy_r))
        advance("x", (xa, i.a_x, 0), (ix, i.ix_x, i.ix0), (xb, i.b_x, 0), (xo, i.o_x, 0))
        advance("y", (ya, i.a_y, i.a_row), (iy, i.iy_y, i.iy0), (yb, i.b_y, i.b_row),
                (yo, i.o_y, i.o_row))
        advance("part", (pa, self._part_step(nest, i.a_cb, logs["a"]), 0),
                (pb, self._part_step(nest, i.b_cb, logs["b"]), 0))
        advance("cb", (ca, self._block_step(nest, i.a_cb, logs["a"], logs["gather"]), i.a_base),
                (cb, self._block_step(nest, i.b_cb, logs["b"], logs["gather"]), i.b_base),
                (co, i.o_cb, i.o_base))

        two = self._two(i)
        unit = (nest.index("cb") << logs["gather"]) + nest.index("part")
        terms, sums, pair = (view_of(shape) for shape in (self._terms, self._sums, self._pair))
        with m.If(go[0]):
            m.d.sync += [
                terms.valid.eq(walking & ~self._held), terms.x.eq(xa.plus(ca.value)),
                terms.part.eq(pa.plus(sa.value)), terms.even.eq(ya.plus(even.value)),
                terms.odd.eq(ya.plus(odd.value)), terms.bx.eq(xb.plus(cb.value)),
                terms.by.eq(pb.plus(yb.value)), terms.out.eq(xo.plus(co.value)),
                terms.out_row.eq(yo.value), terms.column.eq(ix.plus(sx.value)),
                terms.above.eq(iy.plus(iy_even.value)), terms.below.eq(iy.plus(iy_odd.value)),
                terms.there.eq(unit < i.ncb), terms.single.eq(nest.last("r") & i.nr[0]),
                terms.mark.first.eq((nest.index("s") == 0) & (nest.index("r") == 0)),
                terms.mark.last.eq(nest.all_last(["s", "r"]))]
            if self._config.floats:
                m.d.sync += [
                    terms.mark.unit.sub_a.eq(unit & ((1 << logs["a"]) - 1)),
                    terms.mark.unit.sub_b.eq(unit & ((1 << logs["b"]) - 1)),
                    terms.mark.unit.part.eq(nest.index("part")),
                    terms.mark.unit.ends.eq(nest.last("part"))]
            with m.If(nest.done):
                m.d.sync += walking.eq(0)
        nest.step(*go[1:-1])
        with m.If(go[-1]):
            self._add_up(m, i, two, terms, sums, pair)
        with m.If(self.instr.valid & self.instr.ready):
            m.d.sync += [
                *nest.start(s=n.ns == 1, r=(n.nr == 1) | (n.nr == 2), part=new["gather"] == 0,
                            x=n.nx == 1, y=n.ny == 1, cb=new_words == 1),
                pairs.eq((n.nr + 1) >> 1), words.eq(new_words),
                two_rows.eq(circle_add(n.a_r, n.a_r, n.a_wrap, WORD)),
                *(t.value.eq(0) for t in (xa, sa, xb, xo, even, sx, iy_even, pa, pb)),
                *(t.value.eq(v) for t, v in (
                    (ca, n.a_base), (cb, n.b_base), (co, n.o_base), (ya, n.a_row), (yb, n.b_row),
                    (yo, n.o_row), (odd, n.a_r), (ix, n.ix0), (iy, n.iy0), (iy_odd, n.iy_r)))]
        self._on_the_way = terms.valid | sums.valid | pair.valid
        return pair

    def _add_up(self, m: Module, i: data.View, two: Value, terms: data.View, sums: data.View,
                pair: data.View) -> None:
        """From terms to addresses, and whether they are inside image and scratchpad."""
        words = self._config.spm_words

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
            m.d.sync += sums.mark.unit.there.eq(terms.there)

    def _part_step(self, nest: Nest, step: Value, log: Value) -> Value:
        """To the next unit of an output word: a step of the operand, if it is in its next word."""
        last = ((1 << log) - 1)
        return Mux((nest.index("part") & last) == last, step, 0)

    def _block_step(self, nest: Nest, step: Value, log: Value, gather: Value) -> Value:
        """To the first unit of the next output word: several words, one, or none yet."""
        few, last = (gather - log)[:2], (1 << (log - gather)[:2]) - 1
        return Mux(log <= gather, step << few,
                   Mux((nest.index("cb") & last) == last, step, 0))

    def _issue(self, m: Module, i: data.View, pair: data.View, go: Signal
               ) -> tuple[fifo.SyncFIFO, list[ReadPort]]:
        """Read the pair's words, queue what goes with them."""
        m.submodules.skid = skid = Skid(self._pair, self.STALLS)
        m.d.comb += [skid.i.payload.eq(pair), skid.i.valid.eq(pair.valid), go.eq(skid.go)]
        self._on_the_way |= skid.o.valid
        pair, bad, may, done = skid.o.payload, Signal(), Signal(), Signal()
        m.d.comb += [bad.eq(skid.o.valid & pair.bad), may.eq(skid.o.valid & ~bad & ~self._held)]
        with m.If(bad & ~self._held):
            m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(Fault.SPM_RANGE),
                         self.engine.fault_index.eq(i.index)]
        m.submodules.meta = queue = fifo.SyncFIFO(width=self._meta.size, depth=self.META_DEPTH)
        meta = view_of(self._meta)
        m.d.comb += [meta.addr.eq(pair.out), queue.w_data.eq(meta), meta.want_a.eq(pair.want_a),
                     meta.want_b.eq(pair.want_b), meta.mark.eq(pair.mark)]
        readers, finished = [], []
        for name, port, want, address in (("a", self.a, pair.want_a, pair.a),
                                          ("b", self.b, pair.want_b, pair.b)):
            m.submodules[f"reader_{name}"] = reader = ReadPort(self._config, **LOCKSTEP)
            wiring.connect(m, reader.port, wiring.flipped(port))
            issued = Signal(name=f"issued_{name}")
            m.d.comb += [reader.addr.payload.eq(address),
                         reader.addr.valid.eq(may & want & ~issued)]
            finished.append(issued | ~want | reader.addr.ready)
            m.d.sync += issued.eq(may & want & finished[-1] & ~done)
            readers.append(reader)
        queued = Signal()
        m.d.comb += [queue.w_en.eq(may & ~queued),
                     done.eq(may & (queued | queue.w_rdy) & Cat(*finished).all()),
                     skid.o.ready.eq(done)]
        m.d.sync += queued.eq(may & (queued | queue.w_rdy) & ~done)
        return queue, readers

    def _compute(self, m: Module, i: data.View, queue: fifo.SyncFIFO,
                 readers: list[ReadPort], coming: Value) -> Value:
        """Accumulate pairs of taps; hand whole windows to the lanes; returns whether it is idle.
        ``coming``: there are pairs that are not in the queue yet."""
        lanes = self._config.lanes
        head = data.View(self._meta, queue.r_data)
        add = self._two(i)
        acc = view_of(data.ArrayLayout(signed(32), lanes), reset_less=True)
        pair = view_of(self._operands, reset_less=True)
        taken, moves = Signal(), Signal()
        m.submodules.post = post = VectorPost(self._config)
        have, take, present, room = Signal(), Signal(), Signal(), Signal()
        a, b = readers
        integers, free, idle = self._floats(m, i, head, take, readers, post,
                                            moves, post.idle & ~have & ~taken)
        m.d.comb += [
            present.eq((~head.want_a | a.data.valid) & (~head.want_b | b.data.valid)),
            moves.eq(~taken | ~pair.last | ~have | post.take),
            room.eq(free), take.eq(queue.r_rdy & present & room),
            queue.r_en.eq(take), a.data.ready.eq(take & head.want_a),
            b.data.ready.eq(take & head.want_b), post.have.eq(have), post.instr.eq(i)]
        with m.If(queue.r_rdy):
            m.d.comb += [self.events.active.eq(take), self.events.wait_data.eq(~present),
                         self.events.wait_out.eq(present & ~room)]
        with m.Else():
            m.d.comb += [
                self.events.wait_data.eq(coming),
                self.events.wait_out.eq(~coming & self.out.valid & ~self.out.ready)]
        with m.If(moves):
            m.d.sync += [
                taken.eq(take & integers), pair.first.eq(head.mark.first),
                pair.last.eq(head.mark.last), pair.addr.eq(head.addr),
                pair.second.eq(b.data.payload), pair.with_a.eq(head.want_a),
                pair.with_b.eq(head.want_b & ~add),
                *(pair[n][k].eq(integer(word[8 * k:8 * k + 8], i.a_signed, i.a_zp))
                  for n, word in (("a", a.data.payload), ("b", b.data.payload))
                  for k in range(lanes))]
        sums, whole = Signal.like(acc), Signal.like(acc)
        second, addr = Signal.like(pair.second, reset_less=True), Signal.like(pair.addr)
        m.d.comb += [post.acc.eq(whole), post.second.eq(second), post.addr.eq(addr)]
        for k in range(lanes):
            m.d.comb += sums[k].eq(self._accumulate(m, k, i, pair, acc[k]))
        whole_now = taken & moves & pair.last
        with m.If(taken & moves):
            m.d.sync += acc.eq(sums)
        with m.If(whole_now):
            m.d.sync += [whole.eq(sums), second.eq(pair.second), addr.eq(pair.addr)]
        m.d.sync += have.eq(whole_now | (have & ~post.take))
        return idle

    def _floats(self, m: Module, i: data.View, head: data.View, take: Signal,
                readers: list[ReadPort], post: VectorPost, free: Value, idle: Value
                ) -> tuple[Value, Value, Value]:
        """Beside the lanes of INT8 those of numbers, if the machine has any: whether everything is
        INT8, whether a window may go to the lanes, and whether none is under way; ``free`` and
        ``idle`` are what the lanes of INT8 say."""
        if not self._config.floats:
            wiring.connect(m, post.out, wiring.flipped(self.out))
            return Const(1), free, idle
        m.submodules.floats = floats = VectorFloat(self._config)
        integers = Signal()
        a, b = readers
        m.d.comb += [
            integers.eq((i.a_type == DType.INT8) & (i.o_type == DType.INT8)
                        & (~self._two(i) | (i.b_type == DType.INT8))),
            floats.instr.eq(i), floats.take.eq(take & ~integers), floats.first.eq(head.mark.first),
            floats.last.eq(head.mark.last), floats.unit.eq(head.mark.unit),
            floats.addr.eq(head.addr),
            floats.want_a.eq(head.want_a), floats.want_b.eq(head.want_b),
            floats.word_a.eq(a.data.payload), floats.word_b.eq(b.data.payload),
            *(getattr(self, kind).eq(getattr(floats, kind)) for kind, _ in KIND)]
        # an instruction has left its lanes before the next one begins
        mine, theirs = post.out, floats.out
        m.d.comb += [
            self.out.valid.eq(mine.valid | theirs.valid),
            self.out.addr.eq(Mux(theirs.valid, theirs.addr, mine.addr)),
            self.out.data.eq(Mux(theirs.valid, theirs.data, mine.data)),
            *(port.ready.eq(self.out.ready) for port in (mine, theirs)),
            *(port.pending.eq(self.out.pending) for port in (mine, theirs))]
        return (integers, Mux(integers, free, ~head.mark.last | floats.room),
                idle & floats.idle)

    def _accumulate(self, m: Module, k: int, i: data.View, pair: data.View, acc: Value) -> Value:
        """What lane ``k`` has after a pair of taps. The maximum compares all three at once: no
        comparison waits for another."""
        is_max = i.vop == VectorOp.MAX
        old = Signal(signed(32), name=f"old{k}")
        m.d.comb += old.eq(Mux(pair.first, Mux(is_max, MAX_START, 0), acc))
        best = old[:MAX_BITS].as_signed()
        a, b, with_a, with_b = pair.a[k], pair.b[k], pair.with_a, pair.with_b
        beats = Signal(name=f"beats{k}")
        m.d.comb += beats.eq(with_b & (~with_a | (b > a)))
        greatest = Mux(beats, Mux(b > best, b, best), Mux(with_a & (a > best), a, best))
        addends = Signal(signed(10), name=f"addends{k}")
        m.d.comb += addends.eq(Mux(with_a, a, 0) + Mux(with_b, b, 0))
        return Mux(is_max, greatest, old + addends)
