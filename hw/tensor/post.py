# SPDX-License-Identifier: Apache-2.0
"""The post-processor of one tile: parameters, lanes, and the words on their way out.

::

    parameters ─► two sets ──(swap)────────┐
    PSUM entry ────────────────────────────┼─► slice ─► lanes ─► word ─► landing ─► scratchpad
    residual word ─► held ─(shift)─────────┘

A word's sums pass in slices of up to ppu_lanes, one a cycle. A word of INT8 has all L sums of an
entry, one of a larger type its share of them. Nothing stalls between a word's issue and its
landing, so the drain issues it only if a landing place is free.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import FLOAT_CONSTANTS, KIND, FloatLane
from hw.arith.integer_lane import POST_CONSTANTS, PostLane, arrivals
from hw.arith.operand import OPERAND_BITS, integer
from hw.arith.requantize import CODE
from hw.arith.sums import entry_layout
from hw.engine.ports import SpmWrite, SpmWriter
from hw.parts.clock_gate import clocked
from hw.parts.delay import cut, delay, register
from hw.parts.fifo import COMB_DEPTH, Fifo
from hw.scratchpad.words import behind
from hw.tensor.parameters import PostParameters
from hw.tensor.weights import beat_layout
from isa.config import Config
from isa.instructions import DType


SLICE = 1
"""Cycles from an entry to what the lanes get of it."""

ISSUE = 2
"""Cycles from the drain's decision to the first slice's way in."""


def types(config: Config) -> tuple[DType, ...]:
    """Types of outputs."""
    return tuple(DType) if config.floats else (DType.INT8,)


def log_size(config: Config, dtype: Value) -> Value:
    """The logarithm of an output type's bytes; 0 on a machine that has INT8 only."""
    return Array(t.size.bit_length() - 1 for t in types(config))[dtype]


