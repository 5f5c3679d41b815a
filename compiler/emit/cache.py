# SPDX-License-Identifier: Apache-2.0
"""Words that go into a state by DMA: tokens of a cache (:mod:`compiler.rewrite.caches`)."""

from compiler.emit.schedule import Schedule
from compiler.ir.graph import Place
from compiler.machine.place import View
from compiler.machine.steps import Extent
from isa.instructions import Opcode


def emit_place(s: Schedule, op: Place) -> None:
    """Append the instructions.

    Raises
    ------
    CompileError
        If there is no room for the words.
    """
    if op.x not in s.graph.states:
        s.bring(op.x)
    view, at = s.resident(op.x), None
    while view is None:
        at = s.spm.rotating(op.blocks * op.pixels)
        if at is None:
            s.make_room(op.node, op.y, [op.x])
        else:
            view = _fetched(s, op, at)
    home, y = s.dram.homes[op.y], s.dram.layout(op.y)
    before = len(s.steps)
    offset = op.block * y.block + op.pixel
    s.dma(Opcode.STORE, home.region, home.offset + offset * s.lanes, view.base,
          [(1, 1, 1), (op.pixels, 1, 1), (op.blocks, y.block, view.block)])
    if op.varying:
        for step in s.steps[before:]:
            step.varying, step.writes = op.varying, [_whole(s, op)]
    if at is not None:
        s.spm.release(at)


def _fetched(s: Schedule, op: Place, at: int) -> View:
    """LOAD the words from DRAM to ``at``; of the view only its base and its blocks count."""
    home, x = s.dram.home(op.x), s.dram.layout(op.x)
    assert home is not None
    before = len(s.steps)
    s.dma(Opcode.LOAD, home.region, home.offset, at,
          [(1, 1, 1), (op.pixels, 1, 1), (op.blocks, x.block, op.pixels)], home.stream)
    if op.fetched:
        for step in s.steps[before:]:
            step.varying, step.reads = op.fetched, [_whole(s, op)]
    return View(at, op.pixels, op.pixels, op.blocks * op.pixels, x.whole(op.x))


def _whole(s: Schedule, op: Place) -> Extent:
    """All of the state, somewhere in which the words are."""
    home = s.dram.homes[op.y]
    return int(home.region), home.offset, home.offset + s.dram.layout(op.y).words * s.lanes
