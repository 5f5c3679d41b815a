# SPDX-License-Identifier: Apache-2.0
"""The feeder's loop nest: a TENSOR's vectors, one a cycle, as partial sums of address terms.

::

    instruction ─► counters, flags ─► terms ─► step
    (x, y, cb, s, r, nb, tx, ty)     behind the counters

A step is what all pixel streams have in common. Its address is ``t0 + t1`` plus the row ``row``,
which may lie on a circle; its input pixel is column ``ix`` of row ``iy``.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith import operand
from hw.engine.ports import instruction_layout, view_of
from hw.parts.nest import Enables, Nest, Term
from hw.tensor.pixels import pixel_nest
from isa.config import Config
from isa.instructions import IMAGE_BITS, TENSOR_FIELDS, DType, Opcode
from isa.numerics import BF16_PRODUCT_UNIT

ADDRESS_BITS = next(f.width for f in TENSOR_FIELDS if f.name == "a_base")


def common_layout(config: Config) -> data.StructLayout:
    """What goes with a vector: flags as in :func:`hw.tensor.feeder.vector_layout`, and what makes
    operands of its bytes."""
    fields = instruction_layout(Opcode.TENSOR)
    return data.StructLayout({
        "index": range(config.psum_depth), "swap": 1, "overwrite": 1, "opens": 1, "closes": 1,
        "keeps": 1, "m_split": 2, **{f: fields[f].shape for f in ("a_signed", "a_zp", "pad")},
        **operand.type_shapes(config)})


def step_layout(config: Config) -> data.StructLayout:
    """A step: address terms, input coordinates, and constants ``i`` of the instruction for the
    stages after it; ``begin``: the first of its instruction."""
    fields = instruction_layout(Opcode.TENSOR)
    constants = ("a_wrap", "a_m", "iy_m", "lane_dx", "iw", "ih", "index")
    return data.StructLayout({
        "valid": 1, "begin": 1, "common": common_layout(config),
        "i": data.StructLayout({f: fields[f].shape for f in constants}),
        **dict.fromkeys(("t0", "t1", "row"), signed(ADDRESS_BITS)),
        **dict.fromkeys(("ix", "iy"), signed(IMAGE_BITS))})


class FeederWalk(wiring.Component):
    """Latency: three cycles from an instruction to its first step. Throughput: a step a cycle; the
    next instruction is taken in the cycle after the last iteration. Stall: while ``go`` is low
    counters, terms and step keep what they have, and no instruction is taken.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of TENSOR)
    go : In
        Enables, copies of one signal (:class:`hw.parts.nest.Enables`).
    step : Out(step_layout(config))
    busy : Out(1)
        An instruction is under way, or a step of it has not been shown.
    """

    LEVELS = ("x", "y", "cb", "s", "r", "nb", "tx", "ty")
    """Levels of the loop nest, inner to outer."""

    instr: stream.Interface
    go: Signal
    step: data.View
    busy: Signal

    def __init__(self, config: Config):
        self._config = config
        self._enables = Enables(self.LEVELS, behind=True, stages=2)
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.TENSOR))),
            "go": In(len(self._enables.copies)), "step": Out(step_layout(config)), "busy": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        go, n = self._enables, self.instr.payload
        sum_go, accept = go.stages
        i = view_of(instruction_layout(Opcode.TENSOR), reset_less=True)
        active, begin = Signal(), Signal()
        # the last iteration's terms are taken before the next instruction's constants come
        m.d.comb += [go.copies.eq(self.go), self.instr.ready.eq(~active & accept)]
        nest, start = pixel_nest(
            m, self.LEVELS, i, n, {"cb": i.ncb, "s": i.ns, "r": i.nr},
            {"cb": n.ncb == 1, "s": n.ns == 1, "r": n.nr == 1})
        walked = self._flags(m, nest, go.walk, active, begin)
        restart, sums = self._terms(nest, i)
        with m.If(go.walk & nest.done):
            m.d.sync += active.eq(0)
        nest.step(*go.levels)
        nest.follow(*go.terms, begin=begin, start=restart)
        with m.If(sum_go):
            m.d.sync += [*sums, *self._marks(i, walked)]
        # the payload is sampled in every idle cycle, valid or not, and active tells which it was
        with m.If(self.instr.ready):
            m.d.sync += [i.eq(n), active.eq(self.instr.valid), begin.eq(1), *start]
        m.d.comb += self.busy.eq(active | walked.valid | self.step.valid)
        return m

    def _flags(self, m: Module, nest: Nest, go: Value, active: Signal, begin: Signal) -> data.View:
        """What the counters say of an iteration, a cycle later."""
        psum = Signal(range(self._config.psum_depth))
        last_pixel = nest.all_last(["x", "y"])
        walked = view_of(data.StructLayout({
            "valid": 1, "begin": 1, "first_pass": 1, "first_pixel": 1, "last_pass": 1,
            "last_pixel": 1, "psum": range(self._config.psum_depth)}))
        with m.If(go):
            m.d.sync += [
                walked.valid.eq(active), walked.begin.eq(begin), walked.psum.eq(psum),
                walked.first_pass.eq(nest.first("cb") & nest.first("s") & nest.first("r")),
                walked.first_pixel.eq(nest.first("x") & nest.first("y")),
                walked.last_pass.eq(nest.all_last(["cb", "s", "r"])),
                walked.last_pixel.eq(last_pixel),
                begin.eq(0), psum.eq(Mux(last_pixel, 0, psum + 1))]
        with m.If(self.instr.ready):
            m.d.sync += psum.eq(0)
        return walked

    def _terms(self, nest: Nest, i: data.View) -> tuple[list[object], list[object]]:
        """Address terms and coordinates, a cycle behind the counters: statements that start them,
        and that sum them in a step."""
        xa, ca, sa, na = (Term(n, ADDRESS_BITS) for n in ("xa", "ca", "sa", "na"))
        ya, ra = (Term(n, ADDRESS_BITS, i.a_wrap) for n in ("ya", "ra"))
        ix, sx, iy, ry = (Term(n, IMAGE_BITS) for n in ("ix", "sx", "iy", "ry"))
        xa0, ya0 = (Signal(signed(ADDRESS_BITS), name=n, reset_less=True) for n in ("xa0", "ya0"))
        ix0, iy0 = (Signal(signed(IMAGE_BITS), name=n, reset_less=True) for n in ("ix0", "iy0"))

        def to(term: Term, value: Value | int) -> object:
            return term.value.eq(value)

        # where an inner level's term starts again depends on whether the outer level moved with it
        tx, ty = nest.levels["tx"], nest.levels["ty"]
        for name, axis, pairs in (
                ("x", tx, [(xa, i.a_x, xa0, 0), (ix, i.ix_x, ix0, i.ix0)]),
                ("y", ty, [(ya, i.a_y, ya0, None), (iy, i.iy_y, iy0, None)])):
            for term, by, start, back in pairs:
                on = Mux(axis.entered, term.plus(by), start)
                nest.behind(name, enter=[to(term, term.plus(by))],
                            leave=[to(term, on if back is None else Mux(axis.left, back, on))])
                nest.behind(axis.name, enter=[start.eq(term.plus(by))],
                            leave=[] if back is None else [start.eq(back)])
        nest.behind("cb", enter=[to(ca, ca.plus(i.a_cb))], leave=[to(ca, 0)])
        nest.behind("s", enter=[to(sa, sa.plus(i.a_s)), to(sx, sx.plus(i.ix_s))],
                    leave=[to(sa, 0), to(sx, 0)])
        nest.behind("r", enter=[to(ra, ra.plus(i.a_r)), to(ry, ry.plus(i.iy_r))],
                    leave=[to(ra, 0), to(ry, 0)])
        nest.behind("nb", enter=[to(na, na.plus(i.a_nb))], leave=[to(na, i.a_base)])
        restart = [
            to(xa, 0), xa0.eq(0), to(ca, 0), to(sa, 0), to(ra, 0), to(na, i.a_base),
            to(ya, i.a_row), ya0.eq(i.a_row), to(ix, i.ix0), ix0.eq(i.ix0), to(sx, 0),
            to(iy, i.iy0), iy0.eq(i.iy0), to(ry, 0)]
        step = self.step
        return restart, [
            step.t0.eq(xa.plus(ca.value)), step.t1.eq(na.plus(sa.value)),
            step.row.eq(ya.plus(ra.value)), step.ix.eq(ix.plus(sx.value)),
            step.iy.eq(iy.plus(ry.value))]

    def _marks(self, i: data.View, walked: data.View) -> list[object]:
        """What goes with the terms into a step."""
        step, common = self.step, self.step.common
        opens, closes = walked.first_pass & walked.first_pixel, walked.last_pass & walked.last_pixel
        types = {"dtype": i.dtype,
                 "base": Mux(i.dtype == DType.BF16, BF16_PRODUCT_UNIT - i.anchor, 0)}
        return [
            step.valid.eq(walked.valid), step.begin.eq(walked.begin),
            *(step.i[f].eq(i[f]) for f, _ in step.i.shape()),
            common.index.eq(walked.psum), common.swap.eq(walked.first_pixel),
            common.overwrite.eq(walked.first_pass & ~i.acc), common.opens.eq(opens & ~i.acc),
            common.closes.eq(closes & ~i.hold), common.keeps.eq(closes & i.hold),
            *(common[f].eq(i[f]) for f in ("m_split", "a_signed", "a_zp", "pad")),
            *(common[f].eq(types[f]) for f in operand.type_shapes(self._config))]
