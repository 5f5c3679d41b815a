# SPDX-License-Identifier: Apache-2.0
"""The window engine's loop nest: a WINDOW as visits of input columns, with their addresses.

::

    loop nest ─► sums ─► row, line of each group ─► addresses ─► visits
     (r, p, X, y, nb)

A visit is one kernel row of one input column ``X*stride + p``, the same for all groups. Macro
column X is where output X has its first taps; the output that is complete at its end lies ``reach``
columns behind. A column that no tap needs, because it lies outside the image, behind the last tap,
or at a phase p that the kernel does not have, is a single visit that reads nothing.

Throughput one visit a cycle, and a cycle between instructions; latency LATENCY cycles.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import instruction_layout, view_of
from hw.parts.nest import Enables, Nest, Term, circle_add
from hw.parts.skid import Skid
from isa.config import Config
from isa.instructions import (IMAGE_BITS, INDEX_BITS, SPM_ADDRESS_BITS, WINDOW_KERNEL, WINDOW_STEPS,
                              Opcode)

WORD = SPM_ADDRESS_BITS


def reach_of(i: data.View) -> Value:
    """Macro columns between an output's first taps and its last: ``(ns - 1) // stride``."""
    kernel = range(WINDOW_KERNEL + 1)
    return Array(Array(max(0, ns - 1) // max(1, stride) for ns in kernel)[i.ns]
                 for stride in kernel)[i.stride]


def mark_layout() -> data.StructLayout:
    """What goes with a visit. ``step``: its first weight step; ``skip``: no taps; ``fresh``: first
    of an output row; ``shift``: last of a macro column; ``emit``: and an output is complete;
    ``closes``: and it was the last of a group of channel blocks; ``final``: of the instruction."""
    return data.StructLayout({"step": range(WINDOW_STEPS), "skip": 1, "fresh": 1, "shift": 1,
                              "emit": 1, "closes": 1, "final": 1})


def visit_layout(config: Config) -> data.StructLayout:
    """``addr``, ``inside``: word that each group reads, if any; ``out``, ``write``: word that each
    group writes when the visit emits, if any; ``bad``: one of them is outside the scratchpad;
    ``index``: the instruction's position."""
    address = data.ArrayLayout(signed(WORD), config.tiles)
    return data.StructLayout({"addr": address, "inside": config.tiles, "out": address,
                              "write": config.tiles, "mark": mark_layout(), "bad": 1,
                              "index": INDEX_BITS})


class WindowWalk(wiring.Component):
    """Latency: LATENCY cycles from an instruction to its first visit. Throughput: a visit a cycle,
    and a cycle between instructions. Stall: while ``visits`` is not ready the skid buffer fills;
    then all stages keep what they have.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of WINDOW)
        Checked, waits satisfied.
    visits : Out(stream of visit_layout)
    busy : Out(1)
        An instruction's loop nest is under way, or visits of it are.
    halt : In(1)
    """

    LEVELS = ("r", "p", "X", "y", "nb")
    """Levels of the loop nest, inner to outer."""

    LATENCY = 5

    instr: stream.Interface
    visits: stream.Interface
    busy: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.WINDOW)
        super().__init__({
            "instr": In(stream.Signature(layout)),
            "visits": Out(stream.Signature(visit_layout(config))), "busy": Out(1), "halt": In(1)})
        self._sums_layout = data.StructLayout({
            "valid": 1, "mark": mark_layout(), "last_group": 1, "last_row": 1,
            "col": signed(WORD), "row": signed(WORD), "out": signed(WORD), "out_row": signed(WORD),
            "line": signed(IMAGE_BITS),
            "i": data.StructLayout({f: layout[f].shape for f in (
                "a_wrap", "a_m", "a_n", "o_wrap", "o_m", "o_n", "iy_m", "ih", "m_split", "m_last",
                "n_last", "index")})})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        go = Enables(self.LEVELS, stages=1)
        m.submodules.skid = skid = Skid(visit_layout(self._config), len(go.copies))
        wiring.connect(m, skid.o, wiring.flipped(self.visits))
        m.d.comb += go.copies.eq(skid.go)
        sums, active = self._sums(m, go)
        addressing = self._addresses(m, go.stages[0], sums, skid.i)
        m.d.comb += self.busy.eq(active | sums.valid | addressing | self.visits.valid)
        return m

    def _sums(self, m: Module, go: Enables) -> tuple[data.View, Signal]:
        """The loop nest and, one cycle later, what all groups have in common; and whether the nest
        is under way."""
        i = view_of(instruction_layout(Opcode.WINDOW))
        active = Signal()
        n = self.instr.payload
        reach, nr = Signal(range(WINDOW_KERNEL)), Signal.like(i.nr)
        columns = Signal(range((1 << len(i.nx)) + WINDOW_KERNEL))
        nest = Nest(m, list(zip(self.LEVELS, (nr, i.stride, columns, i.ny, i.nnb), strict=True)))
        xa, na, xo, no = (Term(n, WORD) for n in ("xa", "na", "xo", "no"))
        ya, ra, yo = Term("ya", WORD, i.a_wrap), Term("ra", WORD, i.a_wrap), Term("yo", WORD,
                                                                                i.o_wrap)
        ix, iy, ry = (Term(n, IMAGE_BITS) for n in ("ix", "iy", "ry"))
        # weight steps of the kernel rows before, and of the phases before
        row_step, phase_step = (Signal(range(WINDOW_STEPS + 1), name=n)
                                for n in ("row_step", "phase_step"))
        behind = Signal(range(2 * WINDOW_KERNEL))      # columns behind those of output nx - 1
        used, emit = Signal(), Signal()
        past_last = (nest.index("X") == i.nx - 1) | (behind != 0)
        behind_next = Mux(past_last, behind + i.stride, 0)
        next_inside = self._inside(ix.plus(i.ix_x), i.iw)
        used_next, used_first = Signal(), Signal()
        m.d.comb += [
            used_first.eq(self._inside(n.ix0, n.iw)),
            used_next.eq(Mux(nest.last("p"),
                             Mux(nest.last("X"), self._inside(i.ix0, i.iw),
                                 next_inside & (behind_next < i.ns)),
                             next_inside & (behind + nest.index("p") + 1 < i.ns))),
            nr.eq(Mux(used, i.nr, 1)),
            emit.eq(nest.all_last(["r", "p"]) & (nest.index("X") >= reach))]
        nest.varies("r", ~used_next | (i.nr == 1))
        split = (self._config.tiles.bit_length() - 1) - i.m_split

        def to(term: Term, value: Value | int) -> object:
            return term.value.eq(value)

        next_column = [to(xa, xa.plus(i.a_x)), to(ix, ix.plus(i.ix_x))]
        nest.on("r", enter=[to(ra, ra.plus(i.a_r)), to(ry, ry.plus(i.iy_r)),
                            row_step.eq(row_step + i.ng)],
                leave=[to(ra, 0), to(ry, 0), row_step.eq(0), used.eq(used_next)])
        nest.on("p", enter=[*next_column, phase_step.eq(phase_step + i.nr * i.ng)],
                leave=[phase_step.eq(0)])
        nest.on("X", enter=[*next_column, behind.eq(behind_next),
                            to(xo, Mux(emit, xo.plus(i.o_x), xo.value))],
                leave=[to(xa, 0), to(ix, i.ix0), behind.eq(0), to(xo, 0)])
        nest.on("y", enter=[to(ya, ya.plus(i.a_y)), to(iy, iy.plus(i.iy_y)),
                            to(yo, yo.plus(i.o_y))],
                leave=[to(ya, i.a_row), to(iy, i.iy0), to(yo, i.o_row)])
        nest.on("nb", enter=[to(na, na.plus(i.a_n << split[:2])),
                             to(no, no.plus(i.o_n << split[:2]))])

        out = view_of(self._sums_layout)
        m.d.comb += self.instr.ready.eq(~self.halt & ~active)
        with m.If(go.walk):
            m.d.sync += [
                out.valid.eq(active), *(out.i[f].eq(i[f]) for f, _ in out.i.shape()),
                out.col.eq(xa.plus(na.value)), out.row.eq(ya.plus(ra.value)),
                out.out.eq(xo.plus(no.value)), out.out_row.eq(yo.value),
                out.line.eq(iy.plus(ry.value)), out.last_group.eq(nest.last("nb")),
                out.last_row.eq(nest.last("y")),
                out.mark.step.eq(row_step + phase_step), out.mark.skip.eq(~used),
                out.mark.fresh.eq(Cat(nest.index(n) == 0 for n in ("r", "p", "X")).all()),
                out.mark.shift.eq(nest.all_last(["r", "p"])), out.mark.emit.eq(emit),
                out.mark.closes.eq(nest.all_last(["r", "p", "X", "y"])),
                out.mark.final.eq(nest.done)]
            with m.If(nest.done):
                m.d.sync += active.eq(0)
        nest.step(*go.levels)
        with m.If(self.instr.valid & self.instr.ready):
            first_reach = reach_of(n)
            m.d.sync += [
                i.eq(n), active.eq(1), behind.eq(0), row_step.eq(0), used.eq(used_first),
                reach.eq(first_reach), columns.eq(n.nx + first_reach),
                *nest.start(r=~used_first | (n.nr == 1), p=n.stride == 1,
                            X=(n.nx == 1) & (first_reach == 0), y=n.ny == 1, nb=n.nnb == 1),
                phase_step.eq(0), *(to(t, 0) for t in (xa, ra, ry, xo)),
                *(to(t, v) for t, v in ((na, n.a_base), (no, n.o_base), (ya, n.a_row),
                                        (yo, n.o_row), (ix, n.ix0), (iy, n.iy0)))]
        return out, active

    @staticmethod
    def _inside(column: Value, width: Value) -> Value:
        """Whether a column is one of the image."""
        return (column >= 0) & (column < width)

    def _offsets(self, m: Module, name: str, step: Value, circle: Value | None,
                 bits: int) -> list[Value]:
        """``step`` times 0, 1, …, a multiple for each pixel stream."""
        offsets: list[Value] = [Signal(signed(bits), name=f"{name}0")]
        for k in range(1, self._config.tiles):
            following = Signal(signed(bits), name=f"{name}{k}")
            m.d.comb += following.eq(offsets[-1] + step if circle is None else
                                     circle_add(offsets[-1], step, circle, bits))
            offsets.append(following)
        return offsets

    def _addresses(self, m: Module, go: Value, sums: data.View, visits: stream.Interface
                   ) -> Value:
        """Each group's addresses, and whether it reads and writes, in two cycles; checked in a
        third. Returns whether a visit is in any of them."""
        tiles, i = self._config.tiles, sums.i
        out, found = view_of(visit_layout(self._config)), Signal()
        visit, checked = view_of(visit_layout(self._config)), Signal()
        m.d.comb += [visits.payload.eq(visit), visits.valid.eq(checked)]
        rows = self._offsets(m, "a_m", i.a_m, i.a_wrap, WORD)
        out_rows = self._offsets(m, "o_m", i.o_m, i.o_wrap, WORD)
        lines = self._offsets(m, "iy_m", i.iy_m, None, IMAGE_BITS)
        valid, index, mark = Signal(), Signal(INDEX_BITS), view_of(mark_layout())
        with m.If(go):
            m.d.sync += [valid.eq(sums.valid), index.eq(i.index), mark.eq(sums.mark),
                         found.eq(valid), out.index.eq(index), out.mark.eq(mark),
                         checked.eq(found), visit.eq(out),
                         visit.bad.eq(Cat(
                             (out.inside[t] & self._outside(out.addr[t]))
                             | (out.write[t] & self._outside(out.out[t]))
                             for t in range(tiles)).any())]
        for t in range(tiles):
            splits = [divmod(t, tiles >> c) for c in range(tiles.bit_length())]
            stream_of = Array(s for s, _ in splits)[i.m_split]
            n = Array(n for _, n in splits)[i.m_split]
            parts = view_of(data.ArrayLayout(signed(WORD), 4), name=f"parts{t}")
            exists, inside = Signal(name=f"exists{t}"), Signal(name=f"inside{t}")
            line = Signal(signed(IMAGE_BITS), name=f"line{t}")
            here = (~sums.last_group | (n < i.n_last)) & (~sums.last_row | (stream_of < i.m_last))
            m.d.comb += line.eq(sums.line + Array(lines)[stream_of])
            with m.If(go):
                m.d.sync += [
                    parts[0].eq(sums.col + Array(i.a_n * n for _, n in splits)[i.m_split]),
                    parts[1].eq(circle_add(sums.row, Array(rows)[stream_of], i.a_wrap, WORD)),
                    parts[2].eq(sums.out + Array(i.o_n * n for _, n in splits)[i.m_split]),
                    parts[3].eq(circle_add(sums.out_row, Array(out_rows)[stream_of], i.o_wrap,
                                           WORD)),
                    exists.eq(here),
                    inside.eq(here & ~sums.mark.skip & (line >= 0) & (line < i.ih)),
                    out.addr[t].eq(parts[0] + parts[1]), out.out[t].eq(parts[2] + parts[3]),
                    out.inside[t].eq(inside), out.write[t].eq(exists & mark.emit)]
        return valid | found | checked

    def _outside(self, address: Value) -> Value:
        return (address < 0) | (address >= self._config.spm_words)
