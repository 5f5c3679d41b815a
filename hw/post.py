# SPDX-License-Identifier: Apache-2.0
"""The post-processor of one tile: parameters, lanes, and the words on their way out.

::

    parameters ─► shadow ─(swap)─► active ─┐ slice k
    PSUM entry ────────────────────────────┼─ slice k ─► lanes ─► word ─► landing ─► scratchpad
    residual word ─► held ─────────────────┘ slice k

An entry of L sums passes in L / ppu_lanes slices, one a cycle. Nothing stalls between an entry's
issue and its word's landing, so the drain issues an entry only if a landing place is free.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.accumulator import SUM_BITS
from hw.ports import SpmPort, SpmWrite, view_of
from hw.post_lane import POST_CONSTANTS, PostLane
from hw.weights import beat_layout
from isa.config import PARAM_WORDS, Config


def slices(config: Config) -> int:
    """Cycles that an entry takes."""
    return config.lanes // config.ppu_lanes


def landing_depth(config: Config) -> int:
    """Words of a tile that may be under way: the lanes' latency, and some for lost arbitrations."""
    return PostLane.LATENCY // slices(config) + 6


class Post(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    params : In(beat_layout)
        Parameters, with ``load``: write them to the shadow set.
    load, swap : In(1)
        ``swap``: the shadow parameters become active with the next clock edge.
    entry : In(array of signed(32))
        PSUM entry, held for its slices.
    residual_load, residual : In
        Keep the residual word of the entry whose slices start in the next cycle.
    valid, slice : In
        A slice enters the lanes.
    constants, r_signed, r_zp : In
        Of the instruction.
    keep, addr : In
        At an entry's last slice out of the lanes: write the word, and where.
    finished : Out(1)
        An entry's last slice leaves the lanes in this cycle.
    out : Out(SpmWrite)
    popped : Out(1)
        A landing place becomes free.
    empty : Out(1)
    """

    params: data.View
    load: Signal
    swap: Signal
    entry: data.View
    residual_load: Signal
    residual: Signal
    valid: Signal
    slice: Signal
    constants: data.View
    r_signed: Signal
    r_zp: Signal
    keep: Signal
    addr: Signal
    finished: Signal
    out: SpmPort
    popped: Signal
    empty: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "params": In(beat_layout(config)), "load": In(1), "swap": In(1),
            "entry": In(data.ArrayLayout(signed(SUM_BITS), config.columns)),
            "residual_load": In(1), "residual": In(8 * config.word_bytes),
            "valid": In(1), "slice": In(range(max(2, slices(config)))),
            "constants": In(POST_CONSTANTS), "r_signed": In(1), "r_zp": In(signed(9)),
            "keep": In(1), "addr": In(range(config.spm_words)), "finished": Out(1),
            "out": Out(SpmWrite(config)), "popped": Out(1), "empty": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        lanes, columns, count = config.ppu_lanes, config.columns, slices(config)
        bias, scale = self._parameters(m)
        residual = Signal(8 * config.word_bytes, reset_less=True)
        with m.If(self.residual_load):
            m.d.sync += residual.eq(self.residual)

        values = []
        for k in range(lanes):
            m.submodules[f"lane{k}"] = lane = PostLane()
            at = [s * lanes + k for s in range(count)]
            byte = Array(residual[8 * c:8 * c + 8] for c in at)[self.slice]
            m.d.comb += [
                lane.acc.eq(Array(self.entry[c] for c in at)[self.slice]),
                lane.bias.eq(Array(bias[c] for c in at)[self.slice]),
                lane.scale.eq(Array(scale[c] for c in at)[self.slice]),
                lane.b.eq(Cat(byte, byte[7] & self.r_signed).as_signed() - self.r_zp),
                lane.constants.eq(self.constants)]
            values.append(lane.out[:8])

        arriving = Signal(PostLane.LATENCY)
        m.d.sync += arriving.eq(Cat(self.valid, arriving))
        word = Signal(8 * config.word_bytes, reset_less=True)
        whole = Cat(*values) if count == 1 else Cat(word[8 * lanes:], *values)
        position = Signal(range(max(2, count)))
        last = position == count - 1
        with m.If(arriving[-1]):
            m.d.sync += [word.eq(whole), position.eq(Mux(last, 0, position + 1))]
        m.d.comb += self.finished.eq(arriving[-1] & last)

        address_bits = len(self.addr)
        m.submodules.landing = landing = fifo.SyncFIFO(
            width=8 * columns + address_bits, depth=landing_depth(config))
        m.d.comb += [
            landing.w_data.eq(Cat(whole, self.addr)), landing.w_en.eq(self.finished & self.keep),
            Cat(self.out.data, self.out.addr).eq(landing.r_data),
            self.out.valid.eq(landing.r_rdy), landing.r_en.eq(self.out.ready),
            self.popped.eq(self.out.valid & self.out.ready), self.empty.eq(~landing.r_rdy)]
        return m

    def _parameters(self, m: Module) -> tuple[data.View, data.View]:
        """Active biases and scales, one for each column."""
        config = self._config
        shape = data.StructLayout({
            "bias": data.ArrayLayout(signed(32), config.columns),
            "scale": data.ArrayLayout(32, config.columns)})
        shadow, active = view_of(shape, reset_less=True), view_of(shape, reset_less=True)
        beat_bits = 8 * config.word_bytes * config.weight_words
        with m.If(self.load):
            for beat in range(PARAM_WORDS // config.weight_words):
                with m.If(self.params.beat == beat):
                    m.d.sync += shadow.as_value()[beat * beat_bits:(beat + 1) * beat_bits].eq(
                        self.params.raw.as_value())
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)
        return active.bias, active.scale
