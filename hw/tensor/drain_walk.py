# SPDX-License-Identifier: Apache-2.0
"""The drain's loop nest: a TENSOR's output words, one a cycle, as sums of address terms.

::

    instruction ─► counters, flags ─► terms ─► step
    (word, x, y, nb, tx, ty)       behind the counters

A step is what all tiles have in common. Its address is ``out`` plus the row ``out_row``, which may
lie on a circle, and likewise for the residual.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.ports import instruction_layout, view_of
from hw.parts.delay import register
from hw.parts.nest import Enables, Nest, Term
from hw.tensor.pixels import pixel_nest
from hw.tensor.post import log_size
from isa.config import Config
from isa.instructions import SPM_ADDRESS_BITS, Opcode

WORD = SPM_ADDRESS_BITS


def mark_layout(config: Config) -> data.StructLayout:
    """What goes with an output word. ``index``, ``bank``: its PSUM entry; ``first``, ``last``: of
    the block; ``word``: which of the entry's words it is."""
    return data.StructLayout({"index": range(config.psum_depth), "bank": 1, "first": 1, "last": 1,
                              **({"word": 2} if config.floats else {})})


def word_of(mark: data.View) -> Value:
    """Which of its entry's words an output word is."""
    return mark.word if "word" in mark.shape().members else Const(0, 2)


def step_layout(config: Config) -> data.StructLayout:
    """A step. ``out``, ``residual``, ``out_row``, ``residual_row``: address terms; ``end_word``:
    one of the words that ``w_skip`` leaves out in the last channel block; ``last_group``,
    ``last_row``: in the last group of channel blocks, in the last row."""
    terms = dict.fromkeys(("out", "residual", "out_row", "residual_row"), signed(WORD))
    return data.StructLayout({"valid": 1, **terms, "end_word": 1, "last_group": 1, "last_row": 1,
                              "mark": mark_layout(config)})


