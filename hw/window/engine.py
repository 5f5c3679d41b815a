# SPDX-License-Identifier: Apache-2.0
"""The window engine: depthwise convolutions and pools of one core, beside the tensor engine.

::

    instruction ─► check ─┬─► weights ─► weight stores, parameters (two banks) ─┐
                          └─► walk ─► read ─► steps ────────────────────────────┴─► groups
                                         └──► outs ─────────────┐                     │ sums
                               scratchpad ◄── landing ◄─────────┴─ requantizers ◄─────┘

There is a group of L lanes for each tile, and all go in lockstep. The loader of weights waits for
LOADs alone if the instruction says so (``w_ahead``), the walk for everything. Walk, steps and post
stage each have the constants that they need, so that instructions follow one another with a cycle
between.

A step enters when its words and its channel blocks' weights are there. The groups have no handshake
inside; they stand still as a whole while complete sums wait for the post stage.
"""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.float_lane import KIND
from hw.arith.operand import known
from hw.engine.dispatch import Dispatch, all_hold, heeds_ahead
from hw.engine.ports import (Engine, EnginePort, SpmRead, SpmReader, SpmWrite, SpmWriter,
                             instruction_layout, view_of)
from hw.engine.profile import events_layout
from hw.parts.clock_gate import clocked
from hw.parts.delay import register
from hw.parts.fifo import Fifo
from hw.window.fir import control_layout, stages
from hw.window.group import WindowGroup
from hw.window.post import WindowPost, clip_layout, legal_scales
from hw.window.read import WindowRead, setup_layout
from hw.window.walk import WindowWalk, reach_of
from hw.window.weights import WindowWeights
from isa.config import Config
from isa.instructions import WINDOW_KERNEL, WINDOW_STEPS, DType, Fault, Opcode, WindowOp
from isa.numerics import BF16_PRODUCT_UNIT, FP16_PRODUCT_UNIT


