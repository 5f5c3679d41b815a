# SPDX-License-Identifier: Apache-2.0
"""The vector engine's lanes: accumulators of a whole window in, a word in the scratchpad out.

::

    accumulators ─► slices ─► lanes (PostLane) ─► word ─► landing ─► scratchpad

The lanes take a slice of ``vector_lanes`` accumulators a cycle, so a word takes
``L / vector_lanes``. They have no handshake inside: a word enters only when a place in the landing
buffer is kept for it.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import SpmWrite, SpmWriter, instruction_layout
from hw.post_lane import PostLane, arrivals
from isa.config import Config
from isa.instructions import Opcode, VectorOp


class VectorPost(wiring.Component):
    """Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(VECTOR's fields)
        Its constants; they stand still until ``idle``.
    have : In(1)
        There is a window; it stays until ``take``.
    acc, second, addr : In(array of signed(32)), In(word), In(range)
        The window's accumulators, the second operand of an addition, where the result goes.
    take : Out(1)
        The window's last slice enters.
    out : Out(SpmWrite(config))
    idle : Out(1)
        No word is under way.
    """

    instr: data.View
    have: Signal
    acc: data.View
    second: Signal
    addr: Signal
    take: Signal
    out: SpmWriter
    idle: Signal

    def __init__(self, config: Config):
        self._config = config
        self._slices = config.lanes // config.vector_lanes
        self._landing = PostLane.LATENCY // self._slices + 6
        super().__init__({
            "instr": In(instruction_layout(Opcode.VECTOR)), "have": In(1),
            "acc": In(data.ArrayLayout(signed(32), config.lanes)),
            "second": In(8 * config.lanes), "addr": In(range(config.spm_words)),
            "take": Out(1), "out": Out(SpmWrite(config)), "idle": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config, count, i = self._config, self._slices, self.instr
        width = config.vector_lanes
        slice_ = Signal(range(max(2, count)))
        room = Signal(range(self._landing + 1), init=self._landing)
        running = Signal()
        address_bits = len(self.addr)
        m.submodules.landing = landing = fifo.SyncFIFO(
            width=8 * config.lanes + address_bits, depth=self._landing)
        m.submodules.pending = pending = fifo.SyncFIFO(width=address_bits, depth=self._landing)
        m.d.comb += [running.eq(self.have & ((slice_ != 0) | (room != 0))),
                     self.take.eq(running & (slice_ == count - 1)),
                     pending.w_en.eq(running & (slice_ == 0)), pending.w_data.eq(self.addr)]
        with m.If(running):
            m.d.sync += slice_.eq(Mux(slice_ == count - 1, 0, slice_ + 1))
        values = []
        add = i.vop == VectorOp.ADD
        for k in range(width):
            m.submodules[f"lane{k}"] = lane = PostLane()
            at = [s * width + k for s in range(count)]
            byte = Array(self.second[8 * c:8 * c + 8] for c in at)[slice_]
            c = lane.constants
            m.d.comb += [
                lane.acc.eq(Array(self.acc[n] for n in at)[slice_]), lane.scale.eq(i.scale_a),
                lane.b.eq(Cat(byte, byte[7] & i.b_signed).as_signed() - i.b_zp),
                c.z1.eq(i.z), c.lo1.eq(i.lo), c.hi1.eq(i.hi), c.z2.eq(i.z), c.lo2.eq(i.lo),
                c.hi2.eq(i.hi), c.scale_a.eq(i.scale_a), c.scale_b.eq(i.scale_b), c.add.eq(add),
                c.direct.eq(add)]
            values.append(lane.out[:8])
        arrived = arrivals(m, running, add)
        word, position = Signal(8 * config.lanes, reset_less=True), Signal(range(max(2, count)))
        whole = Cat(*values) if count == 1 else Cat(word[8 * width:], *values)
        with m.If(arrived):
            m.d.sync += [word.eq(whole),
                         position.eq(Mux(position == count - 1, 0, position + 1))]
        finished = arrived & (position == count - 1)
        popped = self.out.valid & self.out.ready
        m.d.comb += [
            landing.w_data.eq(Cat(whole, pending.r_data)), landing.w_en.eq(finished),
            pending.r_en.eq(finished), Cat(self.out.data, self.out.addr).eq(landing.r_data),
            self.out.valid.eq(landing.r_rdy), landing.r_en.eq(self.out.ready)]
        m.d.sync += room.eq(room - (running & (slice_ == 0)) + popped)
        m.d.comb += self.idle.eq(~pending.r_rdy & ~landing.r_rdy & ~self.out.pending)
        return m
