# SPDX-License-Identifier: Apache-2.0
"""From the drain's steps to the words that each tile writes and reads.

::

    step ─► + channel block ─► + row ─► compare with the ─► skid ─► places
            and row of a tile           scratchpad's end
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import instruction_layout, view_of
from hw.parts.delay import cut
from hw.parts.nest import circle_add
from hw.parts.skid import Skid
from hw.tensor.drain_walk import WORD, mark_layout, step_layout
from hw.tensor.post import log_size
from isa.config import Config
from isa.instructions import Opcode


def entry_layout(config: Config) -> data.StructLayout:
    """An output word of all tiles: where each writes it, and whether it does."""
    return data.StructLayout({
        "addr": data.ArrayLayout(range(config.spm_words), config.tiles), "write": config.tiles,
        **mark_layout(config).members})


def place_layout(config: Config) -> data.StructLayout:
    """An output word, the addresses of its ``residual``, which tiles want one (``wants``), and
    whether an address is outside the scratchpad (``bad``)."""
    return data.StructLayout({
        "entry": entry_layout(config), "wants": config.tiles, "bad": 1,
        "residual": data.ArrayLayout(range(config.spm_words), config.tiles)})


class DrainAddresses(wiring.Component):
    """Latency: four cycles from a step to its place, with that of the skid buffer. Throughput: a
    place a cycle. Stall: while ``places`` is not ready the skid buffer fills; then ``go`` is low,
    and all stages before it keep what they have. ``i`` has to stand still while places of it are
    under way.

    Parameters
    ----------
    config : Config
    copies : int
        Of ``go``.

    Members
    -------
    i : In(TENSOR)
    step : In(step_layout(config))
        Taken while ``go`` is high.
    go : Out(copies)
        Enables of the stages before this one, each from a flip-flop of its own.
    places : Out(stream of place_layout(config))
    busy : Out(1)
        There is a step that has not left as a place.
    """

    i: data.View
    step: data.View
    go: Signal
    places: stream.Interface
    busy: Signal

    def __init__(self, config: Config, copies: int):
        self._config = config
        super().__init__({
            "i": In(instruction_layout(Opcode.TENSOR)), "step": In(step_layout(config)),
            "go": Out(copies), "places": Out(stream.Signature(place_layout(config))),
            "busy": Out(1)})
        terms = data.ArrayLayout(signed(WORD), config.tiles)
        self._sums = data.StructLayout({"valid": 1, "mark": mark_layout(config),
                                        "write": config.tiles, "out": terms, "residual": terms})
        self._parts = data.StructLayout({**self._sums.members, "out_row": terms,
                                         "residual_row": terms})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        place, valid = view_of(place_layout(self._config)), Signal()
        # the skid buffer's ready, the enables outside, the one here
        m.submodules.skid = skid = Skid(place.shape(), len(self.go) + 2)
        wiring.connect(m, skid.o, wiring.flipped(self.places))
        parts, sums = view_of(self._parts), view_of(self._sums)
        m.d.comb += [
            skid.i.payload.eq(place), skid.i.valid.eq(valid), self.go.eq(skid.go[1:-1]),
            skid.i.payload.wants.eq(Mux(self.i.residual, place.entry.write, 0)),
            self.busy.eq(parts.valid | sums.valid | valid | self.places.valid)]
        with m.If(skid.go[-1]):
            m.d.sync += [
                parts.valid.eq(self.step.valid), parts.mark.eq(self.step.mark),
                sums.valid.eq(parts.valid), sums.mark.eq(parts.mark), sums.write.eq(parts.write),
                valid.eq(sums.valid),
                *(place.entry[f].eq(sums.mark[f]) for f, _ in sums.mark.shape()),
                place.entry.write.eq(sums.write),
                place.bad.eq(sums.valid & self._outside(sums).any())]
            for t, split in enumerate(self._splits(m)):
                self._add(m, t, split, parts, sums, place)
        return m

    def _add(self, m: Module, t: int, split: tuple[Value, ...], parts: data.View, sums: data.View,
             place: data.View) -> None:
        """Tile t's addresses, in two stages and the place's registers; whether it writes."""
        i, step = self.i, self.step
        stream_of, n, o_n, r_n, o_m, r_m = split
        here = ((~step.last_group | (n < i.n_last)) & (~step.last_row | (stream_of < i.m_last))
                & ~(step.last_group & (n == i.n_last - 1) & step.end_word))
        m.d.sync += [
            parts.out[t].eq(step.out + o_n), parts.residual[t].eq(step.residual + r_n),
            parts.out_row[t].eq(circle_add(step.out_row, o_m, i.o_wrap, WORD)),
            parts.residual_row[t].eq(circle_add(step.residual_row, r_m, i.r_wrap, WORD)),
            parts.write[t].eq(here), sums.out[t].eq(parts.out[t] + parts.out_row[t]),
            sums.residual[t].eq(parts.residual[t] + parts.residual_row[t]),
            place.entry.addr[t].eq(sums.out[t]), place.residual[t].eq(sums.residual[t])]

    def _outside(self, sums: data.View) -> Value:
        """Which tiles' addresses are outside the scratchpad, of those that are used."""
        words = self._config.spm_words

        def beyond(address: Value) -> Value:
            return (address < 0) | (address >= words)

        return Cat(sums.write[t] & (beyond(sums.out[t])
                                    | (self.i.residual & beyond(sums.residual[t])))
                   for t in range(self._config.tiles))

    def _splits(self, m: Module) -> list[tuple[Value, ...]]:
        """For each tile its pixel stream and its column split; the offsets of its channel block in
        the output and in the residual, and of its row in both, from registers: the instruction's
        constants are there long before its first step."""
        i, tiles = self.i, self._config.tiles
        rows = [self._multiples(m, name, circle)
                for name, circle in (("o", i.o_wrap), ("r", i.r_wrap))]
        result = []
        for t in range(tiles):
            splits = [divmod(t, tiles >> c) for c in range(tiles.bit_length())]
            stream_of, n = (Array(part)[i.m_split] for part in zip(*splits, strict=True))
            blocks = (Array(i[f"{f}_n"] * n for _, n in splits)[i.m_split]
                      << log_size(self._config, i[f"{f}_type"]) for f in "or")
            result.append((stream_of, n, *cut(m, f"offsets{t}", *blocks,
                                              *(Array(r)[stream_of] for r in rows))))
        return result

    def _multiples(self, m: Module, name: str, circle: Value) -> list[Value]:
        """Rows of the pixel streams: multiples of ``o_m`` on the ``circle``."""
        multiples: list[Value] = [Signal(signed(WORD), name=f"{name}_m0")]
        for k in range(1, self._config.tiles):
            following = Signal(signed(WORD), name=f"{name}_m{k}")
            m.d.comb += following.eq(circle_add(multiples[-1], self.i.o_m, circle, WORD)
                                     if k > 1 else self.i.o_m)
            multiples.append(following)
        return multiples
