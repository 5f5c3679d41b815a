# SPDX-License-Identifier: Apache-2.0
"""What the LOAD and STORE engines share: how words lie in bus beats, and how an engine reports."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.engine.ports import Engine, EnginePort
from hw.memory.axi import Resp
from hw.parts.delay import cut
from isa.config import Config
from isa.instructions import INDEX_BITS, Fault


class Lanes:
    """How words lie in beats: ``words`` of them in a beat when the bus is wider than a word (then
    ``beats`` is 1), or one word in ``beats`` beats. One of the two numbers is 1."""

    def __init__(self, config: Config):
        self.words = max(1, config.bus_bytes // config.word_bytes)
        self.beats = max(1, config.word_bytes // config.bus_bytes)
        self.words_log2 = exact_log2(self.words)
        self.beats_log2 = exact_log2(self.beats)

    @property
    def lane(self) -> range:
        """Shape of a lane's number; one bit where there is only one lane."""
        return range(max(2, self.words))

    @property
    def part(self) -> range:
        """Shape of a beat's number in its word; one bit where there is only one."""
        return range(max(2, self.beats))


def tag_layout(config: Config) -> data.StructLayout:
    """What travels with a run: ``spm``, scratchpad address of its first word; ``first_lane`` and
    ``last_lane``, places of its first and last word in their beats; ``final``, the last run of its
    instruction; ``index`` and ``group`` of that instruction."""
    lane = Lanes(config).lane
    return data.StructLayout({"spm": range(config.spm_words), "first_lane": lane,
                              "last_lane": lane, "final": 1, "index": INDEX_BITS, "group": 1})


class Status(wiring.Component):
    """Collects an engine's faults, counts its instructions under way, and says when to stop.

    Members
    -------
    engine : :class:`hw.engine.ports.Engine`
        Connected to the engine's own.
    start, done : 1
        Strobes: an instruction was taken, one was completed.
    bad, bad_code, bad_index
        A fault of the address generator, staying once raised.
    response, resp, index
        Strobe: a response with AXI code ``resp`` came for instruction ``index``.
    together : 1
        The response is to a read of a gang.
    breach : 1
        Strobe, with ``resp`` and ``index``: what came is not what AXI has come.
    error : 1
        The response is an error, in the same cycle.
    halted : 1
        Something failed, here or elsewhere, in a cycle before; stays until reset.
    """

    UNDER_WAY_BITS = 16

    engine: EnginePort
    start: Signal
    done: Signal
    bad: Signal
    bad_code: Signal
    bad_index: Signal
    response: Signal
    resp: Signal
    index: Signal
    together: Signal
    breach: Signal
    error: Signal
    halted: Signal

    def __init__(self) -> None:
        super().__init__({
            "engine": Out(Engine()), "start": In(1), "done": In(1),
            "bad": In(1), "bad_code": In(8), "bad_index": In(INDEX_BITS),
            "response": In(1), "resp": In(2), "index": In(INDEX_BITS), "together": In(1),
            "breach": In(1), "error": Out(1), "halted": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        engine = self.engine
        failed, code, index = Signal(), Signal(8), Signal(INDEX_BITS)
        under_way = Signal(self.UNDER_WAY_BITS)
        m.d.comb += self.error.eq(self.response & (self.resp >= Resp.SLVERR))
        erred, breached, apart = Signal(), Signal(), Signal()
        odd = self.response & (self.resp == Resp.EXOKAY)
        m.d.sync += [erred.eq(self.error), breached.eq(self.breach | odd),
                     apart.eq(odd & self.together & ~self.breach)]
        decode, at = cut(m, "erred", self.resp == Resp.DECERR, self.index)
        with m.If((erred | breached) & ~engine.fault):
            m.d.sync += [failed.eq(1), index.eq(at),
                         code.eq(Mux(apart, Fault.GROUP, Fault.AXI_PROTOCOL))]
            with m.If(erred):
                m.d.sync += code.eq(Mux(decode, Fault.AXI_DECERR, Fault.AXI_SLVERR))
        started, ended = Signal(), Signal()
        m.d.sync += [started.eq(self.start), ended.eq(self.done),
                     under_way.eq(under_way + started - ended)]
        m.d.comb += [
            engine.fault.eq(failed | self.bad),
            engine.fault_code.eq(Mux(failed, code, self.bad_code)),
            engine.fault_index.eq(Mux(failed, index, self.bad_index)),
            engine.busy.eq(started | (under_way != ended)), engine.start.eq(self.start),
            engine.done.eq(self.done),
        ]
        # a STORE that halts finishes the bursts it owes, and cannot go back in the middle of one
        m.d.sync += self.halted.eq(self.halted | engine.halt | engine.fault | self.error)
        return m
