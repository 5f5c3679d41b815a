# SPDX-License-Identifier: Apache-2.0
"""The window engine's post stage: complete sums to bytes, and words on their way out.

::

    sums ─► held, for L / window_lanes slices ─┬─► requantizers ───┬─► word ─► landing ─► scratchpad
                                               └─► float lanes ────┘             │
    outs ────────────────────────────────────────────────────────────────────────┘

One for all groups, which go in lockstep up to the landing. Sums enter when the ones before have
gone into the lanes, and these start with them only if every group has a landing place.
Parameters lie in two banks like the weights they come with; zero point and clip are delayed beside
the elements, so that nothing has to stand still for the next instruction to begin.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import KIND
from hw.arith.normal import is_scale
from hw.arith.requantize import CODE, Requantizer
from hw.arith.sums import UNIT_BITS
from hw.engine.ports import SpmWrite, SpmWriter, view_of
from hw.parts.clock_gate import Place, clocked
from hw.parts.delay import delay, later
from hw.scratchpad.last_write import write_out
from hw.window.float_lane import WindowFloat
from hw.window.group import sums_layout
from hw.window.read import out_layout
from isa.config import PARAM_WORDS, Config
from isa.instructions import DType


def clip_layout(config: Config) -> data.StructLayout:
    """Zero point and clip of integers; with floating point the type of the results, whether they
    are maxima, the exponent of the sums' lowest bit, and the bounds of floats."""
    floats = {"dtype": 2, "max": 1, "unit": signed(UNIT_BITS), "lo_f": 16, "hi_f": 16}
    return data.StructLayout({"z": CODE, "lo": CODE, "hi": CODE,
                              **(floats if config.floats else {})})


def legal_scales(word: data.View) -> Value:
    """Whether a parameter word (:func:`hw.window.weights.word_layout`), if it is one of scales, has
    legal ones."""
    words = len(word.raw) // 32
    return (word.slot < PARAM_WORDS // 2) | Cat(
        is_scale(word.raw.word_select(k, 32)) for k in range(words)).all()


