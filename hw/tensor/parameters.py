# SPDX-License-Identifier: Apache-2.0
"""Biases and scales of a post-processor: two sets, one in use while the next one comes.

::

    beat ─► set 1 ┐            column = first slice's column + lane
            set 0 ┴─► memory of each lane ─────────────────────────────► its bias, its scale

A lane asks for every so many columns alone, so that it has memories of its own with these: one for
each of its columns in a beat, since a beat is written in one cycle. They are read combinationally
(LUT RAM).
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.normal import is_scale
from hw.parts.delay import register
from hw.tensor.weights import beat_layout
from isa.config import PARAM_WORDS, Config

BITS = 32
"""Width of a bias, and of a scale."""


def legal_scales(config: Config, beat: data.View) -> Value:
    """Whether the scales of a parameter beat (beat_layout) are legal. They are the second half of
    the beats, or of the only one."""
    raw, beats = beat.raw.as_value(), PARAM_WORDS // config.weight_words
    if beats == 1:
        raw = raw[len(raw) // 2:]
    legal = Cat(is_scale(raw.word_select(k, BITS)) for k in range(len(raw) // BITS)).all()
    return legal if beats == 1 else (beat.beat < beats // 2) | legal


class PostParameters(wiring.Component):
    """Latency: two cycles from a beat to its place, none from ``first`` to ``bias`` and ``scale``.
    Throughput: a beat and a slice a cycle. There is no stall.

    Parameters
    ----------
    config : Config
    unit : int
        Every slice begins at a multiple of so many columns.

    Members
    -------
    params : In(beat_layout)
        With ``load``: write them to the set that is not in use, where they are two cycles later.
    load, swap : In(1)
        ``swap``: with the next clock edge the other set is in use; all of it has been written since
        the last time.
    first : In
        The slice's first column, in units.
    bias, scale : Out(32).array(ppu_lanes)
        Of the column of each lane, in the same cycle.
    """

    params: data.View
    load: Signal
    swap: Signal
    first: Signal
    bias: list[Signal]
    scale: list[Signal]

    def __init__(self, config: Config, unit: int):
        self._config, self._unit = config, unit
        super().__init__({
            "params": In(beat_layout(config)), "load": In(1), "swap": In(1),
            "first": In(range(max(2, config.columns // unit))),
            "bias": Out(BITS).array(config.ppu_lanes), "scale": Out(BITS).array(config.ppu_lanes)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        used = Signal()
        m.d.sync += used.eq(used ^ self.swap)
        raw = register(m, "loaded", self.params.raw.as_value())
        loads, beat = register(m, "loads", self.load), register(m, "at", self.params.beat)
        beats = PARAM_WORDS // config.weight_words
        columns = min(config.columns, len(raw) // BITS)
        for kind, outputs in enumerate((self.bias, self.scale)):
            mine: Value = loads
            words: Value = raw
            if beats > 1:
                mine = loads & ((beat >= beats // 2) == kind)
            else:
                words = raw.word_select(kind, len(raw) // 2)
            for k, output in enumerate(outputs):
                m.d.comb += output.eq(self._lane(m, f"{('bias', 'scale')[kind]}{k}", k, words,
                                                 columns, used, mine, beat))
        return m

    def _lane(self, m: Module, name: str, lane: int, words: Value, columns: int, used: Signal,
              write: Value, beat: Value) -> Value:
        """What a lane's memories give; ``words`` of a beat are of so many columns."""
        unit = self._unit
        # so many columns of a lane are in the same beat, or so many beats lie between two of them
        places, apart = max(1, columns // unit), max(1, unit // columns)
        span = max(columns, unit)
        depth = self._config.columns // span
        column = Signal(range(2 * self._config.columns), name=f"column_{name}")
        m.d.comb += column.eq(self.first * unit + lane)
        if apart > 1:
            write &= beat[:exact_log2(apart)] == lane % unit // columns
        found = []
        for place in range(places):
            ram: memory.Memory = memory.Memory(shape=BITS, depth=2 * depth, init=[])
            m.submodules[f"{name}_{place}"] = ram
            into, out = ram.write_port(), ram.read_port(domain="comb")
            m.d.comb += [
                into.en.eq(write),
                into.addr.eq(Cat(*_bits(beat, apart, depth), used ^ ~self.swap)),
                into.data.eq(words.word_select((lane % unit + place * unit) % columns, BITS)),
                out.addr.eq(Cat(*_bits(column, span, depth), used))]
            found.append(out.data)
        return found[0] if places == 1 else Array(found)[Cat(*_bits(column, unit, places))]


def _bits(value: Value, unit: int, count: int) -> list[Value]:
    """Which of so many units a value is in; no bits if there is one."""
    low, width = exact_log2(unit), exact_log2(count)
    return [value[low:low + width]] if width else []
