# SPDX-License-Identifier: Apache-2.0
"""The weight loader: reads a TENSOR's weight stream and delivers it beat by beat.

The stream lies in the scratchpad in the order of use, so its address only counts up, and goes back
to the start for every rectangle. Of each group of output channel blocks it gives, for every pass,
the weight tiles of the tiles, and after the last pass the post-processor's parameters (not when the
PSUM bank is held). A word with INT8 weights of floats holds two columns and is read for each of
them. The loader runs ahead of the feeder by whatever the shadow weights, its landing
buffers and the next instruction allow.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import operand
from hw.engine.ports import SpmRead, SpmReader, instruction_layout, view_of
from hw.parts.fifo import Fifo
from hw.parts.nest import Enables, Nest
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort
from isa.config import PARAM_WORDS, Config
from isa.instructions import SPM_ADDRESS_BITS, Opcode


def beat_layout(config: Config) -> data.StructLayout:
    """``raw``: the words; ``weights``: the same less the zero point; ``params``: they are
    parameters; ``tile``: column split that they belong to; ``beat``: position in the tile or
    parameter block, in beats; ``last``: the pass, or the block's parameters, are complete."""
    words = config.weight_words
    vector = operand.vector_layout(config)
    return data.StructLayout({
        "raw": data.ArrayLayout(8 * config.word_bytes, words),
        "weights": data.ArrayLayout(vector, words),
        "params": 1, "tile": 2, "m_split": 2,
        "beat": range(max(config.lanes, PARAM_WORDS) // words), "last": 1})


class WeightLoader(wiring.Component):
    """Latency: LATENCY cycles from an instruction to its first beat, if the scratchpad grants every
    request. Throughput: a beat of ``weight_words`` words a cycle. Stall: while ``beats`` is not
    ready the read ports' buffers fill, then the skid buffer before them, then the walk stands
    still.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of TENSOR)
    beats : Out(stream of beat_layout)
    port : Out(SpmRead).array(weight_words)
    fault, fault_index : Out
        The stream leaves the scratchpad.
    halt : In(1)
    """

    PASS = ("beat", "tile", "cb", "s", "r")
    LEVELS = (*PASS, "phase", "nb", "tx", "ty")
    """Levels of the loop nest, inner to outer; a pass is one of weights or of parameters."""

    LATENCY = ReadPort.LATENCY + 3
    META_DEPTH = 16

    instr: stream.Interface
    beats: stream.Interface
    port: list[SpmReader]
    fault: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.TENSOR)
        super().__init__({
            "instr": In(stream.Signature(layout)),
            "beats": Out(stream.Signature(beat_layout(config))),
            "port": Out(SpmRead(config)).array(config.weight_words),
            "fault": Out(1), "fault_index": Out(layout["index"].shape), "halt": In(1)})
        fields = beat_layout(config)
        self._meta = data.StructLayout({
            **{f: fields[f].shape for f in ("params", "tile", "m_split", "beat", "last")},
            "w_signed": 1, "w_zp": layout["w_zp"].shape,
            **({"dtype": 2, "narrow": 1} if config.floats else {})})

    def elaborate(self, platform: object) -> Elaboratable:
        config = self._config
        words = config.weight_words
        m = Module()
        i = view_of(instruction_layout(Opcode.TENSOR), reset_less=True)
        active, params = Signal(), Signal()
        beat_bits = range(max(config.lanes, PARAM_WORDS) // words + 1)
        beats, tiles, phases = Signal(beat_bits), Signal(3), Signal(2)
        ncb, ns, nr = (Signal.like(c) for c in (i.ncb, i.ns, i.nr))
        # the parameters are a short pass in a phase of their own
        nest = Nest(m, list(zip(self.LEVELS, (beats, tiles, ncb, ns, nr, phases, i.nnb, i.ntx,
                                              i.nty), strict=True)))
        lengths = (config.lanes // words, PARAM_WORDS // words)
        m.d.comb += [
            params.eq(nest.index("phase")[0]), phases.eq(Mux(i.hold, 1, 2)),
            tiles.eq(config.tiles >> i.m_split), beats.eq(Mux(params, lengths[1], lengths[0])),
            *(n.eq(Mux(params, 1, c)) for n, c in ((ncb, i.ncb), (ns, i.ns), (nr, i.nr)))]
        address = Signal(SPM_ADDRESS_BITS + 1, reset_less=True)
        # after a step the phase is that of parameters
        short = Mux(nest.all_last(self.PASS), ~params & ~i.hold, params)
        nest.varies("beat", Mux(short, int(lengths[1] == 1), int(lengths[0] == 1)))
        ones = {n: Signal(name=f"n{n}_is_1", reset_less=True) for n in ("cb", "s", "r")}
        for n in ones:
            nest.varies(n, short | ones[n])
        go = Enables(self.LEVELS)
        # INT8 weights of floats: a word is read for a column in front, and for the one behind
        again = (i.w_type[0] & ~params & ~nest.index("beat")[0]) if config.floats else Const(0)
        m.d.comb += self.instr.ready.eq(~active)
        nest.step(*(g & active for g in go.levels))
        with m.If(go.walk & active):
            m.d.sync += address.eq(address + Mux(again, 0, words))
            with m.If(nest.all_last([*self.PASS, "phase", "nb"])):
                m.d.sync += address.eq(i.w_base)
            with m.If(nest.done):
                m.d.sync += active.eq(0)
        # the payload is sampled in every idle cycle, valid or not, and active tells which it was
        with m.If(self.instr.ready):
            n = self.instr.payload
            m.d.sync += [i.eq(n), active.eq(self.instr.valid), address.eq(n.w_base),
                         *(one.eq(n[f"n{f}"] == 1) for f, one in ones.items()),
                         *nest.start(beat=Const(int(lengths[0] == 1)),
                                     tile=config.tiles >> n.m_split == 1, phase=n.hold,
                                     **{f: n[f"n{f}"] == 1 for f in (
                                         "cb", "s", "r", "nb", "tx", "ty")})]
        self._issue(m, i, active, go, params, address, nest)
        return m

    def _issue(self, m: Module, i: data.View, active: Signal, go: Enables, params: Signal,
               address: Signal, nest: Nest) -> None:
        config = self._config
        m.submodules.skid = skid = Skid(data.StructLayout({
            "meta": self._meta, "address": address.shape(), "bad": 1, "index": i.index.shape()}),
            len(go.copies) + 1)
        head, meta = skid.o.payload, skid.i.payload.meta
        may, done, held = Signal(), Signal(), Signal()
        m.d.sync += held.eq(self.halt)
        m.d.comb += [skid.i.payload.bad.eq(address >= config.spm_words),
                     may.eq(skid.o.valid & ~head.bad & ~held)]
        with m.If(skid.o.valid & head.bad & ~held & ~self.fault):
            m.d.sync += [self.fault.eq(1), self.fault_index.eq(head.index)]
        m.d.comb += [
            skid.i.valid.eq(active), go.copies.eq(skid.go[1:]), skid.i.payload.address.eq(address),
            skid.i.payload.index.eq(i.index),
            meta.params.eq(params), meta.tile.eq(nest.index("tile")),
            meta.m_split.eq(i.m_split), meta.beat.eq(nest.index("beat")),
            meta.last.eq(nest.all_last(["beat", "tile"])), meta.w_signed.eq(i.w_signed),
            meta.w_zp.eq(i.w_zp), *([meta.dtype.eq(i.dtype), meta.narrow.eq(i.w_type)]
                                    if config.floats else [])]
        m.submodules.meta = queue = Fifo(self._meta, self.META_DEPTH, registered=True)
        readers, finished = [], []
        for k in range(config.weight_words):
            m.submodules[f"reader{k}"] = reader = ReadPort(config)
            wiring.connect(m, reader.port, wiring.flipped(self.port[k]))
            issued = Signal(name=f"issued{k}")
            m.d.comb += [reader.addr.payload.eq(head.address | k),
                         reader.addr.valid.eq(may & ~issued)]
            finished.append(issued | reader.addr.ready)
            m.d.sync += issued.eq(may & finished[-1] & ~done)
            readers.append(reader)
        queued = Signal()
        m.d.comb += [queue.i.payload.eq(head.meta), queue.i.valid.eq(may & ~queued),
                     done.eq(may & (queued | queue.i.ready) & Cat(*finished).all()),
                     skid.o.ready.eq(done)]
        m.d.sync += queued.eq(may & (queued | queue.i.ready) & ~done)
        self._join(m, queue, readers)

    def _join(self, m: Module, queue: Fifo, readers: list[ReadPort]) -> None:
        """Words and what goes with them; who takes the beats is not seen by the readers."""
        width = 8 * self._config.word_bytes
        m.submodules.joined = joined = Skid(data.StructLayout({
            "meta": self._meta, "raw": data.ArrayLayout(width, len(readers))}))
        into, head, out = joined.i.payload, joined.o.payload.meta, self.beats.payload
        arrived = queue.o.valid & Cat(reader.data.valid for reader in readers).all()
        m.d.comb += [
            joined.i.valid.eq(arrived), queue.o.ready.eq(arrived & joined.i.ready),
            into.meta.eq(queue.o.payload), self.beats.valid.eq(joined.o.valid),
            joined.o.ready.eq(self.beats.ready), out.raw.eq(joined.o.payload.raw),
            *(out[f].eq(head[f]) for f in ("params", "tile", "m_split", "beat", "last"))]
        for k, reader in enumerate(readers):
            m.d.comb += [reader.data.ready.eq(queue.o.ready),
                         into.raw[k].eq(reader.data.payload)]
            word = joined.o.payload.raw[k]
            chosen, wholes = self._bytes(word, head)
            operand.assign(m, f"word{k}", out.weights[k], word,
                           [operand.integer(b, head.w_signed, head.w_zp) for b in chosen],
                           operand.field(head, "dtype"), 0, wholes)

    def _bytes(self, word: Value, head: data.View) -> tuple[list[Value], Value | None]:
        """The bytes that are integers, and whether those are the weights of floats: then those of
        the word's half that is the beat's stand first in the pairs."""
        lanes = self._config.lanes
        own = [word[8 * lane:8 * lane + 8] for lane in range(lanes)]
        if not self._config.floats:
            return own, None
        half = [Mux(head.beat[0], own[lanes // 2 + k], own[k]) for k in range(lanes // 2)]
        return [b if lane % 2 else Mux(head.narrow, half[lane // 2], b)
                for lane, b in enumerate(own)], head.narrow
