# SPDX-License-Identifier: Apache-2.0
"""The drain: walks a TENSOR's output pixels, feeds the post-processors and addresses their words.

::

    walk ─► addresses ─┬─► residual reads ─────────────┐
      (up to here ahead│of                             ▼
       a full PSUM     └─► entries ─► issue: PSUM read, slices ─► lanes ─► scratchpad
       bank)

A type of more than a byte makes several words of a PSUM entry; each of them is an entry of its own
that reads the same sums. All tiles go in lockstep. An instruction is done when its last word has
been written to the scratchpad; only then does the next one start, so that the constants of the
lanes stand still.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import FLOAT_CONSTANTS, KIND
from hw.arith.integer_lane import POST_CONSTANTS
from hw.arith.requantize import CODE
from hw.arith.sums import entry_layout as psum_layout
from hw.engine.ports import SpmRead, SpmReader, SpmWrite, SpmWriter, instruction_layout, view_of
from hw.parts.delay import delay, later, register
from hw.parts.fifo import Fifo
from hw.parts.places import places
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort, lockstep
from hw.scratchpad.words import quarters
from hw.tensor.drain_addresses import DrainAddresses, entry_layout
from hw.tensor.drain_walk import DrainWalk, word_of
from hw.tensor.issue import Issue
from hw.tensor.parameters import legal_scales
from hw.tensor.post import ISSUE, Post, landing_depth, log_size
from hw.tensor.weights import beat_layout
from isa.config import Config
from isa.instructions import DType, Fault, Opcode
from isa.numerics import FP16_PRODUCT_UNIT


def all_integer(i: data.View) -> Value:
    """Whether a TENSOR's activations, output and residual are INT8."""
    return (i.dtype == DType.INT8) & (i.o_type == DType.INT8) & (
        ~i.residual | (i.r_type == DType.INT8))


