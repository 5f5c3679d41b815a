# SPDX-License-Identifier: Apache-2.0
"""The window engine's post stage: complete sums to bytes, and words on their way out.

::

    sums ─► held, for L / window_lanes slices ─► requantizers ─► word ─► landing ─► scratchpad
    outs ───────────────────────────────────────────────────────────────► ┘

One for all groups, which go in lockstep up to the landing. Sums enter when the ones before have
gone into the requantizers, and these start with them only if every group has a landing place.
Parameters lie in two banks like the weights they come with; zero point and clip are delayed beside
the elements, so that nothing has to stand still for the next instruction to begin.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import SpmPort, SpmWrite, view_of
from hw.requantize import Requantizer
from hw.window_group import SUM_BITS
from hw.window_read import out_layout
from isa.config import PARAM_WORDS, Config

CLIP = data.StructLayout({"z": signed(9), "lo": signed(9), "hi": signed(9)})


class WindowPost(wiring.Component):
    """Parameters
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
    out: list[SpmPort]
    ends: Signal
    done: Signal

    def __init__(self, config: Config):
        self._config = config
        self._slices = config.lanes // config.window_lanes
        self._landing = Requantizer.LATENCY // self._slices + 6
        self._sums = data.ArrayLayout(data.ArrayLayout(signed(SUM_BITS), config.lanes),
                                      config.tiles)
        super().__init__({
            "load": In(config.tiles), "bank": In(1), "slot": In(range(PARAM_WORDS)),
            "raw": In(8 * config.word_bytes), "sums": In(self._sums), "clip": In(CLIP),
            "closes": In(1), "valid": In(1), "ready": Out(1), "release": Out(1),
            "outs": In(stream.Signature(out_layout(config))),
            "out": Out(SpmWrite(config)).array(config.tiles), "ends": Out(config.tiles),
            "done": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        count, latency = self._slices, Requantizer.LATENCY
        have, closing, bank = Signal(), Signal(), Signal()
        slice_ = Signal(range(max(2, count)))
        first, last, running = slice_ == 0, slice_ == count - 1, Signal()
        sums, clip = view_of(self._sums, reset_less=True), view_of(CLIP, reset_less=True)
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
        for k in range(latency - 1):
            late = view_of(CLIP, name=f"clip{k}", reset_less=True)
            m.d.sync += late.eq(clip)
            clip = late
        position = Signal(range(max(2, count)))
        finished = arriving[-1] & (position == count - 1)
        with m.If(arriving[-1]):
            m.d.sync += position.eq(Mux(position == count - 1, 0, position + 1))
        m.d.comb += self.outs.ready.eq(finished)
        room, ended = [], []
        for t in range(self._config.tiles):
            word = self._lanes(m, t, sums[t], slice_, bank, clip, arriving[-1])
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
        return m

    def _lanes(self, m: Module, t: int, sums: data.View, slice_: Signal, bank: Signal,
               clip: data.View, arrived: Value) -> Value:
        """Group t's requantizers; its word, whole with the last slice's results."""
        config, count = self._config, self._slices
        width = config.window_lanes
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
        values = []
        for k in range(width):
            m.submodules[f"lane{t}_{k}"] = lane = Requantizer()
            at = [s * width + k for s in range(count)]
            m.d.comb += [
                lane.acc.eq(Array(sums[c] for c in at)[slice_]),
                lane.bias.eq(Array(params.bias[c] for c in at)[slice_]),
                lane.scale.eq(Array(params.scale[c] for c in at)[slice_]),
                lane.z.eq(clip.z), lane.lo.eq(clip.lo), lane.hi.eq(clip.hi)]
            values.append(lane.out[:8])
        if count == 1:
            return Cat(*values)
        word = Signal(8 * config.word_bytes, name=f"word{t}", reset_less=True)
        whole = Cat(word[8 * width:], *values)
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
        popped = landing.r_rdy & landing.r_en
        m.d.comb += [
            landing.w_data.eq(Cat(word, place.addr[t], place.write[t], place.final)),
            landing.w_en.eq(finished), out.valid.eq(landing.r_rdy & head.write),
            out.addr.eq(head.addr), out.data.eq(head.data),
            landing.r_en.eq(~head.write | out.ready)]
        return popped, popped & head.final
