# SPDX-License-Identifier: Apache-2.0
"""The tensor engine: feeder, weight loader, tiles, accumulators and drain of one core.

::

    instruction ─► check ─┬─► weight loader ─► shadow weights ─┐
                          ├─► feeder ─────────────────────────┴─► tiles ─► accumulators ─┐
                          └─► drain ◄────────────────────────────────────────────────────┘
                                └─► post-processors ─► scratchpad

The three walkers each hold an instruction of their own, so that the weights of the next one are
loaded and its vectors fed while this one drains. The loader waits for LOADs alone if the
instruction says so (``w_ahead``), the feeder for everything; the drain follows the feeder through
the full PSUM banks.

The array has no handshake inside. A vector enters (``fire``) only when its weights are in the
shadow set, if it is the first of a pass, and a PSUM bank is free, if it is the first of a block.
"""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import KIND
from hw.arith.operand import field, known
from hw.arith.normal import is_factor, is_scale
from hw.engine.dispatch import CHECK_CYCLES, Dispatch, all_hold, heeds_ahead
from hw.engine.ports import (Engine, EnginePort, SpmRead, SpmReader, SpmWrite, SpmWriter,
                             instruction_layout, view_of)
from hw.engine.profile import events_layout
from hw.parts.clock_gate import clocked
from hw.parts.delay import register
from hw.tensor.accumulator import Accumulator, add_layout
from hw.tensor.drain import Drain, all_integer
from hw.tensor.feeder import Feeder, ports_per_stream
from hw.tensor.tile import Tile
from hw.tensor.weights import WeightLoader
from isa.config import REDUCTION, Config
from isa.instructions import DType, Fault, Opcode


