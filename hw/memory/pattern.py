# SPDX-License-Identifier: Apache-2.0
"""The address generator of the DMA engines: from a LOAD or STORE to checked contiguous runs.

::

    instr ─► count the three ─► address of ─► first and ─► compare with ─► place in ─► runs
             outer levels       the run       last word    region, memory  beats
                                (one adder)                                  └──► fault

Every run is checked before anything is asked of the memory. A run begins a stride away from one
that has been checked, so that its address needs two bits more than the memory's and cannot wrap
around its check. A fault stops the generator at the offending run; the runs before it, of this
instruction and of earlier ones, have been handed over.

Throughput one run a cycle, with a cycle between instructions; latency :attr:`Pattern.LATENCY`
cycles.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.engine.ports import instruction_layout, view_of
from hw.engine.settings import REGIONS
from hw.memory.axi import run_layout
from hw.memory.lanes import Lanes, tag_layout
from hw.parts.nest import Enables, Nest
from hw.parts.skid import Skid
from isa.config import SPM_ADDRESS_BITS, Config
from isa.instructions import DMA_FIELDS, INDEX_BITS, READ_ONLY, Fault, Opcode, Region

_WIDTH = {f.name: f.width for f in DMA_FIELDS}


class Pattern(wiring.Component):
    """Generates and checks the runs of LOAD or STORE instructions.

    Parameters
    ----------
    config : Config
    opcode : Opcode
        LOAD or STORE; only STORE is refused in read-only regions.

    Members
    -------
    instr : stream of ``instruction_layout(opcode)``
    regions : REGIONS
        Stable while instructions are under way.
    halt : 1
        Take no more instructions.
    runs : stream of ``run_layout(config, tag_layout(config))``
    fault, fault_code, fault_index
        As in :class:`hw.engine.ports.Engine`.
    """

    LATENCY = 5

    LEVELS = ("n1", "n2", "n3")
    """Levels of the loop nest, inner to outer; a run counts n0."""

    instr: stream.Interface
    regions: data.View
    halt: Signal
    runs: stream.Interface
    fault: Signal
    fault_code: Signal
    fault_index: Signal

    def __init__(self, config: Config, opcode: Opcode):
        self._config = config
        self._read_only = READ_ONLY if opcode is Opcode.STORE else ()
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(opcode))),
            "regions": In(REGIONS), "halt": In(1),
            "runs": Out(stream.Signature(run_layout(config, tag_layout(config)))),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(INDEX_BITS)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        word = exact_log2(config.word_bytes)
        self._reach = config.addr_bits - word
        go, stopped = Enables(self.LEVELS, behind=True, stages=2), Signal()
        m.d.comb += stopped.eq(self.halt | self.fault)
        m.submodules.skid = skid = Skid(self.runs.payload.shape(), len(go.copies) + 1)
        wiring.connect(m, skid.o, wiring.flipped(self.runs))
        m.d.comb += go.copies.eq(skid.go[1:])
        walked = self._walk(m, go, stopped, word)
        ends = self._ends(m, go.stages[0], stopped, walked, word)
        self._place(m, go.stages[1], stopped, ends, skid)
        return m

    def _walk(self, m: Module, go: Enables, stopped: Signal, word: int) -> data.View:
        """The loop nest and, a cycle later, its run and what is wrong with the instruction."""
        instr = view_of(instruction_layout(Opcode.LOAD), reset_less=True)
        active, begin = Signal(), Signal()
        walked = view_of(data.StructLayout({
            "valid": 1, "bad": 1, "read_only": 1, "final": 1, "index": INDEX_BITS,
            "group": 1, "region": instr.region.shape(), "rest": _WIDTH["n0"],
            "start": signed(self._reach + 2), "spm": signed(SPM_ADDRESS_BITS + 2)}))
        nest = Nest(m, [(n, instr[n]) for n in self.LEVELS])
        # the address of level i is where its innermost run began: an outer level's step begins
        # all those inside it
        at = [Signal.like(walked.start, name=f"at{i}", reset_less=True) for i in range(3)]
        spm = [Signal.like(walked.spm, name=f"spm{i}", reset_less=True) for i in range(3)]
        here, spm_here = Signal.like(walked.start), Signal.like(walked.spm)
        step = Signal(signed(_WIDTH["dram_stride1"] - word))
        spm_step = Signal(signed(SPM_ADDRESS_BITS))
        for value, choices in (
                (here, at), (spm_here, spm),
                (step, [instr[f"dram_stride{k}"] >> word for k in (1, 2, 3)]),
                (spm_step, [instr[f"spm_stride{k}"] for k in (1, 2, 3)])):
            inner, middle, outer = choices
            m.d.comb += value.eq(Mux(nest.levels["n1"].entered, inner,
                                     Mux(nest.levels["n2"].entered, middle, outer)))
        following, spm_following = here + step, spm_here + spm_step
        for name, place, spm_place in zip(self.LEVELS, at, spm, strict=True):
            moved = [place.eq(following), spm_place.eq(spm_following)]
            nest.behind(name, enter=moved, leave=moved)
        m.d.comb += [walked.start.eq(at[0]), walked.spm.eq(spm[0]),
                     self.instr.ready.eq(~stopped & ~active)]
        misaligned = Cat(instr.dram[:word], *(instr[f"dram_stride{i}"][:word] for i in (1, 2, 3)))
        zero = Cat(instr[f"n{i}"] == 0 for i in range(4))
        with m.If(go.walk):
            m.d.sync += [
                begin.eq(0), walked.valid.eq(active & ~stopped),
                walked.bad.eq(zero.any() | misaligned.any()),
                walked.read_only.eq(sum((instr.region == r for r in self._read_only), Const(0))),
                walked.final.eq(nest.done), walked.index.eq(instr.index),
                walked.group.eq(instr.group), walked.region.eq(instr.region),
                walked.rest.eq(instr.n0 - 1)]
            with m.If(nest.done):
                m.d.sync += active.eq(0)
        nest.step(*go.levels)
        nest.follow(*go.terms, begin=begin, start=[
            *(place.eq(instr.dram >> word) for place in at),
            *(place.eq(instr.spm) for place in spm)])
        # the payload is sampled in every idle cycle, valid or not, and active tells which it was
        with m.If(self.instr.ready):
            new = self.instr.payload
            m.d.sync += [instr.eq(new), active.eq(self.instr.valid), begin.eq(1),
                         *nest.start(**{n: new[n] == 1 for n in self.LEVELS})]
        return walked

    def _ends(self, m: Module, go: Value, stopped: Signal, walked: data.View, word: int
              ) -> data.View:
        """The run's last word; where its region lies and ends, as far as the memory reaches."""
        reach = self._reach
        ends = view_of(data.StructLayout({
            **walked.shape().members, "last": signed(reach + 3),
            "spm_last": signed(walked.spm.shape().width + 1),
            "base": reach, "base_beyond": 1, "size": reach + 1}))
        base, size, base_beyond = Signal(reach), Signal(reach + 1), Signal()
        with m.Switch(walked.region):
            for number in Region:
                region = self.regions[number]
                larger = (region.size >> (word + reach + 1)).any()
                with m.Case(number):
                    m.d.comb += [
                        base.eq(region.base >> word),
                        base_beyond.eq((region.base >> (word + reach)).any()),
                        size.eq((region.size >> word)[:reach + 1] | larger.replicate(reach + 1))]
        with m.If(go):
            m.d.sync += [
                *(ends[f].eq(walked[f]) for f, _ in walked.shape() if f != "valid"),
                ends.valid.eq(walked.valid & ~stopped),
                ends.last.eq(walked.start + walked.rest),
                ends.spm_last.eq(walked.spm + walked.rest),
                ends.base.eq(base), ends.base_beyond.eq(base_beyond), ends.size.eq(size)]
        return ends

    def _place(self, m: Module, go: Value, stopped: Signal, ends: data.View, skid: Skid) -> None:
        """Compare, and a cycle later report the fault or hand over the run, placed in beats."""
        config, lanes, run, reach = self._config, Lanes(self._config), skid.i.payload, self._reach
        checked = view_of(data.StructLayout({
            "valid": 1, "bad": 1, "dram": 1, "spm_range": 1, "final": 1, "index": INDEX_BITS,
            "group": 1, "rest": _WIDTH["n0"], "spm": range(config.spm_words), "start": reach,
            "last": reach + 1}))
        with m.If(go):
            m.d.sync += [
                checked.valid.eq(ends.valid & ~stopped),
                checked.dram.eq(ends.read_only | ends.base_beyond | (ends.start < 0)
                                | (ends.last >= ends.size)),
                checked.spm_range.eq((ends.spm < 0) | (ends.spm_last >= config.spm_words)),
                checked.start.eq(ends.base + ends.start), checked.last.eq(ends.base + ends.last),
                *(checked[f].eq(ends[f])
                  for f in ("bad", "final", "index", "group", "rest", "spm"))]
        code = Signal(8)
        with m.If(checked.bad):
            m.d.comb += code.eq(Fault.BAD_FIELD)
        with m.Elif(checked.dram | checked.last[reach]):
            m.d.comb += code.eq(Fault.DRAM_RANGE)
        with m.Elif(checked.spm_range):
            m.d.comb += code.eq(Fault.SPM_RANGE)
        lane = checked.start[:lanes.words_log2]
        last_lane = lane + checked.rest
        m.d.comb += [
            skid.i.valid.eq(checked.valid & ~stopped & (code == 0)),
            run.beat.eq((checked.start >> lanes.words_log2) << lanes.beats_log2),
            run.beats.eq(((last_lane >> lanes.words_log2) + 1) << lanes.beats_log2),
            run.tag.spm.eq(checked.spm), run.tag.final.eq(checked.final),
            run.tag.index.eq(checked.index), run.tag.group.eq(checked.group),
            run.tag.first_lane.eq(lane),
            run.tag.last_lane.eq(last_lane)]
        with m.If(go & checked.valid & ~stopped & (code != 0)):
            m.d.sync += [self.fault.eq(1), self.fault_code.eq(code),
                         self.fault_index.eq(checked.index)]
