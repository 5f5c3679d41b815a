# SPDX-License-Identifier: Apache-2.0
"""The window engine's reads: visits in, steps with their words out.

::

    visits ─► check ─┬─► read ports, one a group ─┐
                     ├─► what goes with them ─────┴─► join, once for each weight step ─► steps
                     └─► output addresses ─► outs

A word is read once for a visit and stays for its ``ng`` weight steps. A visit without taps is a
single step. The groups go in lockstep.
"""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.operand import type_shapes
from hw.arith.requantize import CODE
from hw.arith.sums import UNIT_BITS
from hw.engine.ports import SpmRead, SpmReader
from hw.parts.fifo import Fifo
from hw.scratchpad.read_port import ReadPort, lockstep
from hw.window.walk import mark_layout, visit_layout
from isa.config import Config
from isa.instructions import INDEX_BITS, WINDOW_KERNEL, WINDOW_STEPS


def setup_layout(config: Config) -> data.StructLayout:
    """What an instruction's steps and results have in common. ``index``: the instruction's
    position; ``slot``: that of an output's last
    taps in the last weight step of a kernel row; with floating point also the type, what is added
    to exponents, the exponent of a sum's lowest bit, and the bounds of the results."""
    floats = {**type_shapes(config), "unit": signed(UNIT_BITS), "lo_f": 16, "hi_f": 16}
    return data.StructLayout({
        "index": INDEX_BITS, "max": 1, "ng": 3, "slot": 2, "a_signed": 1, "a_zp": CODE, "z": CODE,
        "lo": CODE, "hi": CODE, **(floats if config.floats else {})})


def step_layout(config: Config) -> data.StructLayout:
    """``weight``: the weight step; ``g``: its position in the kernel row; the flags are those of
    :func:`hw.window.walk.mark_layout`, for the step in which they come to pass."""
    return data.StructLayout({
        "words": data.ArrayLayout(8 * config.word_bytes, config.tiles), "inside": config.tiles,
        "weight": range(WINDOW_STEPS), "g": range(WINDOW_KERNEL), "fresh": 1, "shift": 1,
        "emit": 1, "closes": 1, "setup": setup_layout(config)})


def out_layout(config: Config) -> data.StructLayout:
    """Where each group writes an output, if it does; ``final``: the instruction's last."""
    return data.StructLayout({
        "addr": data.ArrayLayout(range(config.spm_words), config.tiles), "write": config.tiles,
        "final": 1})


class WindowRead(wiring.Component):
    """Latency: that of a read port, from a visit to its first step. Throughput: a step a cycle.
    Stall: while ``steps`` is not ready the read ports' buffers and the queues beside them fill;
    then ``visits`` waits.

    Parameters
    ----------
    config : Config

    Members
    -------
    visits : In(stream of visit_layout)
    setups : In(stream of setup_layout)
        One for each instruction, no later than its visits.
    steps : Out(stream of step_layout)
    outs : Out(stream of out_layout)
        One for each step that emits, no later than it.
    port : Out(SpmRead).array(tiles)
    busy : Out(1)
    fault, fault_index : Out
        An address is outside the scratchpad.
    halt : In(1)
    """

    MARKS = 16
    OUTS = 16
    """More than there are outputs between a step and its landing, so that the place of an output is
    known before its word is there."""

    visits: stream.Interface
    setups: stream.Interface
    steps: stream.Interface
    outs: stream.Interface
    port: list[SpmReader]
    busy: Signal
    fault: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "visits": In(stream.Signature(visit_layout(config))),
            "setups": In(stream.Signature(setup_layout(config))),
            "steps": Out(stream.Signature(step_layout(config))),
            "outs": Out(stream.Signature(out_layout(config))),
            "port": Out(SpmRead(config)).array(config.tiles), "busy": Out(1),
            "fault": Out(1), "fault_index": Out(INDEX_BITS), "halt": In(1)})
        self._meta = data.StructLayout({"mark": mark_layout(), "inside": config.tiles})

    def elaborate(self, platform: object) -> Elaboratable:
        config, visit = self._config, self.visits.payload
        m = Module()
        bad, may = Signal(), Signal()
        m.d.comb += [
            bad.eq(self.visits.valid & visit.bad),
            may.eq(self.visits.valid & ~bad & ~self.halt & ~self.fault)]
        with m.If(bad & ~self.halt & ~self.fault):
            m.d.sync += [self.fault.eq(1), self.fault_index.eq(visit.index)]

        m.submodules.marks = marks = fifo.SyncFIFO(width=self._meta.size, depth=self.MARKS)
        m.submodules.outs = outs = Fifo(out_layout(config), self.OUTS)
        wiring.connect(m, outs.o, wiring.flipped(self.outs))
        m.d.comb += [marks.w_data.eq(Cat(visit.mark.as_value(), visit.inside)),
                     outs.i.payload.write.eq(visit.write),
                     outs.i.payload.final.eq(visit.mark.final),
                     *(outs.i.payload.addr[t].eq(visit.out[t]) for t in range(config.tiles))]
        targets: list[tuple[Value, Value, Value]] = [
            (Value.cast(1), marks.w_en, marks.w_rdy),
            (visit.mark.emit, outs.i.valid, outs.i.ready)]
        readers = []
        for t in range(config.tiles):
            m.submodules[f"reader{t}"] = reader = ReadPort(config, lockstep(config))
            wiring.connect(m, reader.port, wiring.flipped(self.port[t]))
            m.d.comb += reader.addr.payload.eq(visit.addr[t])
            targets.append((visit.inside[t], reader.addr.valid, reader.addr.ready))
            readers.append(reader)
        finished = []
        for k, (want, valid, ready) in enumerate(targets):
            issued = Signal(name=f"issued{k}")
            m.d.comb += valid.eq(may & want & ~issued)
            finished.append(issued | ~want | ready)
            m.d.sync += issued.eq(may & want & finished[-1] & ~self.visits.ready)
        m.d.comb += self.visits.ready.eq(may & Cat(*finished).all())
        self._join(m, marks, readers)
        return m

    def _join(self, m: Module, marks: fifo.SyncFIFO, readers: list[ReadPort]) -> None:
        out, setup = self.steps.payload, self.setups.payload
        head = data.View(self._meta, marks.r_data)
        mark = head.mark
        g, first, last = Signal(range(WINDOW_KERNEL)), Signal(), Signal()
        take, leave = self.steps.valid & self.steps.ready, Signal()
        arrived = [~head.inside[t] | reader.data.valid for t, reader in enumerate(readers)]
        m.d.comb += [
            self.busy.eq(marks.r_rdy), self.steps.valid.eq(marks.r_rdy & Cat(*arrived).all()),
            first.eq(mark.skip | (g == 0)), last.eq(mark.skip | (g == setup.ng - 1)),
            leave.eq(take & last), marks.r_en.eq(leave), self.setups.ready.eq(leave & mark.final),
            out.inside.eq(head.inside), out.weight.eq(mark.step + g),
            out.g.eq(Mux(mark.skip, setup.ng - 1, g)), out.fresh.eq(mark.fresh & first),
            *(out[f].eq(mark[f] & last) for f in ("shift", "emit", "closes")),
            out.setup.eq(setup)]
        with m.If(take):
            m.d.sync += g.eq(Mux(last, 0, g + 1))
        for t, reader in enumerate(readers):
            m.d.comb += [reader.data.ready.eq(leave & head.inside[t]),
                         out.words[t].eq(reader.data.payload)]
