# SPDX-License-Identifier: Apache-2.0
"""What a core is told of its job: that the regions lie in the lease's window is checked first, then
they and the other settings go to the registers that a host of a single machine uses, and last its
doorbell."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.chip.lite import PENDING, access_layout
from isa.chip import ChipConfig
from isa.instructions import Region
from isa.jobs import REGION_WORDS, START_BITS, TOGETHER, WORDS, JobWord
from isa.registers import MASK, OFFSET

ENABLE = MASK["CONTROL.IRQ_ENABLE"]
ALIGN_BITS = 5
"""Regions of jobs come in units of :data:`isa.instructions.REGION_ALIGN` bytes."""

REGION_WRITES = 4 * len(Region)
"""Writes to a core's region registers."""

SETTINGS = ((JobWord.WATCHDOG, "WATCHDOG"), (JobWord.START, "PROGRAM"))
"""Words of a job that are settings of a core, and their registers."""

WRITES = REGION_WRITES + len(SETTINGS) + 2
"""With those that enable its interrupt and ring its doorbell."""

assert WRITES > PENDING, "a doorbell follows when what was written before the others has been done"


class Launch(wiring.Component):
    """Latency: a cycle for each of the job's words that describe regions, one for each write, and
    those in which a write is not taken.

    Parameters
    ----------
    chip : ChipConfig

    Members
    -------
    run : 1
        There is a job for the core, until ``done`` or ``refused``.
    core : range(cores)
    window_base, window_size : 64
        Of the lease.
    word_at, word : range(WORDS), 32
        A word of the job, in the same cycle.
    access : stream of ``access_layout(cores)``
        Writes to the core.
    done : 1
        All have been taken.
    refused : 1
        A region ends outside the window; nothing has been written.
    tag : 64
        The job's, with ``done``.
    together : 1
        Whether it has the core read instructions with its set, before the doorbell is offered.
    """

    run: Signal
    core: Signal
    window_base: Signal
    window_size: Signal
    word_at: Signal
    word: Signal
    access: stream.Interface
    done: Signal
    refused: Signal
    tag: Signal
    together: Signal

    def __init__(self, chip: ChipConfig):
        super().__init__({
            "run": In(1), "core": In(range(chip.cores)), "window_base": In(64),
            "window_size": In(64), "word_at": Out(range(WORDS)), "word": In(32),
            "access": Out(stream.Signature(access_layout(chip.cores))), "done": Out(1),
            "refused": Out(1), "tag": Out(64), "together": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        step, start = Signal(range(WRITES + 3)), Signal(32)
        goes = Signal()
        m.d.comb += [goes.eq(~self.access.valid | self.access.ready),
                     self.access.payload.core.eq(self.core), self.access.payload.write.eq(1)]
        with m.FSM():
            with m.State("CHECK"):
                m.d.comb += self.word_at.eq(JobWord.REGIONS + step)
                with m.If(self.run):
                    m.d.sync += [step.eq(step + 1), start.eq(self.word)]
                    with m.If(step[0] & (start + self.word > self.window_size >> ALIGN_BITS)):
                        m.d.comb += self.refused.eq(1)
                        m.d.sync += step.eq(0)
                    with m.Elif(step == REGION_WORDS - 1):
                        m.d.sync += step.eq(0)
                        m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(goes):
                    m.d.sync += [self.access.valid.eq(step < WRITES), step.eq(step + 1)]
                    self._step(m, step)
                    with m.If(step == WRITES + 2):
                        m.d.comb += self.done.eq(1)
                        m.d.sync += step.eq(0)
                        m.next = "CHECK"
        return m

    def _step(self, m: Module, step: Signal) -> None:
        """The next write, from a word of the job; behind the last one the tag."""
        offset, data = self.access.payload.offset, self.access.payload.data
        high, size, address = step[0], step[1], Signal(64)
        m.d.comb += [self.word_at.eq(JobWord.REGIONS + step[1:4]),
                     address.eq((self.word << ALIGN_BITS) + Mux(size, 0, self.window_base))]
        m.d.sync += [data.eq(Mux(high, address[32:], address[:32])),
                     offset.eq(OFFSET["REGION0_BASE"] + (step[:4] << 2))]
        for k, (word, name) in enumerate(SETTINGS, start=REGION_WRITES):
            with m.If(step == k):
                m.d.comb += self.word_at.eq(word)
                m.d.sync += [data.eq(self.word), offset.eq(OFFSET[name])]
                if word == JobWord.START:
                    m.d.sync += [data.eq(self.word & (-1 << START_BITS)),
                                 self.together.eq((self.word & TOGETHER).any())]
        for k, (name, value) in enumerate((("CONTROL", ENABLE), ("DOORBELL", 1)), WRITES - 2):
            with m.If(step == k):
                m.d.sync += [data.eq(value), offset.eq(OFFSET[name])]
        for k in range(2):
            with m.If(step == WRITES + k):
                m.d.comb += self.word_at.eq(JobWord.TAG + k)
                m.d.sync += self.tag[32 * k:32 * k + 32].eq(self.word)