def slice_columns(config: Config, dtype: DType) -> int:
    """Columns of a slice: as many as there are lanes, or fewer if they fill a word."""
    return min(config.ppu_lanes, config.lanes // dtype.size)


def unit(config: Config) -> int:
    """Every slice begins at a multiple of so many columns."""
    return min(slice_columns(config, t) for t in types(config))


def slices(config: Config, dtype: DType) -> int:
    """Slices of a word, a cycle each."""
    return config.lanes // dtype.size // slice_columns(config, dtype)


def latency(config: Config) -> int:
    """Most cycles from a slice to its bytes; instructions that do less take less."""
    return SLICE + max(PostLane.LATENCY, FloatLane.LATENCY if config.floats else 0)


def landing_depth(config: Config) -> int:
    """Words of a tile that may be under way: the lanes' latency, and some for lost arbitrations."""
    depth = (ISSUE + latency(config) + 1) // min(slices(config, t) for t in types(config)) + 6
    assert depth <= COMB_DEPTH, "a landing that looks empty with a word in it"
    return depth


class Post(wiring.Component):
    """Latency: :func:`latency` cycles from a slice to its bytes, or less. Throughput: a slice a
    cycle. Stall: none up to the landing, whose words wait for ``out``; the drain sends no word for
    which there is no place.

    Parameters
    ----------
    config : Config

    Members
    -------
    params, load, swap : In
        As in :class:`hw.tensor.parameters.PostParameters`.
    entry : In(array of entry_layout(config))
        PSUM entry, held for its slices.
    residual_load, residual : In
        Keep the residual of the word whose slices start in the next cycle: its elements begin at
        byte 0.
    valid, first : In
        A slice enters: its first column, in units of :func:`unit`.
    constants, floats, r_signed, r_zp : In
        Of the instruction; ``floats`` in a machine that has floating point, with ``all_integer``:
        INT8 alone.
    keep, addr : In
        Of the word whose slices have left the lanes: write it, and where.
    finished : Out(1)
        A word is complete.
    nan, infinite, overflow : Out
        Results of these kinds that are kept, two cycles after they have left the lanes.
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
    first: Signal
    constants: data.View
    floats: data.View
    all_integer: Signal
    r_signed: Signal
    r_zp: Signal
    keep: Signal
    addr: Signal
    finished: Signal
    out: SpmWriter
    popped: Signal
    empty: Signal
    nan: Signal
    infinite: Signal
    overflow: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "params": In(beat_layout(config)), "load": In(1), "swap": In(1),
            "entry": In(data.ArrayLayout(entry_layout(config), config.columns)),
            "residual_load": In(1), "residual": In(8 * config.word_bytes),
            "valid": In(1), "first": In(range(max(2, config.columns // unit(config)))),
            "constants": In(POST_CONSTANTS), "floats": In(FLOAT_CONSTANTS), "all_integer": In(1),
            "r_signed": In(1), "r_zp": In(CODE),
            "keep": In(1), "addr": In(range(config.spm_words)), "finished": Out(1),
            "out": Out(SpmWrite(config)), "popped": Out(1), "empty": Out(1),
            **{kind: Out(range(config.ppu_lanes + 1)) for kind, _ in KIND}})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        m.submodules.parameters = parameters = PostParameters(config, unit(config))
        m.d.comb += [parameters.params.eq(self.params), parameters.load.eq(self.load),
                     parameters.swap.eq(self.swap), parameters.first.eq(self.first)]
        residuals = self._residual(m)
        lanes = clocked(m, platform, "lanes", wants=self.valid, lasts=latency(config))
        front = Module()
        m.submodules.front = lanes(front)
        results: list[Value] = []
        kinds: list[data.View] = []
        for k in range(config.ppu_lanes):
            # of a slice that fills a word with fewer columns the last lanes are of no account
            at = [min(column + k, config.columns - 1)
                  for column in range(0, config.columns, unit(config))]
            lane = PostLane()
            m.submodules[f"lane{k}"] = lanes(lane)
            raw, selected, bias, scale = cut(
                front, f"slice{k}", residuals[k],
                Array(self.entry[c].as_value() for c in at)[self.first],
                parameters.bias[k].as_signed(), parameters.scale[k])
            entry = data.View(entry_layout(config), selected)
            value = integer(raw[:8], self.r_signed, self.r_zp)[:OPERAND_BITS].as_signed()
            m.d.comb += [lane.acc.eq(entry.low), lane.bias.eq(bias),
                         lane.scale.eq(scale), lane.b.eq(value),
                         lane.constants.eq(self.constants)]
            result: Value = lane.out[:8]
            if config.floats:
                number = FloatLane(config)
                m.submodules[f"float_lane{k}"] = lanes(number)
                m.d.comb += [number.entry.eq(entry), number.bias.eq(bias),
                             number.scale.eq(scale), number.b.eq(raw),
                             number.b_integer.eq(value), number.constants.eq(self.floats)]
                result = Mux(self.all_integer, result, number.out)
                kinds.append(number.kind)
            results.append(result)
        self._gather(m, results, kinds)
        return m

    def _residual(self, m: Module) -> list[Signal]:
        """The residual's elements for the lanes, in the low bytes; the word moves on with every
        slice."""
        config = self._config
        word = Signal(8 * config.word_bytes, reset_less=True)
        moved = Signal.like(word)
        raw = [Signal(32, name=f"raw{k}") for k in range(config.ppu_lanes)]
        with m.Switch(Cat(self.floats.o_type, self.floats.r_type)):
            for o in types(config):
                for r in types(config):
                    if r.size <= o.size:
                        with m.Case(o | r << 2):
                            columns = slice_columns(config, o)
                            m.d.comb += moved.eq(behind(word, 8 * r.size * columns))
        with m.Switch(self.floats.r_type):
            for r in types(config):
                with m.Case(r):
                    m.d.comb += [e.eq(behind(word, 8 * r.size * k)[:8 * r.size])
                                 for k, e in enumerate(raw)]
        with m.If(self.residual_load):
            m.d.sync += word.eq(self.residual)
        with m.Elif(self.valid):
            m.d.sync += word.eq(moved)
        return raw

    def _gather(self, m: Module, results: list[Value], kinds: list[data.View]) -> None:
        """Slices to words, words to the landing, exceptional results to counts."""
        config = self._config
        entered = delay(m, self.valid, SLICE, "entered")
        integers = entered & (self.all_integer if config.floats else 1)
        arrived = arrivals(m, integers, self.constants.add)
        if config.floats:
            float_entered = Signal(FloatLane.LATENCY)
            m.d.sync += float_entered.eq(Cat(entered & ~self.all_integer, float_entered))
            arrived = Mux(self.all_integer, arrived, float_entered[-1])
        word = Signal(8 * config.word_bytes, reset_less=True)
        whole, last = Signal(8 * config.word_bytes), Signal()
        position = Signal(range(max(2, *(slices(config, t) for t in types(config)))))
        # a slice of few columns leaves the last lanes with what is not written
        used = Signal(config.ppu_lanes)
        with m.Switch(self.floats.o_type):
            for t in types(config):
                with m.Case(t):
                    chunk = Cat(r[:8 * t.size] for r in results[:slice_columns(config, t)])
                    m.d.comb += [whole.eq(Cat(word, chunk)[len(chunk):]),
                                 last.eq(position == slices(config, t) - 1),
                                 used.eq((1 << slice_columns(config, t)) - 1)]
        with m.If(arrived):
            m.d.sync += [word.eq(whole), position.eq(Mux(last, 0, position + 1))]
        m.d.sync += self.finished.eq(arrived & last)

        for kind, _ in KIND:
            if kinds:
                counted = register(m, f"counted_{kind}", Cat(
                    arrived & ~self.all_integer & used[k] & value[kind]
                    for k, value in enumerate(kinds)))
                m.d.sync += getattr(self, kind).eq(Mux(
                    self.keep, sum(counted[1:], counted[0]), 0))

        address_bits = len(self.addr)
        m.submodules.landing = landing = Fifo(8 * config.columns + address_bits,
                                              landing_depth(config))
        m.d.comb += [
            landing.i.payload.eq(Cat(word, self.addr)),
            landing.i.valid.eq(self.finished & self.keep),
            Cat(self.out.data, self.out.addr).eq(landing.o.payload),
            self.out.valid.eq(landing.o.valid), landing.o.ready.eq(self.out.ready),
            self.empty.eq(~landing.o.valid & ~self.out.pending)]
        m.d.sync += self.popped.eq(self.out.valid & self.out.ready)