class DrainWalk(wiring.Component):
    """Latency: three cycles from an instruction to its first step. Throughput: a step a cycle.
    Stall: while ``go`` is low counters, terms and step keep what they have; ``next`` is taken
    without regard to it.

    Parameters
    ----------
    config : Config

    Members
    -------
    next : In(TENSOR)
        The next instruction, an instruction to drain if ``valid``; taken in every ``idle`` cycle.
    valid, idle : In(1)
    i : In(TENSOR)
        The instruction that was taken, from a cycle after on.
    go : In
        Enables, copies of one signal (:class:`hw.parts.nest.Enables`).
    walking : Out(1)
        There are iterations to come.
    busy : Out(1)
        There is a step that has not been shown.
    step : Out(step_layout(config))
    """

    LEVELS = ("word", "x", "y", "nb", "tx", "ty")
    """Levels of the loop nest, inner to outer."""

    next: data.View
    valid: Signal
    idle: Signal
    i: data.View
    go: Signal
    walking: Signal
    busy: Signal
    step: data.View

    def __init__(self, config: Config):
        self._config = config
        self._enables = Enables(self.LEVELS, behind=True, stages=1)
        layout = instruction_layout(Opcode.TENSOR)
        super().__init__({"next": In(layout), "valid": In(1), "idle": In(1), "i": In(layout),
                          "go": In(len(self._enables.copies)), "walking": Out(1), "busy": Out(1),
                          "step": Out(step_layout(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        go = self._enables
        m.d.comb += go.copies.eq(self.go)
        words = Signal(3)
        m.d.comb += words.eq(1 << log_size(self._config, self.i.o_type))
        log = log_size(self._config, self.next.o_type)
        nest, start = pixel_nest(m, self.LEVELS, self.i, self.next, {"word": words},
                                 {"word": log == 0})
        begin, more, walked = self._flags(m, nest, go.walk)
        restart, sums = self._terms(m, nest, more)
        nest.step(*go.levels)
        nest.follow(*go.terms, begin=begin, start=restart)
        with m.If(go.stages[0]):
            m.d.sync += [self.step.valid.eq(walked.valid), self.step.mark.eq(walked.mark),
                         self.step.last_group.eq(walked.last_group),
                         self.step.last_row.eq(walked.last_row),
                         self.step.end_word.eq(word_of(walked.mark) + self.i.w_skip >= words),
                         *sums]
        with m.If(self.idle):
            m.d.sync += start
        m.d.comb += self.busy.eq(walked.valid | self.step.valid)
        return m

    def _flags(self, m: Module, nest: Nest, go: Value) -> tuple[Signal, Signal, data.View]:
        """What the counters say of an iteration, a cycle later: whether it is the first one;
        whether the next one takes the residual's next word; and what goes into the step."""
        config, n = self._config, self.next
        begin, more = Signal(), Signal(reset_less=True)
        psum, bank = Signal(range(config.psum_depth)), Signal()
        # a residual of a smaller type has fewer words: each serves several of the output
        parts = Signal(2, reset_less=True)
        last = nest.all_last(["word", "x", "y"])
        walked = view_of(data.StructLayout({"valid": 1, "last_group": 1, "last_row": 1,
                                            "mark": mark_layout(config)}))
        mark = walked.mark
        with m.If(go):
            m.d.sync += [
                begin.eq(0), more.eq((nest.index("word") & parts) == parts),
                walked.valid.eq(self.walking), walked.last_group.eq(nest.last("nb")),
                walked.last_row.eq(nest.last("ty") & nest.last("y")),
                mark.index.eq(psum), mark.bank.eq(bank), mark.last.eq(last),
                mark.first.eq(Cat(nest.first(n) for n in ("word", "x", "y")).all()),
                *([mark.word.eq(nest.index("word"))] if config.floats else [])]
            with m.If(nest.last("word")):
                m.d.sync += psum.eq(Mux(last, 0, psum + 1))
            with m.If(last & self.walking):
                m.d.sync += bank.eq(~bank)
            with m.If(nest.done):
                m.d.sync += self.walking.eq(0)
        with m.If(self.idle):
            ratio = log_size(config, n.o_type) - log_size(config, n.r_type)
            m.d.sync += [self.walking.eq(self.valid & ~n.hold), psum.eq(0), begin.eq(1),
                         parts.eq((1 << ratio[:2]) - 1)]
        return begin, more, walked

    def _terms(self, m: Module, nest: Nest, more: Signal) -> tuple[list[object], list[object]]:
        """Address terms, a cycle behind the counters: statements that start them, and that sum them
        in a step."""
        i, config = self.i, self._config
        split = (config.tiles.bit_length() - 1) - i.m_split
        xo, no, nr, wo, wr = (Term(n, WORD) for n in ("xo", "no", "nr", "wo", "wr"))
        yo, yr = Term("yo", WORD, i.o_wrap), Term("yr", WORD, i.r_wrap)
        xo0, yo0, yr0 = (Signal(signed(WORD), name=n, reset_less=True)
                         for n in ("xo0", "yo0", "yr0"))

        def to(term: Term, value: Value | int) -> object:
            return term.value.eq(value)

        r_n = Mux(more, i.r_n, 0)
        o_step, r_step = (
            register(m, f"{n}_step", i[f"{n}_n"] << (split[:2] + log_size(config, i[f"{n}_type"])),
                     signed(WORD)) for n in "or")
        nest.behind("word", enter=[to(wo, wo.plus(i.o_n)), to(wr, wr.plus(r_n))],
                    leave=[to(wo, 0), to(wr, 0)])
        # where an inner level's term starts again depends on whether the outer level moved with it
        tx, ty = nest.levels["tx"], nest.levels["ty"]
        further = xo.plus(i.o_x)
        nest.behind("x", enter=[to(xo, further)], leave=[
            to(xo, Mux(tx.left, 0, Mux(tx.entered, further, xo0)))])
        nest.behind("tx", enter=[xo0.eq(further)], leave=[xo0.eq(0)])
        for term, start in ((yo, yo0), (yr, yr0)):
            further = term.plus(i.o_y)
            nest.behind("y", enter=[to(term, further)],
                        leave=[to(term, Mux(ty.entered, further, start))])
            nest.behind("ty", enter=[start.eq(further)])
        nest.behind("nb", enter=[to(no, no.plus(o_step)), to(nr, nr.plus(r_step))],
                    leave=[to(no, i.o_base), to(nr, i.r_base)])
        restart = [
            to(wo, 0), to(wr, 0), to(xo, 0), xo0.eq(0), to(no, i.o_base), to(nr, i.r_base),
            to(yo, i.o_row), yo0.eq(i.o_row), to(yr, i.r_row), yr0.eq(i.r_row)]
        step = self.step
        return restart, [
            step.out.eq(xo.plus(no.value) + wo.value),
            step.residual.eq(xo.plus(nr.value) + wr.value),
            step.out_row.eq(yo.value), step.residual_row.eq(yr.value)]