class WindowEngine(wiring.Component):
    """Throughput: a step a cycle; an instruction follows the one before it after a cycle. Stall: a
    step waits for its words and its weights in front of the groups, which stand still as a whole
    while complete sums wait for the post stage.

    Parameters
    ----------
    config : Config
        With a window engine.

    Members
    -------
    instr : In(stream of WINDOW)
        Waits not yet looked at.
    engine : Out(Engine())
    act : Out(SpmRead).array(tiles)
    weights : Out(SpmRead)
    out : Out(SpmWrite).array(tiles)
    ends : Out(tiles)
        The last word of an instruction leaves, for each port of ``out``.
    events : Out(events_layout("window"))
        What the groups do in a cycle; at most one bit is set, none in a step without taps.
    nan, infinite, overflow : Out
        With floating point: results of these kinds in this cycle.
    """

    SETUPS = 4
    """Instructions whose steps are under way."""

    instr: stream.Interface
    engine: EnginePort
    act: list[SpmReader]
    weights: SpmReader
    out: list[SpmWriter]
    ends: Signal
    events: data.View

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "instr": In(stream.Signature(instruction_layout(Opcode.WINDOW))),
            "engine": Out(Engine()), "act": Out(SpmRead(config)).array(config.tiles),
            "weights": Out(SpmRead(config)), "out": Out(SpmWrite(config)).array(config.tiles),
            "ends": Out(config.tiles), "events": Out(events_layout("window")),
            **({kind: Out(range(config.tiles * config.lanes + 1)) for kind, _ in KIND}
               if config.floats else {})})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        self._halted = Signal()
        m.submodules.loader = loader = WindowWeights(self._config)
        m.submodules.walk = walk = WindowWalk(self._config)
        m.submodules.read = read = WindowRead(self._config)
        m.submodules.post = post = WindowPost(self._config)
        m.submodules.setups = setups = Fifo(setup_layout(self._config), self.SETUPS)
        wiring.connect(m, loader.port, wiring.flipped(self.weights))
        wiring.connect(m, walk.visits, read.visits)
        wiring.connect(m, setups.o, read.setups)
        wiring.connect(m, read.outs, post.outs)
        for mine, theirs in ((self.act, read.port), (self.out, post.out)):
            for outer, inner in zip(mine, theirs, strict=True):
                wiring.connect(m, inner, wiring.flipped(outer))
        dispatch = self._dispatch(m, loader, walk, setups)
        scales = self._groups(m, platform, loader, walk, read, post)

        under_way = Signal(range(2 * WindowRead.OUTS))
        m.d.sync += under_way.eq(under_way + self.engine.start - post.done)
        m.d.comb += [self.engine.start.eq(walk.instr.valid & walk.instr.ready),
                     self.engine.done.eq(post.done), self.ends.eq(post.ends),
                     self.engine.busy.eq((under_way != 0) | dispatch.holds),
                     read.halt.eq(self._halted)]
        m.d.sync += self._halted.eq(self.engine.halt | self.engine.fault)
        for kind, _ in KIND if self._config.floats else ():
            m.d.comb += getattr(self, kind).eq(getattr(post, kind))
        causes = ((dispatch.illegal, Fault.BAD_FIELD, dispatch.i.index),
                  (loader.fault, Fault.SPM_RANGE, loader.fault_index),
                  (read.fault, Fault.SPM_RANGE, read.fault_index),
                  (scales, Fault.BAD_FIELD, read.steps.payload.setup.index))
        with m.If(~self.engine.fault):
            for condition, code, position in causes:
                with m.If(condition):
                    m.d.sync += [self.engine.fault.eq(1), self.engine.fault_code.eq(code),
                                 self.engine.fault_index.eq(position)]
        return m

    def _dispatch(self, m: Module, loader: WindowWeights, walk: WindowWalk,
                  setups: Fifo) -> Dispatch:
        """Check an instruction, then hand it to loader and walk, each in its time."""
        m.submodules.dispatch = dispatch = Dispatch(
            Opcode.WINDOW, 2)
        i, taps = dispatch.i, self._config.window_taps
        wiring.connect(m, wiring.flipped(self.instr), dispatch.instr)
        reach = register(m, "reach", reach_of(i))
        m.d.comb += [
            dispatch.completed.eq(self.engine.completed), dispatch.halt.eq(self._halted),
            dispatch.legal.eq(self._legal(m, i, reach)),
            dispatch.may.eq(Cat(1, setups.i.ready)),
            dispatch.heeds[0].eq(heeds_ahead(i)), dispatch.heeds[1].eq(-1),
            self.engine.blocked.eq(dispatch.waits)]
        parts: tuple[WindowWeights | WindowWalk, ...] = (loader, walk)
        for k, part in enumerate(parts):
            m.d.comb += [part.instr.payload.eq(i), part.halt.eq(self._halted),
                         part.instr.valid.eq(dispatch.valid[k]),
                         dispatch.ready[k].eq(part.instr.ready)]
        setup = setups.i.payload
        m.d.comb += [
            setups.i.valid.eq(walk.instr.valid & walk.instr.ready),
            setup.max.eq(i.wop == WindowOp.MAX),
            setup.slot.eq(Array(k % taps for k in range(WINDOW_KERNEL))[reach]),
            *(setup[f].eq(i[f]) for f in ("index", "ng", "a_signed", "a_zp", "z", "lo", "hi")),
            *(setup[f].eq(v) for f, v in self._types(i).items() if f in setup.shape().members)]
        return dispatch

    def _types(self, i: data.View) -> dict[str, Value]:
        """What an instruction on floats sets up, as far as the machine has it."""
        brain = i.dtype == DType.BF16
        return {"dtype": i.dtype, "base": Mux(brain, BF16_PRODUCT_UNIT - i.anchor, 0),
                "unit": Mux(brain, i.anchor, FP16_PRODUCT_UNIT), "lo_f": i.lo_f, "hi_f": i.hi_f}

    def _legal(self, m: Module, i: data.View, reach: Signal) -> Value:
        """The rules of :mod:`golden.window`, a cycle before CHECK_CYCLES."""
        tiles, taps = self._config.tiles, self._config.window_taps
        counts = (i.nx, i.ny, i.nnb, i.ns, i.nr, i.stride, i.ng, i.m_last, i.n_last)
        split, columns = Signal(range(2 * tiles)), Signal(range(tiles + 1))
        m.d.comb += [split.eq(1 << i.m_split), columns.eq(tiles >> i.m_split)]

        def on_circle(size: Value, *rows: Value) -> Value:
            return (size == 0) | Cat(*((r >= 0) & (r < size) for r in rows)).all()

        steps = register(m, "steps_of_kernel", i.stride * i.nr * i.ng)
        return all_hold(m, [
            *(c != 0 for c in counts), steps <= WINDOW_STEPS,
            i.ng == Array(k // taps + 1 for k in range(WINDOW_KERNEL))[reach],
            i.m_split < tiles.bit_length(), i.m_last <= split, i.n_last <= columns,
            i.dtype != DType.FP32, known(self._config, i.dtype),
            on_circle(i.a_wrap, i.a_row, i.a_y, i.a_r, i.a_m),
            on_circle(i.o_wrap, i.o_row, i.o_y, i.o_m)])

    def _groups(self, m: Module, platform: object, loader: WindowWeights, walk: WindowWalk,
                read: WindowRead, post: WindowPost) -> Value:
        """The groups, what may enter them when, and the two banks of weights and parameters.
        Returns whether a step wants parameters with an illegal scale."""
        config, tiles = self._config, self._config.tiles
        word, step = loader.words.payload, read.steps.payload
        fill, work, oldest = Signal(), Signal(), Signal()
        # a bank is loaded until its last step, and full until its last sum has its parameters
        loaded, full, bad = Signal(2), Signal(2), Signal(2)
        go, load, weights_ok, under_way = Signal(), Signal(), Signal(), Signal()
        held_up = Cat(port.valid & ~port.ready for port in self.out).any()
        steps = [view_of(data.StructLayout({
            "valid": 1, "emit": 1, "closes": 1, "clip": clip_layout(config)}), name=f"stage{k}")
            for k in range(stages(config))]
        controls = [view_of(control_layout(config), name=f"control{k}", reset_less=True)
                    for k in range(stages(config))]
        fire = read.steps.valid & weights_ok & ~self.engine.halt
        m.d.comb += [
            weights_ok.eq((loaded & ~bad).bit_select(work, 1)),
            loader.words.ready.eq(~full.bit_select(fill, 1)),
            load.eq(loader.words.valid & loader.words.ready),
            go.eq(~(steps[-1].valid & steps[-1].emit) | post.ready),
            read.steps.ready.eq(weights_ok & go & ~self.engine.halt),
            steps[0].valid.eq(fire), steps[0].emit.eq(step.emit),
            steps[0].closes.eq(step.closes),
            *(part[f].eq(step[f] if f in ("g", "fresh", "shift") else step.setup[f])
              for part in (controls[0], steps[0].clip) for f, _ in part.shape()),
            self.events.active.eq(fire & go & step.inside.any()),
            under_way.eq(walk.busy | read.busy),
            self.events.wait_data.eq(under_way & ~read.steps.valid),
            self.events.wait_weights.eq(read.steps.valid & ~weights_ok),
            self.events.wait_out.eq(Mux(under_way, fire & ~go, held_up))]
        place = clocked(m, platform, "groups", lasts=1,
                        wants=load | Cat(stage.valid for stage in steps).any())
        stages_of_control = Module()
        m.submodules.controls = place(stages_of_control)
        with m.If(go):
            m.d.sync += [late.eq(early) for early, late in zip(steps, steps[1:], strict=False)]
        with stages_of_control.If(go):
            stages_of_control.d.sync += [
                late.eq(early) for early, late in zip(controls, controls[1:], strict=False)]
        with m.If(load & word.params & ~legal_scales(word)):
            m.d.sync += bad.bit_select(fill, 1).eq(1)
        with m.If(load & word.last):
            m.d.sync += [fill.eq(~fill), loaded.bit_select(fill, 1).eq(1),
                         full.bit_select(fill, 1).eq(1)]
        with m.If(fire & go & step.closes):
            m.d.sync += [work.eq(~work), loaded.bit_select(work, 1).eq(0)]
        with m.If(post.release):
            m.d.sync += [oldest.eq(~oldest), full.bit_select(oldest, 1).eq(0)]

        late = steps[-1]
        m.d.comb += [
            post.bank.eq(fill), post.slot.eq(word.slot), post.raw.eq(word.raw),
            post.valid.eq(late.valid & late.emit), post.closes.eq(late.closes),
            post.clip.eq(late.clip)]
        for t in range(tiles):
            group = WindowGroup(config)
            m.submodules[f"group{t}"] = place(group)
            mine = Signal(name=f"mine{t}")
            column = Array(t % (tiles >> c) for c in range(tiles.bit_length()))[word.m_split]
            m.d.comb += [
                mine.eq(load & (column == word.column)), group.load.eq(mine & ~word.params),
                group.load_step.eq(Cat(word.step, fill)), group.slot.eq(word.slot),
                group.weights.eq(word.weights), post.load[t].eq(mine & word.params),
                group.go.eq(go), group.word.eq(step.words[t]), group.inside.eq(step.inside[t]),
                group.a_signed.eq(step.setup.a_signed), group.a_zp.eq(step.setup.a_zp),
                group.step.eq(Cat(step.weight, work)),
                *(theirs.eq(c) for theirs, c in zip(group.controls, controls, strict=True)),
                group.valid.eq(late.valid),
                post.sums[t].eq(group.sums)]
        return read.steps.valid & (loaded & bad).bit_select(work, 1)
