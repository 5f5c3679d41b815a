# SPDX-License-Identifier: Apache-2.0
"""The drain: walks a TENSOR's output pixels, feeds the post-processors and addresses their words.

::

    loop nest ─► addresses ─┬─► residual reads ─────────────┐
       (up to here ahead of │                               ▼
        a full PSUM bank)   └─► entries ─► issue: PSUM read, slices ─► lanes ─► scratchpad

A type of more than a byte makes several words of an entry; each of them goes its own way, as an
entry of its own that reads the same sums. An entry is issued when its residual word has arrived,
every tile that writes has a landing place, and, at the start of a block, the block's parameters are
there. All tiles go in lockstep. An instruction is done when its last word has been written to the
scratchpad; only then does the next one start, so that the constants of the lanes stand still.
"""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.float_lane import FLOAT_CONSTANTS, KIND
from hw.arith.integer_lane import POST_CONSTANTS
from hw.arith.requantize import CODE
from hw.arith.sums import entry_layout
from hw.engine.ports import SpmRead, SpmReader, SpmWrite, SpmWriter, instruction_layout, view_of
from hw.parts.delay import cut, delay, later, register
from hw.parts.fifo import Fifo
from hw.parts.nest import Enables, Nest, Term, circle_add
from hw.parts.places import places
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort, lockstep
from hw.scratchpad.words import quarters
from hw.tensor.post import ISSUE, Post, landing_depth, slice_columns, slices, types, unit
from hw.tensor.weights import beat_layout
from isa.config import Config
from isa.instructions import SPM_ADDRESS_BITS, DType, Opcode
from isa.numerics import FP16_PRODUCT_UNIT

WORD = SPM_ADDRESS_BITS