class Drain(wiring.Component):
    """Latency: four cycles from a bank that becomes full to the read of its first entry.
    Throughput: an entry every :func:`hw.tensor.post.slices` cycles. Stall: an entry is issued when
    its residual word has arrived, every tile that writes has a landing place and, at the start of a
    block, the block's parameters are there; nothing after the issue stalls.

    Parameters
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
    fault, fault_code, fault_index : Out
        An output or residual address is outside the scratchpad, or a scale outside its bounds.
    halt : In(1)
    """

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
    fault_code: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.TENSOR)
        entry = data.ArrayLayout(psum_layout(config), config.columns)
        super().__init__({
            "instr": In(stream.Signature(layout)), "full": In(2), "kept": In(1), "release": Out(1),
            "release_bank": Out(1), "psum_en": Out(1), "psum_bank": Out(1),
            "psum_index": Out(range(config.psum_depth)),
            "entries": In(data.ArrayLayout(entry, config.tiles)),
            "params": In(stream.Signature(beat_layout(config))),
            "residual": Out(SpmRead(config)).array(config.tiles),
            "out": Out(SpmWrite(config)).array(config.tiles),
            **{kind: Out(range(config.tiles * config.ppu_lanes + 1)) for kind, _ in KIND},
            "done": Out(1), "fault": Out(1), "fault_code": Out(8),
            "fault_index": Out(layout["index"].shape), "halt": In(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        i = view_of(instruction_layout(Opcode.TENSOR), reset_less=True)
        active = Signal()
        m.submodules.walk = walk = DrainWalk(config)
        m.submodules.addresses = addresses = DrainAddresses(config, len(walk.go))
        m.submodules.issue = issue = Issue(config)
        m.d.comb += [
            walk.next.eq(self.instr.payload), walk.valid.eq(self.instr.valid),
            walk.idle.eq(~active), walk.i.eq(i), walk.go.eq(addresses.go),
            addresses.i.eq(i), addresses.step.eq(walk.step), issue.o_type.eq(i.o_type)]
        entering, readers = self._enter(m, i, addresses.places, issue.entries)
        empty = self._lanes(m, i, issue, readers)
        idle = ~(walk.busy | addresses.busy | entering | issue.entries.valid) & issue.idle & empty
        kept = Signal(range(3))
        ending = active & ~walk.walking & idle & (~i.hold | (kept != 0))
        m.d.sync += kept.eq(kept + self.kept - (ending & i.hold))
        m.d.comb += [self.done.eq(ending),
                     self.instr.ready.eq(~active)]
        with m.If(ending):
            m.d.sync += active.eq(0)
        # the payload is sampled in every idle cycle, valid or not, and active tells which it was
        with m.If(self.instr.ready):
            m.d.sync += [i.eq(self.instr.payload), active.eq(self.instr.valid)]
        return m

    def _enter(self, m: Module, i: data.View, head: stream.Interface, entries: stream.Interface
               ) -> tuple[Signal, list[ReadPort]]:
        """Places into the queue of entries and residual reads, from when the place's bank is full.
        Returns whether an entry went there in the cycle before, and the tiles' read ports."""
        m.submodules.entries = queue = Fifo(entry_layout(self._config), self.ENTRY_DEPTH)
        wiring.connect(m, queue.o, entries)
        take, entered, place = Signal(), Signal(), head.payload
        free = self._banks(m, place.entry, take).bit_select(place.entry.bank, 1)
        ready = Signal()
        m.d.comb += ready.eq(head.valid & free & ~place.bad)
        with m.If(head.valid & free & place.bad):
            m.d.sync += [self.fault.eq(1), self.fault_code.eq(Fault.SPM_RANGE),
                         self.fault_index.eq(i.index)]
        finished, readers = [], []
        for t, port in enumerate(self.residual):
            m.submodules[f"reader{t}"] = reader = ReadPort(self._config, lockstep(self._config))
            wiring.connect(m, reader.port, wiring.flipped(port))
            issued, want = Signal(name=f"residual_issued{t}"), Signal(name=f"residual_want{t}")
            m.d.comb += [want.eq(ready & place.wants[t]), reader.addr.valid.eq(want & ~issued),
                         reader.addr.payload.eq(place.residual[t])]
            finished.append(~place.wants[t] | issued | reader.addr.ready)
            m.d.sync += issued.eq(want & finished[-1] & ~take)
            readers.append(reader)
        m.d.comb += [take.eq(ready & queue.i.ready & Cat(*finished).all()), head.ready.eq(take),
                     queue.i.valid.eq(take), queue.i.payload.eq(place.entry)]
        m.d.sync += entered.eq(take)
        return entered, readers

    def _banks(self, m: Module, entry: data.View, take: Signal) -> Signal:
        """The banks whose entries may be queued: full, and not queued to the end. A bank stays full
        until its last entry has been read, which is after it was queued."""
        queued, may = Signal(2), Signal(2)
        for bank in range(2):
            ends = take & entry.last & (entry.bank == bank)
            m.d.sync += may[bank].eq(self.full[bank] & ~queued[bank] & ~ends
                                     & ~self.halt & ~self.fault)
            with m.If(ends):
                m.d.sync += queued[bank].eq(1)
            with m.If(self.release & (self.release_bank == bank)):
                m.d.sync += queued[bank].eq(0)
        return may

    def _lanes(self, m: Module, i: data.View, issue: Issue, readers: list[ReadPort]) -> Value:
        """Post-processors behind the issue; returns whether they are empty. Constants of the
        instruction come from registers: its first entry comes many cycles later."""
        config, now = self._config, issue.waiting
        depth = landing_depth(config)
        there, load, swap = self._parameters(m, i, issue)
        words, arrived = self._residuals(m, i, issue, readers)
        # issue has a wide fan-in, so everything derived from it is registered: the entry is read,
        # and then in a register
        m.d.sync += [self.psum_en.eq(issue.issue), self.psum_bank.eq(now.bank),
                     self.psum_index.eq(now.index)]
        swaps, issued, enters, at = (delay(m, value, ISSUE, name) for value, name in (
            (swap, "swaps"), (issue.issue, "issued"), (issue.running, "enters"),
            (issue.first, "at")))
        m.submodules.pending = pending = Fifo(data.StructLayout({
            "addr": now.addr.shape(), "write": config.tiles}), depth)
        landed, finished = pending.o.payload, Signal()
        free, _ = places(m, "pending", depth, issue.issue, finished)
        room, posts = [], []
        constants, floats, others = self._constants(m, i)
        for t in range(config.tiles):
            m.submodules[f"post{t}"] = post = Post(config)
            posts.append(post)
            room.append(places(m, f"room{t}", depth, issue.issue & now.write[t], post.popped)[0])
            wiring.connect(m, post.out, wiring.flipped(self.out[t]))
            m.d.comb += [
                post.params.eq(self.params.payload), post.load.eq(load & self._mine(m, t)),
                post.swap.eq(swaps), post.residual_load.eq(issued),
                post.entry.eq(register(m, f"entry{t}", self.entries[t].as_value())),
                post.residual.eq(delay(m, words[t], ISSUE, f"residual_word{t}")),
                post.valid.eq(enters), post.first.eq(at),
                post.keep.eq(landed.write[t]), post.addr.eq(landed.addr[t]),
                post.constants.eq(constants), post.floats.eq(floats),
                *(getattr(post, f).eq(others[f]) for f in ("all_integer", "r_signed", "r_zp"))]
        m.d.comb += [
            issue.ready.eq(free & (~now.first | there) & arrived & Cat(*room).all()),
            pending.i.valid.eq(issue.issue), pending.i.payload.addr.eq(now.addr),
            pending.i.payload.write.eq(now.write), pending.o.ready.eq(finished),
            finished.eq(posts[0].finished),
            self.release.eq(issue.release), self.release_bank.eq(issue.release_bank),
            *(getattr(self, kind).eq(sum(getattr(p, kind) for p in posts)) for kind, _ in KIND)]
        return ~pending.o.valid & Cat(post.empty for post in posts).all()

    def _mine(self, m: Module, t: int) -> Signal:
        """Whether a parameter beat is tile t's."""
        mine, tiles = Signal(name=f"mine{t}"), self._config.tiles
        beat = self.params.payload
        m.d.comb += mine.eq(Array(t % (tiles >> c) for c in range(tiles.bit_length()))
                            [beat.m_split] == beat.tile)
        return mine

    def _parameters(self, m: Module, i: data.View, issue: Issue
                    ) -> tuple[Signal, Value, Signal]:
        """Parameters into the set that the lanes do not use. Returns whether they are there, a
        cycle after the last beat; whether a beat is loaded; and whether the sets change places, as
        the first entry of a block is issued. A block with an illegal scale is a fault when its
        first entry is its turn."""
        full, there, swap, bad = Signal(), Signal(), Signal(), Signal()
        load = self.params.valid & self.params.ready
        with m.If(load & ~legal_scales(self._config, self.params.payload)):
            m.d.sync += bad.eq(1)
        with m.If(full & bad & issue.waits & issue.waiting.first & ~self.fault):
            m.d.sync += [self.fault.eq(1), self.fault_code.eq(Fault.BAD_FIELD),
                         self.fault_index.eq(i.index)]
        m.d.comb += [swap.eq(issue.issue & issue.waiting.first), self.params.ready.eq(~full)]
        m.d.sync += [full.eq((full & ~swap) | (load & self.params.payload.last)),
                     there.eq(full & ~swap & ~bad)]
        return there, load, swap

    def _residuals(self, m: Module, i: data.View, issue: Issue, readers: list[ReadPort]
                   ) -> tuple[list[Value], Value]:
        """The residual word of each tile for the waiting entry, shifted such that its elements
        begin at byte 0; and whether all that are wanted have arrived."""
        config = self._config
        # a word of a smaller type has the elements of several words of the output
        ratio = (log_size(config, i.o_type) - log_size(config, i.r_type))[:2]
        residual = register(m, "residual_used", i.residual)
        part = register(m, "residual_parts", ((1 << ratio) - 1)[:2])
        spread = register(m, "residual_spread", (2 - ratio)[:2])
        quarter = ((word_of(issue.waiting) & part) << spread)[:2]
        wants = Signal(config.tiles, reset_less=True)
        with m.If(issue.entries.ready):
            m.d.sync += wants.eq(Mux(residual, issue.entries.payload.write, 0))
        words, arrived = [], []
        for t, reader in enumerate(readers):
            m.submodules[f"residual{t}"] = kept = Skid(8 * config.word_bytes)
            wiring.connect(m, reader.data, kept.i)
            m.d.comb += kept.o.ready.eq(issue.issue & wants[t])
            words.append(quarters(kept.o.payload, quarter))
            arrived.append(~wants[t] | kept.o.valid)
        return words, Cat(*arrived).all()

    def _constants(self, m: Module, i: data.View) -> list[data.View]:
        """The constants of the post-processors, from registers."""
        constants = view_of(POST_CONSTANTS, name="integer_constants")
        floats = view_of(FLOAT_CONSTANTS, name="float_constants")
        others = view_of(data.StructLayout({"all_integer": 1, "r_signed": 1, "r_zp": CODE}),
                         name="other_constants")
        m.d.comb += [
            *(constants[f].eq(i[f]) for f in ("z1", "lo1", "hi1", "scale_a", "z2", "lo2", "hi2")),
            constants.scale_b.eq(i.scale_r), constants.add.eq(i.residual),
            floats.floating.eq(i.dtype != DType.INT8),
            floats.z.eq(i.z1), floats.lo.eq(i.lo1), floats.hi.eq(i.hi1),
            *(floats[f].eq(i[f]) for f in ("o_type", "r_type", "residual", "scale_r", "lo_f",
                                           "hi_f")),
            others.all_integer.eq(all_integer(i)), others.r_signed.eq(i.r_signed),
            others.r_zp.eq(i.r_zp)]
        with m.Switch(i.dtype):
            with m.Case(DType.FP16):
                m.d.comb += floats.unit.eq(FP16_PRODUCT_UNIT)
            with m.Case(DType.BF16):
                m.d.comb += floats.unit.eq(i.anchor)
        return [later(m, view, 1, name) for view, name in (
            (constants, "integer_kept"), (floats, "float_kept"), (others, "others_kept"))]