class WindowPost(wiring.Component):
    """Latency: that of the lanes from a slice to its bytes. Throughput: sums every ``lanes /
    window_lanes`` cycles. Stall: ``ready`` is low while the sums before are in slices; these begin
    only if every group has a landing place, whose words wait for ``out``.

    Parameters
    ----------
    config : Config

    Members
    -------
    load, bank, slot, raw : In
        Write parameter word ``slot`` of a bank, for the groups whose bit of ``load`` is set.
    sums, clip, closes : In
        Complete sums of all groups; ``closes``: the last that want the oldest bank.
    valid : In(1)
        They are there, and taken if ``ready``.
    ready : Out(1)
    release : Out(1)
        The oldest bank is needed no more.
    outs : In(stream of out_layout)
        Where the words go, in the order of the sums.
    out : Out(SpmWrite).array(tiles)
    ends : Out(tiles)
        The last word of an instruction leaves, for each port of ``out``.
    done : Out(1)
        An instruction's last words have been accepted by the scratchpad.
    nan, infinite, overflow : Out
        With floating point: results of these kinds in this cycle.
    """

    load: Signal
    bank: Signal
    slot: Signal
    raw: Signal
    sums: data.View
    clip: data.View
    closes: Signal
    valid: Signal
    ready: Signal
    release: Signal
    outs: stream.Interface
    out: list[SpmWriter]
    ends: Signal
    done: Signal

    def __init__(self, config: Config):
        self._config = config
        self._slices = config.lanes // config.window_lanes
        self._latency = WindowFloat.LATENCY if config.floats else Requantizer.LATENCY
        self._float_lanes = max(1, config.window_lanes // 2)
        self._landing = self._latency // self._slices + 6
        self._sums = data.ArrayLayout(sums_layout(config), config.tiles)
        self._clip = clip_layout(config)
        super().__init__({
            "load": In(config.tiles), "bank": In(1), "slot": In(range(PARAM_WORDS)),
            "raw": In(8 * config.word_bytes), "sums": In(self._sums), "clip": In(self._clip),
            "closes": In(1), "valid": In(1), "ready": Out(1), "release": Out(1),
            "outs": In(stream.Signature(out_layout(config))),
            "out": Out(SpmWrite(config)).array(config.tiles), "ends": Out(config.tiles),
            "done": Out(1),
            **({kind: Out(range(config.tiles * self._float_lanes + 1)) for kind, _ in KIND}
               if config.floats else {})})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        count, latency = self._slices, self._latency
        have, closing, bank = Signal(), Signal(), Signal()
        slice_ = Signal(range(max(2, count)))
        first, last, running = slice_ == 0, slice_ == count - 1, Signal()
        sums, clip = view_of(self._sums, reset_less=True), view_of(self._clip, reset_less=True)
        m.d.comb += [self.ready.eq(~have | (running & last)),
                     self.release.eq(running & last & closing)]
        with m.If(running):
            m.d.sync += slice_.eq(Mux(last, 0, slice_ + 1))
            with m.If(last):
                m.d.sync += have.eq(0)
        with m.If(self.release):
            m.d.sync += bank.eq(~bank)
        with m.If(self.valid & self.ready):
            m.d.sync += [have.eq(1), sums.eq(self.sums), clip.eq(self.clip),
                         closing.eq(self.closes)]
        arriving = Signal(latency)
        m.d.sync += arriving.eq(Cat(running, arriving))
        clips = [clip]
        for k in range(latency):
            clips.append(later(m, clips[-1], 1, f"clip{k}"))
        position = Signal(range(max(2, count)))
        finished = arriving[-1] & (position == count - 1)
        with m.If(arriving[-1]):
            m.d.sync += position.eq(Mux(position == count - 1, 0, position + 1))
        m.d.comb += self.outs.ready.eq(finished)
        room, ended = [], []
        place = clocked(m, platform, "lanes", wants=running, lasts=latency)
        self._kinds: list[tuple[Value, data.View]] = []
        for t in range(self._config.tiles):
            params = self._params(m, t, bank)
            values = self._integers(m, place, t, sums[t], slice_, params, clips)
            if self._config.floats:
                values = self._floats(m, place, t, sums[t], slice_, params, clips, position,
                                      values)
            word = self._gather(m, t, values, arriving[-1])
            popped, final = self._land(m, t, word, finished)
            m.d.comb += self.ends[t].eq(final)
            places = Signal(range(self._landing + 1), init=self._landing, name=f"places{t}")
            finals = Signal(range(2 * self._landing), name=f"finals{t}")
            m.d.sync += [places.eq(places - (running & first) + popped),
                         finals.eq(finals + final - self.done)]
            room.append(places != 0)
            ended.append(finals != 0)
        m.d.comb += [running.eq(have & (~first | Cat(*room).all())),
                     self.done.eq(Cat(*ended).all())]
        for kind, _ in KIND if self._config.floats else ():
            flags = [arriving[-1] & counted & kinds[kind] for counted, kinds in self._kinds]
            m.d.comb += getattr(self, kind).eq(sum(flags[1:], flags[0]))
        return m

    def _params(self, m: Module, t: int, bank: Signal) -> data.View:
        """Group t's parameters; those of floats are half as many words of bias and of scale."""
        config = self._config
        shape = data.StructLayout({"bias": data.ArrayLayout(signed(32), config.lanes),
                                   "scale": data.ArrayLayout(32, config.lanes)})
        banks = view_of(data.ArrayLayout(shape, 2), name=f"params{t}", reset_less=True)
        bits = 8 * config.word_bytes
        for b in range(2):
            for slot in range(PARAM_WORDS):
                with m.If(self.load[t] & (self.bank == b) & (self.slot == slot)):
                    m.d.sync += banks[b].as_value()[slot * bits:(slot + 1) * bits].eq(self.raw)
        params = view_of(shape, name=f"active{t}")
        m.d.comb += params.eq(Mux(bank, banks[1].as_value(), banks[0].as_value()))
        return params

    def _integers(self, m: Module, place: Place, t: int, sums: data.View, slice_: Signal,
                  params: data.View, clips: list[data.View]) -> list[Value]:
        """Group t's requantizers: bytes of a slice."""
        config, count = self._config, self._slices
        width, (offset, low, high) = config.window_lanes, clips[Requantizer.OFFSET:][:3]
        every = [sums[c // 2].integers[c % 2] if config.floats else sums[c]
                 for c in range(config.lanes)]
        values = []
        for k in range(width):
            lane = Requantizer()
            m.submodules[f"lane{t}_{k}"] = place(lane)
            at = [s * width + k for s in range(count)]
            m.d.comb += [
                lane.acc.eq(Array(every[c] for c in at)[slice_]),
                lane.bias.eq(Array(params.bias[c] for c in at)[slice_]),
                lane.scale.eq(Array(params.scale[c] for c in at)[slice_]),
                lane.z.eq(offset.z), lane.lo.eq(low.lo), lane.hi.eq(high.hi)]
            values.append(delay(m, lane.out[:8], self._latency - Requantizer.LATENCY,
                                f"out{t}_{k}"))
        return values

    def _floats(self, m: Module, place: Place, t: int, sums: data.View, slice_: Signal,
                params: data.View, clips: list[data.View], position: Signal,
                integers: list[Value]) -> list[Value]:
        """Group t's float lanes: bytes of a slice, which are ``integers`` if it is one of those. A
        float lane has two bytes a slice, or one if a slice has no more."""
        width, halves = self._float_lanes, 2 // min(2, self._config.window_lanes)
        first, ended, bound = clips[0], clips[-1], clips[WindowFloat.CLIP]
        floating, position_of_word = ended.dtype != DType.INT8, position[:1] if halves == 2 else 0
        counted = floating & self.outs.payload.write[t] & (position_of_word == 0)
        values: list[Value] = []
        for k in range(width):
            lane = WindowFloat()
            m.submodules[f"number{t}_{k}"] = place(lane)
            at = [s // halves * width + k for s in range(self._slices)]
            m.d.comb += [
                lane.sum.eq(Array(sums[c].as_value() for c in at)[slice_]),
                lane.bias.eq(Array(params.bias[c] for c in at)[slice_]),
                lane.scale.eq(Array(params.scale[c] for c in at)[slice_]),
                *(getattr(lane, f).eq(first[f]) for f in ("dtype", "max", "unit")),
                *(getattr(lane, f).eq(bound[f]) for f in ("lo_f", "hi_f"))]
            values += ([Mux(position_of_word, lane.out[8:], lane.out[:8])] if halves == 2 else
                       [lane.out[:8], lane.out[8:]])
            self._kinds.append((counted, lane.kind))
        return [Mux(floating, v, b) for v, b in zip(values, integers, strict=True)]

    def _gather(self, m: Module, t: int, values: list[Value], arrived: Value) -> Value:
        """Group t's word, whole with the last slice's bytes."""
        if self._slices == 1:
            return Cat(*values)
        word = Signal(8 * self._config.word_bytes, name=f"word{t}", reset_less=True)
        whole = Cat(word[8 * len(values):], *values)
        with m.If(arrived):
            m.d.sync += word.eq(whole)
        return whole

    def _land(self, m: Module, t: int, word: Value, finished: Value) -> tuple[Value, Value]:
        """Group t's words until the scratchpad takes them: a place becomes free, and the word in
        it was the last of an instruction. A word that is not to be written just leaves."""
        place, out = self.outs.payload, self.out[t]
        shape = data.StructLayout({"data": 8 * self._config.word_bytes, "addr": out.addr.shape(),
                                   "write": 1, "final": 1})
        m.submodules[f"landing{t}"] = landing = fifo.SyncFIFO(width=shape.size,
                                                              depth=self._landing)
        head = data.View(shape, landing.r_data)
        leaves = write_out(m, f"landing{t}", out, landing.r_rdy, head.write, head.final)
        m.d.comb += [
            landing.w_data.eq(Cat(word, place.addr[t], place.write[t], place.final)),
            landing.w_en.eq(finished), out.addr.eq(head.addr), out.data.eq(head.data),
            landing.r_en.eq(leaves)]
        return leaves, leaves & head.final