class TensorEngine(wiring.Component):
    """Throughput: a vector of each pixel stream a cycle, while activations, weights and a PSUM bank
    are there. Stall: a vector waits for its weights and its bank in front of the tiles, an entry
    for a landing place in front of the post-processors; neither has a stall inside. Three
    instructions are under way at most: one each in the loader, the feeder and the drain.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of TENSOR)
        Waits not yet looked at.
    engine : Out(Engine())
    begin : In(1)
        Strobe: another program begins; no PSUM bank is held for it.
    act, weights, residual : Out(SpmRead).array
        ``tiles * ports_per_stream``, ``weight_words`` and ``tiles`` ports.
    out : Out(SpmWrite).array(tiles)
    nan, infinite, overflow : Out
        Results of these kinds in this cycle.
    events : Out(events_layout("tensor"))
        What the array does in a cycle; at most one bit is set.
    """

    instr: stream.Interface
    engine: EnginePort
    begin: Signal
    act: list[SpmReader]
    weights: list[SpmReader]
    residual: list[SpmReader]
    out: list[SpmWriter]
    nan: Signal
    infinite: Signal
    overflow: Signal
    events: data.View

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.TENSOR))),
            "engine": Out(Engine()), "begin": In(1),
            "act": Out(SpmRead(config)).array(config.tiles * ports_per_stream(config)),
            "weights": Out(SpmRead(config)).array(config.weight_words),
            "residual": Out(SpmRead(config)).array(config.tiles),
            "out": Out(SpmWrite(config)).array(config.tiles),
            **{kind: Out(range(config.tiles * config.ppu_lanes + 1)) for kind, _ in KIND},
            "events": Out(events_layout("tensor"))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.feeder = feeder = Feeder(self._config)
        m.submodules.loader = loader = WeightLoader(self._config)
        m.submodules.drain = drain = Drain(self._config)
        for mine, theirs in ((self.act, feeder.port), (self.weights, loader.port),
                             (self.residual, drain.residual), (self.out, drain.out)):
            for outer, inner in zip(mine, theirs, strict=True):
                wiring.connect(m, inner, wiring.flipped(outer))
        m.d.comb += [getattr(self, kind).eq(getattr(drain, kind)) for kind, _ in KIND]
        dispatch = self._dispatch(m, feeder, loader, drain)
        self._array(m, platform, feeder, loader, drain)
        self._report(m, feeder, loader, drain, dispatch)
        return m

    def _dispatch(self, m: Module, feeder: Feeder, loader: WeightLoader,
                  drain: Drain) -> Dispatch:
        """Check an instruction, then hand it to the three walkers, each in its time."""
        # the product that counts passes takes a cycle more
        m.submodules.dispatch = dispatch = Dispatch(
            Opcode.TENSOR, 3, CHECK_CYCLES + bool(self._config.floats))
        i, passing = dispatch.i, dispatch.passing
        wiring.connect(m, wiring.flipped(self.instr), dispatch.instr)
        held, sums = Signal(), Cat(i[f] for f in ("nx_last", "ny_last", "m_split", "m_last",
                                                  "n_last"))
        held_sums = Signal.like(sums)
        same = held & (held_sums == sums)
        with m.If(passing):
            m.d.sync += [held.eq(i.hold), held_sums.eq(sums)]
        with m.If(self.begin):
            m.d.sync += held.eq(0)
        halt = Signal()
        m.d.sync += halt.eq(self.engine.halt | self.engine.fault)
        alike, too_long = self._same_sums(m, i, passing)
        m.d.comb += [
            dispatch.completed.eq(self.engine.completed), dispatch.halt.eq(halt),
            dispatch.legal.eq(self._legal(m, i, same & alike, too_long)),
            dispatch.may.eq(-1),
            *(mine.eq(heeds) for mine, heeds in zip(dispatch.heeds, (heeds_ahead(i), -1, 0))),
            self.engine.blocked.eq(dispatch.waits)]
        walkers: tuple[WeightLoader | Feeder | Drain, ...] = (loader, feeder, drain)
        for k, walker in enumerate(walkers):
            m.d.comb += [walker.instr.payload.eq(i), walker.halt.eq(halt),
                         walker.instr.valid.eq(dispatch.valid[k]),
                         dispatch.ready[k].eq(walker.instr.ready)]
        return dispatch

    def _legal(self, m: Module, i: data.View, held: Value, too_long: Value) -> Value:
        """The rules of :meth:`golden.tensor.Tensor._check`, a cycle before the verdict. ``held``:
        the instruction before holds a bank that this one may add to."""
        config = self._config
        counts = (i.nx, i.ny, i.ncb, i.ns, i.nr, i.nnb, i.ntx, i.nty, i.nx_last, i.ny_last,
                  i.m_last, i.n_last)
        split = Signal(range(config.tiles + 1))
        columns = Signal(range(config.tiles + 1))
        m.d.comb += [split.eq(1 << i.m_split), columns.eq(config.tiles >> i.m_split)]
        pixels = register(m, "pixels", i.nx * i.ny)
        single = (i.nnb == 1) & (i.ntx == 1) & (i.nty == 1)

        def on_circle(size: Value, *rows: Value) -> Value:
            return (size == 0) | Cat(*((r >= 0) & (r < size) for r in rows)).all()

        rules = [
            *(c != 0 for c in counts), pixels <= config.psum_depth, i.nx_last <= i.nx,
            i.ny_last <= i.ny, i.m_split < config.tiles.bit_length(), i.m_last <= split,
            i.n_last <= columns, i.w_base & (config.weight_words - 1) == 0,
            ~(i.hold | i.acc) | single, ~i.acc | held,
            on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m),
            on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m),
            ~i.residual | on_circle(i.r_wrap, i.r_row, i.o_y, i.o_m),
            ~i.residual | Mux(all_integer(i), is_scale(i.scale_a) & is_scale(i.scale_r),
                              is_factor(i.scale_r)),
            known(config, i.dtype), i.dtype != DType.FP32, known(config, i.o_type),
            known(config, i.r_type), ~i.residual | (i.r_type == DType.INT8)
            | ((i.o_type != DType.INT8) & ((i.r_type != DType.FP32) | (i.o_type == DType.FP32))),
            (i.w_skip >> Array((0, 1, 1, 2))[i.o_type]) == 0,
            (i.w_type == 0) | ((i.w_type == 1) & (i.dtype != DType.INT8)),
            ~i.lane_dx[1] | ((i.dtype != DType.INT8) & ~i.lane_dx[0]),
            (i.dtype == DType.INT8) | ~too_long]
        return all_hold(m, rules)

    def _same_sums(self, m: Module, i: data.View, passing: Signal) -> tuple[Value, Value]:
        """Whether a held bank is of the instruction's type and anchor, and whether the sums of
        both are longer than ``REDUCTION``."""
        if not self._config.floats:
            return Const(1), Const(0)
        dtype, anchor = Signal.like(i.dtype), Signal.like(i.anchor)
        most = 2 * REDUCTION // self._config.lanes
        before, passes = Signal(range(most + 1)), Signal(len(i.nr) + len(i.ns) + len(i.ncb) + 1)
        kernel = register(m, "kernel", i.nr * i.ns)
        m.d.comb += passes.eq(register(m, "reduced", kernel * i.ncb) + Mux(i.acc, before, 0))
        with m.If(passing):
            m.d.sync += [dtype.eq(i.dtype), anchor.eq(i.anchor), before.eq(passes)]
        return (dtype == i.dtype) & (anchor == i.anchor), passes > most

    def _array(self, m: Module, platform: object, feeder: Feeder, loader: WeightLoader,
               drain: Drain) -> None:
        """Tiles and accumulators, and what may enter them when."""
        config = self._config
        vector, beat = feeder.vectors.payload, loader.beats.payload
        shadow_full, bank, busy, held = Signal(), Signal(), Signal(2), Signal()
        fire, weights_there, bank_free = Signal(), Signal(), Signal(init=1)
        weights_ok, psum_ok = ~vector.swap | weights_there, ~vector.opens | bank_free
        held_up = Cat(port.valid & ~port.ready for port in self.out).any()
        m.d.comb += [
            fire.eq(feeder.vectors.valid & weights_ok & psum_ok),
            feeder.vectors.ready.eq(weights_ok & psum_ok),
            self.events.active.eq(fire),
            self.events.wait_weights.eq(feeder.vectors.valid & ~weights_ok),
            self.events.wait_out.eq(Mux(feeder.busy, feeder.vectors.valid & weights_ok & ~psum_ok,
                                        held_up)),
            self.events.wait_data.eq(feeder.busy & ~feeder.vectors.valid)]

        swap = fire & vector.swap
        load, last = Signal(), Signal()
        m.d.comb += [
            loader.beats.ready.eq(Mux(beat.params, drain.params.ready, ~shadow_full)
                                  | (fire & (vector.swap & ~beat.params))),
            drain.params.valid.eq(loader.beats.valid & beat.params),
            drain.params.payload.eq(beat),
            load.eq(loader.beats.valid & ~beat.params & (~shadow_full | swap)),
            last.eq(loader.beats.valid & ~beat.params & beat.last)]
        filled = Mux(swap, last, shadow_full | last)
        # the last of two pixels is revisited two cycles after the next pass has begun, the last of
        # three three cycles after, so the pass has to wait for their sums; a single one waits for
        # its weights anyway
        second, third, again = fire & (vector.index == 1), fire & (vector.index == 2), Signal()
        m.d.sync += [shadow_full.eq(filled), again.eq(second),
                     weights_there.eq(filled & ~(second | third | again))]

        add = view_of(add_layout(config))
        m.d.comb += [add.valid.eq(fire), add.bank.eq(bank), add.index.eq(vector.index),
                     add.overwrite.eq(vector.overwrite)]
        released = Cat(drain.release & (drain.release_bank == b) for b in range(2))
        taken = Signal(2)
        m.d.comb += taken.eq(busy & ~released)
        this, other = taken.bit_select(bank, 1), taken.bit_select(~bank, 1)
        m.d.sync += [
            busy.eq(taken | Mux(fire & vector.opens, 1 << bank, 0)),
            # whether the next block may open the bank that is its turn then
            bank_free.eq(Mux(fire, Mux(vector.closes, ~other,
                                       ~(this | vector.opens) | held | vector.keeps),
                             ~this | held))]
        with m.If(fire & vector.keeps):
            m.d.sync += held.eq(1)
        with m.If(fire & vector.closes):
            m.d.sync += [bank.eq(~bank), held.eq(0)]

        tiles = [Tile(config) for _ in range(config.tiles)]
        # the accumulator wants the address ahead of the sums
        closing = view_of(data.StructLayout({"valid": 1, "bank": 1}))
        m.d.comb += [closing.valid.eq(fire & vector.closes), closing.bank.eq(bank)]
        for k in range(tiles[0].latency - Accumulator.LEAD):
            late = view_of(add.shape(), name=f"add{k}")
            m.d.sync += late.eq(add)
            add = late
        for k in range(tiles[0].latency - Accumulator.LEAD + Accumulator.LATENCY):
            late = view_of(closing.shape(), name=f"closing{k}")
            m.d.sync += late.eq(closing)
            closing = late
        full = Signal(2)
        for b in range(2):
            with m.If(released[b]):
                m.d.sync += full[b].eq(0)
            with m.If(closing.valid & (closing.bank == b)):
                m.d.sync += full[b].eq(1)
        m.d.comb += [drain.full.eq(full), drain.kept.eq(fire & vector.keeps)]

        choices = range(config.tiles.bit_length())
        array = clocked(m, platform, "array", wants=fire | load, lasts=tiles[0].latency)
        for t, tile in enumerate(tiles):
            accumulator = Accumulator(config)
            m.submodules[f"tile{t}"] = array(tile)
            m.submodules[f"accumulator{t}"] = accumulator
            stream_of = Array(vector.streams[t // (config.tiles >> c)] for c in choices)
            column = Array(t % (config.tiles >> c) for c in choices)
            m.d.comb += [
                tile.vector.eq(stream_of[vector.m_split]), tile.swap.eq(swap),
                tile.floating.eq(field(vector, "dtype") != DType.INT8),
                tile.load.eq(load & (column[beat.m_split] == beat.tile)),
                tile.beat.eq(beat.beat), tile.weights.eq(beat.weights),
                accumulator.add.eq(add), accumulator.sums.eq(tile.sums),
                accumulator.drain_en.eq(drain.psum_en),
                accumulator.drain_bank.eq(drain.psum_bank),
                accumulator.drain_index.eq(drain.psum_index),
                drain.entries[t].eq(accumulator.drained)]

    def _report(self, m: Module, feeder: Feeder, loader: WeightLoader, drain: Drain,
                dispatch: Dispatch) -> None:
        """Completion and faults."""
        under_way = Signal(range(4))
        m.d.sync += under_way.eq(under_way + self.engine.start - drain.done)
        m.d.comb += [self.engine.start.eq(feeder.instr.valid & feeder.instr.ready),
                     self.engine.done.eq(drain.done),
                     self.engine.busy.eq((under_way != 0) | dispatch.holds)]
        for walker, code in ((feeder, Fault.SPM_RANGE), (loader, Fault.SPM_RANGE),
                             (drain, drain.fault_code)):
            with m.If(walker.fault & ~self.engine.fault):
                m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(code),
                             self.engine.fault_index.eq(walker.fault_index)]
        with m.If(dispatch.illegal & ~self.engine.fault):
            m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(Fault.BAD_FIELD),
                         self.engine.fault_index.eq(dispatch.i.index)]