class Drain(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of TENSOR)
    full : In(2)
        PSUM banks that wait to be drained.
    kept : In(1)
        The feeder has come to the end of an instruction that holds its bank.
    release, release_bank : Out
        A bank has been read for the last time.
    psum_en, psum_bank, psum_index : Out
        PSUM read, the same for all tiles.
    entries : In(array of arrays of entry_layout(config))
        What the accumulators show.
    params : In(stream of beat_layout)
        Parameter beats of the weight stream.
    residual, out : Out(SpmRead / SpmWrite).array(tiles)
    nan, infinite, overflow : Out
        Results of these kinds in this cycle.
    done : Out(1)
    fault, fault_index : Out
        An output or residual address is outside the scratchpad.
    halt : In(1)
    """

    LEVELS = ("word", "x", "y", "nb", "tx", "ty")
    """Of the loop nest, inner to outer."""

    ENTRY_DEPTH = 8

    instr: stream.Interface
    full: Signal
    kept: Signal
    release: Signal
    release_bank: Signal
    psum_en: Signal
    psum_bank: Signal
    psum_index: Signal
    entries: data.View
    params: stream.Interface
    residual: list[SpmReader]
    out: list[SpmWriter]
    nan: Signal
    infinite: Signal
    overflow: Signal
    done: Signal
    fault: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.TENSOR)
        entry = data.ArrayLayout(entry_layout(config), config.columns)
        super().__init__({
            "instr": In(stream.Signature(layout)), "full": In(2), "kept": In(1), "release": Out(1),
            "release_bank": Out(1), "psum_en": Out(1), "psum_bank": Out(1),
            "psum_index": Out(range(config.psum_depth)),
            "entries": In(data.ArrayLayout(entry, config.tiles)),
            "params": In(stream.Signature(beat_layout(config))),
            "residual": Out(SpmRead(config)).array(config.tiles),
            "out": Out(SpmWrite(config)).array(config.tiles),
            **{kind: Out(range(config.tiles * config.ppu_lanes + 1)) for kind, _ in KIND},
            "done": Out(1), "fault": Out(1),
            "fault_index": Out(layout["index"].shape), "halt": In(1)})
        address = range(config.spm_words)
        self._mark = data.StructLayout({
            "index": range(config.psum_depth), "bank": 1, "first": 1, "last": 1,
            **({"word": 2} if config.floats else {})})
        self._entry = data.StructLayout({
            "addr": data.ArrayLayout(address, config.tiles), "write": config.tiles,
            **self._mark.members})
        term, terms = signed(WORD), data.ArrayLayout(signed(WORD), config.tiles)
        self._walked = data.StructLayout({
            "valid": 1, **dict.fromkeys(("out", "residual", "out_row", "residual_row"), term),
            "end_word": 1, "last_group": 1, "last_row": 1, "word": 2,
            **{f: s.shape for f, s in self._mark if f != "word"}})
        self._sums = data.StructLayout({"valid": 1, "mark": self._mark, "write": config.tiles,
                                        "out": terms, "residual": terms})
        self._parts = data.StructLayout({**self._sums.members, "out_row": terms,
                                         "residual_row": terms})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        i = view_of(instruction_layout(Opcode.TENSOR), reset_less=True)
        active, walking = Signal(), Signal()
        go = Enables(self.LEVELS, behind=True, stages=2)
        walked = self._walk(m, i, walking, go)
        queue = self._look_up(m, i, go, walked)
        idle = self._issue(m, i, queue)
        kept = Signal(range(3))
        ending = active & ~walking & idle & (~i.hold | (kept != 0))
        m.d.sync += kept.eq(kept + self.kept - (ending & i.hold))
        m.d.comb += [self.done.eq(ending),
                     self.instr.ready.eq(~active)]
        with m.If(ending):
            m.d.sync += active.eq(0)
        # what comes while there is nothing valid is not active
        with m.If(self.instr.ready):
            m.d.sync += [i.eq(self.instr.payload), active.eq(self.instr.valid),
                         walking.eq(self.instr.valid & ~self.instr.payload.hold)]
        return m

    def _walk(self, m: Module, i: data.View, walking: Signal, go: Enables) -> data.View:
        """The loop nest, a cycle later the entry's address terms and flags, and another one later
        the terms' sums."""
        nx, ny = Signal.like(i.nx), Signal.like(i.ny)
        words = Signal(3)
        n = self.instr.payload
        log_o, log_r = self._log_size(i.o_type), self._log_size(i.r_type)
        nest = Nest(m, list(zip(self.LEVELS, (words, nx, ny, i.nnb, i.ntx, i.nty), strict=True)))
        m.d.comb += [nx.eq(Mux(nest.last("tx"), i.nx_last, i.nx)),
                     ny.eq(Mux(nest.last("ty"), i.ny_last, i.ny)),
                     words.eq(1 << log_o)]
        ones = {n: Signal(name=f"{n}_is_1", reset_less=True)
                for n in ("nx", "nx_last", "ny", "ny_last")}
        nest.varies("x", Mux(nest.next_last("tx"), ones["nx_last"], ones["nx"]))
        nest.varies("y", Mux(nest.next_last("ty"), ones["ny_last"], ones["ny"]))
        split = (self._config.tiles.bit_length() - 1) - i.m_split
        xo, no, nr, wo, wr = (Term(n, WORD) for n in ("xo", "no", "nr", "wo", "wr"))
        yo, yr = Term("yo", WORD, i.o_wrap), Term("yr", WORD, i.r_wrap)
        xo0, yo0, yr0 = (Signal(signed(WORD), name=n, reset_less=True)
                         for n in ("xo0", "yo0", "yr0"))
        psum, bank = Signal(range(self._config.psum_depth)), Signal()

        def to(term: Term, value: Value | int) -> object:
            return term.value.eq(value)

        # a residual of a smaller type has fewer words: each serves several of the output
        parts, more = Signal(2, reset_less=True), Signal(reset_less=True)
        r_n = Mux(more, i.r_n, 0)
        o_step, r_step = (register(m, f"{n}_step", i[f"{n}_n"] << (split[:2] + log), signed(WORD))
                          for n, log in (("o", log_o), ("r", log_r)))
        nest.behind("word", enter=[to(wo, wo.plus(i.o_n)), to(wr, wr.plus(r_n))],
                    leave=[to(wo, 0), to(wr, 0)])
        # whether an outer level moves, too, is a matter of what comes, not of whether it does
        tx, ty = nest.levels["tx"], nest.levels["ty"]
        further = xo.plus(i.o_x)
        nest.behind("x", enter=[to(xo, further)], leave=[
            to(xo, Mux(tx.left, 0, Mux(tx.entered, further, xo0)))])
        nest.behind("tx", enter=[xo0.eq(further)], leave=[xo0.eq(0)])
        for term, start in ((yo, yo0), (yr, yr0)):
            further = term.plus(i.o_y)
            nest.behind("y", enter=[to(term, further)],
                        leave=[to(term, Mux(ty.entered, further, start))])
            nest.behind("ty", enter=[start.eq(further)])
        nest.behind("nb", enter=[to(no, no.plus(o_step)), to(nr, nr.plus(r_step))],
                    leave=[to(no, i.o_base), to(nr, i.r_base)])
        last, begin = nest.all_last(["word", "x", "y"]), Signal()
        walked = view_of(data.StructLayout({
            "valid": 1, "first": 1, "last": 1, "last_group": 1, "last_row": 1, "bank": 1,
            "word": 2, "index": range(self._config.psum_depth)}))
        with m.If(go.walk):
            m.d.sync += [
                begin.eq(0), more.eq((nest.index("word") & parts) == parts),
                walked.valid.eq(walking), walked.word.eq(nest.index("word")),
                walked.index.eq(psum), walked.bank.eq(bank), walked.last.eq(last),
                walked.last_group.eq(nest.last("nb")),
                walked.last_row.eq(nest.last("ty") & nest.last("y")),
                walked.first.eq(Cat(nest.first(n) for n in ("word", "x", "y")).all())]
            with m.If(nest.last("word")):
                m.d.sync += psum.eq(Mux(last, 0, psum + 1))
            with m.If(last & walking):
                m.d.sync += bank.eq(~bank)
            with m.If(nest.done):
                m.d.sync += walking.eq(0)
        nest.step(*go.levels)
        nest.follow(*go.terms, begin=begin, start=[
            to(wo, 0), to(wr, 0), to(xo, 0), xo0.eq(0), to(no, i.o_base), to(nr, i.r_base),
            to(yo, i.o_row), yo0.eq(i.o_row), to(yr, i.r_row), yr0.eq(i.r_row)])
        with m.If(self.instr.ready):
            ratio = self._log_size(n.o_type) - self._log_size(n.r_type)
            m.d.sync += [*(one.eq(n[f] == 1) for f, one in ones.items()),
                         *nest.start(word=self._log_size(n.o_type) == 0,
                                     x=Mux(n.ntx == 1, n.nx_last, n.nx) == 1,
                                     y=Mux(n.nty == 1, n.ny_last, n.ny) == 1,
                                     nb=n.nnb == 1, tx=n.ntx == 1, ty=n.nty == 1),
                         psum.eq(0), begin.eq(1), parts.eq((1 << ratio[:2]) - 1)]
        now = view_of(self._walked)
        with m.If(go.stages[0]):
            m.d.sync += [
                now.valid.eq(walked.valid), now.out.eq(xo.plus(no.value) + wo.value),
                now.residual.eq(xo.plus(nr.value) + wr.value), now.out_row.eq(yo.value),
                now.residual_row.eq(yr.value),
                now.end_word.eq(walked.word + i.w_skip >= words),
                *(now[f].eq(walked[f]) for f in ("word", "index", "bank", "last", "last_group",
                                                 "last_row", "first"))]
        self._walked_valid = walked.valid
        return now

    def _log_size(self, dtype: Value) -> Value:
        """The logarithm of a type's bytes; INT8 alone has nothing to tell."""
        return Array(t.size.bit_length() - 1 for t in types(self._config))[dtype]

    def _splits(self, i: data.View) -> list[tuple[Value, Value, Value, Value]]:
        """For each tile: its pixel stream, its column split, and the offsets of its channel block
        in the output and in the residual."""
        tiles = self._config.tiles
        result = []
        for t in range(tiles):
            splits = [divmod(t, tiles >> c) for c in range(tiles.bit_length())]
            result.append((Array(s for s, _ in splits)[i.m_split],
                           Array(n for _, n in splits)[i.m_split],
                           Array(i.o_n * n for _, n in splits)[i.m_split]
                           << self._log_size(i.o_type),
                           Array(i.r_n * n for _, n in splits)[i.m_split]
                           << self._log_size(i.r_type)))
        return result

    def _look_up(self, m: Module, i: data.View, go: Enables, now: data.View) -> Fifo:
        """Addresses of the entry in two cycles, checked in a third; residual reads and the queue of
        entries, from when the entry's bank is full."""
        config, words = self._config, self._config.spm_words
        multiples = {}
        for kind, circle in (("o", i.o_wrap), ("r", i.r_wrap)):
            multiple: Value = Signal(signed(WORD), name=f"{kind}_m0")
            multiples[kind] = [multiple]
            for k in range(1, config.tiles):
                following = Signal(signed(WORD), name=f"{kind}_m{k}")
                m.d.comb += following.eq(circle_add(multiple, i.o_m, circle, WORD)
                                         if k > 1 else i.o_m)
                multiple = following
                multiples[kind].append(multiple)
        parts, sums, entry = view_of(self._parts), view_of(self._sums), view_of(self._entry)
        valid, bad = Signal(), Signal()
        r_addr = view_of(data.ArrayLayout(range(words), config.tiles))
        with m.If(go.stages[1]):
            m.d.sync += [
                parts.valid.eq(now.valid), sums.valid.eq(parts.valid), valid.eq(sums.valid),
                *(parts.mark[f].eq(now[f]) for f, _ in self._mark), sums.mark.eq(parts.mark),
                *(entry[f].eq(sums.mark[f]) for f, _ in self._mark)]
        outside = []
        for t, (stream_of, n, o_n, r_n) in enumerate(self._splits(i)):
            write = ((~now.last_group | (n < i.n_last)) & (~now.last_row | (stream_of < i.m_last))
                     & ~(now.last_group & (n == i.n_last - 1) & now.end_word))
            out, residual = sums.out[t], sums.residual[t]
            # the instruction's constants are there long before its first entry
            o_n, r_n, o_m, r_m = cut(m, f"offsets{t}", o_n, r_n, Array(multiples["o"])[stream_of],
                                     Array(multiples["r"])[stream_of])
            outside.append(sums.write[t] & (
                (out < 0) | (out >= words) | (i.residual & ((residual < 0) | (residual >= words)))))
            with m.If(go.stages[1]):
                m.d.sync += [
                    parts.out[t].eq(now.out + o_n), parts.residual[t].eq(now.residual + r_n),
                    parts.out_row[t].eq(circle_add(now.out_row, o_m, i.o_wrap, WORD)),
                    parts.residual_row[t].eq(circle_add(now.residual_row, r_m, i.r_wrap, WORD)),
                    parts.write[t].eq(write), sums.out[t].eq(parts.out[t] + parts.out_row[t]),
                    sums.residual[t].eq(parts.residual[t] + parts.residual_row[t]),
                    sums.write[t].eq(parts.write[t]), entry.addr[t].eq(out),
                    r_addr[t].eq(residual), entry.write[t].eq(sums.write[t])]
        with m.If(go.stages[1]):
            m.d.sync += bad.eq(sums.valid & Cat(*outside).any())
        wants = Cat(i.residual & write for write in entry.write)
        m.submodules.skid = skid = Skid(data.StructLayout({
            "entry": self._entry, "residual": r_addr.shape(), "wants": config.tiles, "bad": 1}),
            len(go.copies) + 1)
        into, head = skid.i.payload, skid.o.payload
        m.d.comb += [into.entry.eq(entry), into.residual.eq(r_addr), into.bad.eq(bad),
                     into.wants.eq(wants), skid.i.valid.eq(valid), go.copies.eq(skid.go[1:])]
        entry, r_addr, bad = head.entry, head.residual, head.bad

        # a bank stays full until its last entry has been read, which is after it was queued
        take, queued, may, ready = Signal(), Signal(2), Signal(2), Signal()
        m.d.comb += [ready.eq(skid.o.valid & may.bit_select(entry.bank, 1) & ~bad),
                     skid.o.ready.eq(take)]
        for bank in range(2):
            ends = take & entry.last & (entry.bank == bank)
            m.d.sync += may[bank].eq(self.full[bank] & ~queued[bank] & ~ends
                                     & ~self.halt & ~self.fault)
            with m.If(ends):
                m.d.sync += queued[bank].eq(1)
            with m.If(self.release & (self.release_bank == bank)):
                m.d.sync += queued[bank].eq(0)
        with m.If(skid.o.valid & may.bit_select(entry.bank, 1) & bad):
            m.d.sync += [self.fault.eq(1), self.fault_index.eq(i.index)]

        m.submodules.entries = queue = Fifo(self._entry, self.ENTRY_DEPTH)
        finished, self._readers = [], []
        for t in range(config.tiles):
            m.submodules[f"reader{t}"] = reader = ReadPort(config, lockstep(config))
            wiring.connect(m, reader.port, wiring.flipped(self.residual[t]))
            issued, want = Signal(name=f"residual_issued{t}"), Signal(name=f"residual_want{t}")
            m.d.comb += [want.eq(ready & head.wants[t]),
                         reader.addr.payload.eq(r_addr[t]), reader.addr.valid.eq(want & ~issued)]
            finished.append(~head.wants[t] | issued | reader.addr.ready)
            m.d.sync += issued.eq(want & finished[-1] & ~take)
            self._readers.append(reader)
        entered = Signal()
        m.d.comb += [take.eq(ready & queue.i.ready & Cat(*finished).all()),
                     queue.i.valid.eq(take), queue.i.payload.eq(entry)]
        m.d.sync += entered.eq(take)
        self._pending = Cat(self._walked_valid, now.valid, parts.valid, sums.valid, valid,
                            skid.o.valid, entered).any()
        return queue

    def _issue(self, m: Module, i: data.View, queue: Fifo) -> Value:
        """Entries into the lanes; returns whether nothing is under way. The next entry waits in
        registers, as its residual words do. What follows from the instruction is in registers, too:
        its first entry comes many cycles later."""
        config = self._config
        depth, every = landing_depth(config), types(config)
        most = max(slices(config, t) for t in every)
        final = register(m, "final", Array(slices(config, t) - 1 for t in every)[i.o_type])
        step = register(m, "step", Array(slice_columns(config, t) // unit(config)
                                         for t in every)[i.o_type])
        # first columns of the words of an entry are so far apart, in logarithms
        apart = register(m, "apart", Array(exact_log2(config.columns // t.size // unit(config))
                                           for t in every)[i.o_type])
        head, now = queue.o.payload, view_of(self._entry, reset_less=True)
        word = now.word if config.floats else Const(0, 2)
        waits, fetch, issue = Signal(), Signal(), Signal()
        closing, closing_bank = Signal(), Signal()
        left, running, last = Signal(range(max(2, most))), Signal(), Signal()
        first = Signal(range(max(2, config.columns // unit(config))))
        last_slice = running & last
        m.submodules.pending = pending = Fifo(data.StructLayout({
            "addr": now.addr.shape(), "write": config.tiles}), depth)
        params_full, params_there, swap = Signal(), Signal(), Signal()
        finished = Signal()
        free, _ = places(m, "pending", depth, issue, finished)
        may: list[Value] = [waits, free, ~running | last, ~now.first | params_there]
        idle: list[Value] = [~queue.o.valid, ~self._pending, ~waits, ~running, ~pending.o.valid]
        m.d.comb += [queue.o.ready.eq(fetch), pending.i.valid.eq(issue),
                     pending.i.payload.addr.eq(now.addr), pending.i.payload.write.eq(now.write),
                     self.release.eq(last_slice & closing), self.release_bank.eq(closing_bank)]
        m.d.sync += waits.eq(fetch | (waits & ~issue))
        with m.If(fetch):
            m.d.sync += now.eq(head)
        with m.If(issue):
            m.d.sync += [running.eq(1), left.eq(final), last.eq(final == 0), closing.eq(now.last),
                         closing_bank.eq(now.bank), first.eq(word << apart)]
        with m.Else():
            m.d.sync += [running.eq(running & ~last), left.eq(left - 1), last.eq(left == 1),
                         first.eq(first + step)]

        # whether there is an issue asks many; what follows from it goes behind: the entry is read,
        # and then in a register
        m.d.sync += [self.psum_en.eq(issue), self.psum_bank.eq(now.bank),
                     self.psum_index.eq(now.index)]
        swaps, issued, enters, at = (delay(m, value, ISSUE, name) for value, name in (
            (swap, "swaps"), (issue, "issued"), (running, "enters"), (first, "at")))

        beat = self.params.payload
        load = self.params.valid & self.params.ready
        m.d.comb += [swap.eq(issue & now.first), self.params.ready.eq(~params_full)]
        # the last parameters are there a cycle after they have been taken
        m.d.sync += [params_full.eq((params_full & ~swap) | (load & beat.last)),
                     params_there.eq(params_full & ~swap)]

        # a residual word of a smaller type has the elements of several words
        residual = register(m, "residual_used", i.residual)
        ratio = (self._log_size(i.o_type) - self._log_size(i.r_type))[:2]
        part = register(m, "residual_parts", ((1 << ratio) - 1)[:2])
        spread = register(m, "residual_spread", (2 - ratio)[:2])
        quarter = ((word & part) << spread)[:2]
        wants = Signal(config.tiles, reset_less=True)
        with m.If(fetch):
            m.d.sync += wants.eq(Mux(residual, head.write, 0))
        posts = []
        landed = pending.o.payload
        constants, floats, others = self._constants(m, i)
        for t in range(config.tiles):
            m.submodules[f"post{t}"] = post = Post(config)
            posts.append(post)
            room, _ = places(m, f"room{t}", depth, issue & now.write[t], post.popped)
            may.append(room)
            idle.append(post.empty)
            m.submodules[f"residual{t}"] = kept = Skid(8 * config.word_bytes)
            wiring.connect(m, self._readers[t].data, kept.i)
            may.append(~wants[t] | kept.o.valid)
            wiring.connect(m, post.out, wiring.flipped(self.out[t]))
            mine = Signal(name=f"mine{t}")
            choices = range(config.tiles.bit_length())
            m.d.comb += [
                mine.eq(Array(t % (config.tiles >> c) for c in choices)[beat.m_split]
                        == beat.tile),
                kept.o.ready.eq(issue & wants[t]), post.params.eq(beat),
                post.load.eq(load & mine), post.swap.eq(swaps), post.entry.eq(register(
                    m, f"entry{t}", self.entries[t].as_value())),
                post.residual_load.eq(issued), post.residual.eq(delay(
                    m, quarters(kept.o.payload, quarter), ISSUE, f"residual_word{t}")),
                post.valid.eq(enters), post.first.eq(at),
                post.keep.eq(landed.write[t]), post.addr.eq(landed.addr[t]),
                post.constants.eq(constants), post.floats.eq(floats),
                *(getattr(post, f).eq(others[f]) for f in ("all_integer", "r_signed", "r_zp"))]
        m.d.comb += [issue.eq(Cat(*may).all()), fetch.eq(queue.o.valid & (~waits | issue)),
                     finished.eq(posts[0].finished), pending.o.ready.eq(finished),
                     *(getattr(self, kind).eq(sum(getattr(p, kind) for p in posts))
                       for kind, _ in KIND)]
        return Cat(*idle).all()

    def _constants(self, m: Module, i: data.View) -> list[data.View]:
        """Of the post-processors, from registers."""
        constants = view_of(POST_CONSTANTS, name="integer_constants")
        floats = view_of(FLOAT_CONSTANTS, name="float_constants")
        others = view_of(data.StructLayout({"all_integer": 1, "r_signed": 1, "r_zp": CODE}),
                         name="other_constants")
        all_integer = (i.dtype == DType.INT8) & (i.o_type == DType.INT8) & (
            ~i.residual | (i.r_type == DType.INT8))
        m.d.comb += [
            *(constants[f].eq(i[f]) for f in ("z1", "lo1", "hi1", "scale_a", "z2", "lo2", "hi2")),
            constants.scale_b.eq(i.scale_r), constants.add.eq(i.residual),
            floats.floating.eq(i.dtype != DType.INT8),
            floats.z.eq(i.z1), floats.lo.eq(i.lo1), floats.hi.eq(i.hi1),
            *(floats[f].eq(i[f]) for f in ("o_type", "r_type", "residual", "scale_r", "lo_f",
                                           "hi_f")),
            others.all_integer.eq(all_integer), others.r_signed.eq(i.r_signed),
            others.r_zp.eq(i.r_zp)]
        with m.Switch(i.dtype):
            with m.Case(DType.FP16):
                m.d.comb += floats.unit.eq(FP16_PRODUCT_UNIT)
            with m.Case(DType.BF16):
                m.d.comb += floats.unit.eq(i.anchor)
        return [later(m, view, 1, name) for view, name in (
            (constants, "integer_kept"), (floats, "float_kept"), (others, "others_kept"))]
