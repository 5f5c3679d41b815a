# SPDX-License-Identifier: Apache-2.0
"""The address generator of the DMA engines: from a LOAD or STORE to checked contiguous runs.

::

    instr ─► walk the three outer levels ─► ends ─► compare with region, ─► place in ─► runs
             (one adder, one run a cycle)           scratchpad              beats
                                                                       └──► fault

Every run is checked before anything is asked of the memory. Offsets are signed and counted in
words, wide enough for the largest counts and strides that the fields can hold, so a pattern cannot
wrap around its check. A fault stops the generator at the offending run; the runs before it, of this
instruction and of earlier ones, have been handed over.

Throughput one run a cycle, also across instructions; latency :attr:`Pattern.LATENCY` cycles.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Shape, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi import run_layout
from hw.dma import Lanes, tag_layout
from hw.ports import instruction_layout, view_of
from hw.settings import REGION, REGIONS
from isa.config import SPM_ADDRESS_BITS, Config
from isa.instructions import DMA_FIELDS, INDEX_BITS, Fault, Opcode, Region

READ_ONLY = (Region.PROGRAM, Region.INPUT)
_WIDTH = {f.name: f.width for f in DMA_FIELDS}
_GROWTH = _WIDTH["n1"] + 2
"""Bits by which a sum of three strides, each taken up to ``n`` times, outgrows a stride."""


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
        As in :class:`hw.ports.Engine`.
    """

    LATENCY = 4

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
        config, lanes, run = self._config, Lanes(self._config), self.runs.payload
        word = exact_log2(config.word_bytes)
        offset = Shape(_WIDTH["dram_stride1"] - word + _GROWTH, signed=True)
        place = Shape(SPM_ADDRESS_BITS + _GROWTH, signed=True)

        stopped, move = Signal(), Signal()
        m.d.comb += [stopped.eq(self.halt | self.fault),
                     move.eq(~self.runs.valid | self.runs.ready)]

        # walk: the address of level i is where its innermost run began, plus one step
        instr = Signal.like(self.instr.payload)
        active = Signal()
        left = [Signal(_WIDTH["n1"], name=f"left{i}") for i in (1, 2, 3)]
        at = [Signal(offset, name=f"at{i}") for i in (1, 2, 3)]
        spm = [Signal(place, name=f"spm{i}") for i in (1, 2, 3)]
        here, step = Signal(offset), Signal(offset)
        spm_here, spm_step = Signal(place), Signal(place)
        more = Cat(n != 1 for n in left)
        for level in (2, 1, 0):
            condition = more[level] if level < 2 else 1
            with m.If(condition):
                m.d.comb += [
                    here.eq(at[level]), spm_here.eq(spm[level]),
                    step.eq(instr[f"dram_stride{level + 1}"] >> word),
                    spm_step.eq(instr[f"spm_stride{level + 1}"])]
        m.d.comb += self.instr.ready.eq(~stopped & (~active | (move & ~more.any())))
        with m.If(active & move):
            for level in (0, 1, 2):
                inner = more[:level]
                with m.If(~inner.any()):
                    m.d.sync += [at[level].eq(here + step), spm[level].eq(spm_here + spm_step),
                                 left[level].eq(Mux(more[level], left[level] - 1,
                                                    instr[f"n{level + 1}"]))]
            m.d.sync += active.eq(more.any())
        with m.If(self.instr.valid & self.instr.ready):
            m.d.sync += [active.eq(1), instr.eq(self.instr.payload)]
            for level in (0, 1, 2):
                m.d.sync += [left[level].eq(self.instr.payload[f"n{level + 1}"]),
                             at[level].eq(self.instr.payload.dram >> word),
                             spm[level].eq(self.instr.payload.spm)]

        # ends, and what is wrong with the instruction as a whole
        misaligned = Cat(instr.dram[:word], *(instr[f"dram_stride{i}"][:word] for i in (1, 2, 3)))
        zero = Cat(instr[f"n{i}"] == 0 for i in range(4))
        region = view_of(REGION)
        with m.Switch(instr.region):
            for number in Region:
                with m.Case(number):
                    m.d.comb += region.eq(self.regions[number])
        ends = view_of(data.StructLayout({
            "valid": 1, "bad": 1, "read_only": 1, "final": 1, "index": INDEX_BITS,
            "words": _WIDTH["n0"], "start": offset, "end": signed(offset.width + 1),
            "spm": place, "spm_end": signed(place.width + 1),
            "base": 64 - word, "size": 64 - word}))
        with m.If(move):
            m.d.sync += [
                ends.valid.eq(active & ~stopped),
                ends.bad.eq(zero.any() | misaligned.any()),
                ends.read_only.eq(Cat(instr.region == r for r in self._read_only).any()),
                ends.final.eq(~more.any()), ends.index.eq(instr.index), ends.words.eq(instr.n0),
                ends.start.eq(at[0]), ends.end.eq(at[0] + instr.n0),
                ends.spm.eq(spm[0]), ends.spm_end.eq(spm[0] + instr.n0),
                ends.base.eq(region.base >> word), ends.size.eq(region.size >> word)]

        # compare
        checked = view_of(data.StructLayout({
            "valid": 1, "bad": 1, "dram": 1, "spm_range": 1, "final": 1, "index": INDEX_BITS,
            "words": _WIDTH["n0"], "spm": range(config.spm_words),
            "start": signed(66), "end": signed(66)}))
        with m.If(move):
            m.d.sync += [
                checked.valid.eq(ends.valid & ~stopped), checked.bad.eq(ends.bad),
                checked.dram.eq(ends.read_only | (ends.start < 0) | (ends.end > ends.size)),
                checked.spm_range.eq((ends.spm < 0) | (ends.spm_end > config.spm_words)),
                checked.final.eq(ends.final), checked.index.eq(ends.index),
                checked.words.eq(ends.words), checked.spm.eq(ends.spm),
                checked.start.eq(ends.base + ends.start), checked.end.eq(ends.base + ends.end)]

        # place in beats
        code = Signal(8)
        beyond = checked.end > (1 << (config.addr_bits - word))
        with m.If(checked.bad):
            m.d.comb += code.eq(Fault.BAD_FIELD)
        with m.Elif(checked.dram | beyond):
            m.d.comb += code.eq(Fault.DRAM_RANGE)
        with m.Elif(checked.spm_range):
            m.d.comb += code.eq(Fault.SPM_RANGE)
        lane = checked.start[:lanes.words_log2]
        with m.If(move):
            m.d.sync += [
                self.runs.valid.eq(checked.valid & ~stopped & (code == 0)),
                run.beat.eq((checked.start >> lanes.words_log2) << lanes.beats_log2),
                run.beats.eq(((lane + checked.words + (lanes.words - 1)) >> lanes.words_log2)
                             << lanes.beats_log2),
                run.tag.spm.eq(checked.spm), run.tag.final.eq(checked.final),
                run.tag.index.eq(checked.index), run.tag.first_lane.eq(lane),
                run.tag.last_lane.eq(lane + checked.words - 1)]
            with m.If(checked.valid & ~stopped & (code != 0)):
                m.d.sync += [self.fault.eq(1), self.fault_code.eq(code),
                             self.fault_index.eq(checked.index)]
        return m
