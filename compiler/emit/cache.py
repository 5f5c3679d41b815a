# SPDX-License-Identifier: Apache-2.0
"""Tokens of a cache: STOREs to its last slots, and to those that the host names.

The last slots are the execution's own, written before anything reads the cache. The others are
those behind the tokens of earlier executions: the network's mask hides them this time, and next
time no more. They are written behind everything that reads the cache.
"""

from compiler.emit.schedule import Schedule
from compiler.ir.graph import Append, Keep, Op
from compiler.machine.place import View
from compiler.machine.steps import Step, Varying
from isa.instructions import Opcode

SLOT = "slot"
"""The argument of an execution that says where its tokens are kept."""


def with_keeps(ops: list[Op]) -> list[Op]:
    """The operators, each :class:`Append` with its :class:`Keep` behind the last reader."""
    last = {x: i for i, op in enumerate(ops) for x in op.inputs}
    behind: dict[int, list[Op]] = {}
    for i, op in enumerate(ops):
        if isinstance(op, Append):
            behind.setdefault(last.get(op.y, i), []).append(Keep(node=op.node, x=op.x, y=op.y))
    return [o for i, op in enumerate(ops) for o in (op, *behind.get(i, []))]


def emit_append(s: Schedule, op: Append) -> None:
    """Append the instructions of the first half.

    Raises
    ------
    CompileError
        If there is no room for the tokens.
    """
    _store(s, op, op.slot)


def emit_keep(s: Schedule, op: Keep) -> None:
    """Append the instructions of the second half, as :func:`emit_append`."""
    home, y = s.homes[op.y], s.layout(op.y)
    for step in _store(s, op, 0):
        step.varying = Varying(SLOT, s.lanes)
        step.writes = [(int(home.region), home.offset, home.offset + y.words * s.lanes)]


def _store(s: Schedule, op: Append | Keep, slot: int) -> list[Step]:
    """STORE the tokens to the slots from ``slot`` on; returns the instructions."""
    home, y, x = s.homes[op.y], s.layout(op.y), s.layout(op.x)
    s.bring(op.x)
    view, at = s.resident(op.x), None
    while view is None:
        at = s.spm.rotating(x.words)
        if at is None:
            s.make_room(op.node, op.y, [op.x])
        else:
            view = View(at, x.row, x.block, x.image, x.whole(op.x))
            s.load_box(op.x, view)
    before = len(s.steps)
    s.dma(Opcode.STORE, home.region, home.offset + slot * s.lanes, view.base,
          [(1, 1, 1), (x.row, 1, 1), (op.x.nchw[2], x.row, view.row),
           (x.blocks, y.block, view.block)])
    if at is not None:
        s.spm.release(at)
    return s.steps[before:]
