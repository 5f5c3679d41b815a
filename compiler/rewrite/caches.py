# SPDX-License-Identifier: Apache-2.0
"""Tokens of a cache go where the execution reads them, and where later ones find them.

The execution's own tokens are its last slots, at an address that never changes. Behind everything
that reads the cache they are kept in the slots behind the tokens of earlier executions, which the
mask has hidden so far: at an address that the host patches.

Where the slots are pixels, that is two STOREs. Where they are channels, a token is one element of
many words, and tokens are turned in blocks of whole words: those of the execution together, with
the identity (:mod:`compiler.rewrite.matrices`); and for later executions those in the *tail*, the
block that is not yet full with all that come behind. In the tail the slots are pixels. What is left
of it when blocks are full moves to its front.
"""

from dataclasses import replace

import numpy as np

from compiler.ir.errors import CompileError
from compiler.ir.floats import one_hot, patterns
from compiler.ir.graph import (RANGE, Append, Clip, Conv, Graph, Matrix, Op, Place, Tensor,
                               Varying)
from compiler.ir.passes import Pass
from isa.config import Config

SLOT, END = "slot", "end"
"""Arguments of an execution: the slot where its tokens are kept, and that behind the last."""


def placed(graph: Graph, config: Config) -> Graph:
    """The graph without appends."""
    ops: list[Op] = []
    kept: dict[Tensor, list[Op]] = {}
    stores: dict[Tensor, _Store] = {}
    for op in graph.ops:
        if isinstance(op, Append):
            store = stores[op.y] = _Store(op, config)
            graph.states[graph.states.index(op.y)] = store.whole
            front, kept[store.whole] = (_Turned(graph, op, store.whole, config).ops() if op.heads
                                        else _plain(op, store.whole, config))
            ops += front
        else:
            ops.append(_reading(graph, op, stores))
    last = {x: i for i, op in enumerate(ops) for x in op.inputs}
    behind: dict[int, list[Op]] = {}
    for y, later in kept.items():
        behind.setdefault(last.get(y, len(ops) - 1), []).extend(later)
    graph.ops = [o for i, op in enumerate(ops) for o in (op, *behind.get(i, []))]
    return graph


class _Store:
    """Where a cache lies: all its slots, of which an execution may read the first alone."""

    def __init__(self, op: Append, config: Config):
        y, heads = op.y, op.heads or 1
        slots = y.nchw[1] // heads if op.heads else y.nchw[3]
        self.whole = y
        self.blocks = self.wide = y.blocks(config.lanes)
        if op.room > slots:
            nchw = ((1, heads * op.room, 1, y.nchw[3]) if op.heads
                    else (*y.nchw[:3], op.room))
            self.whole = Tensor(y.name, nchw, y.dtype)
        if op.heads:
            self.blocks, self.wide = (t.blocks(config.lanes) // heads for t in (y, self.whole))

    def part(self, t: Tensor) -> Tensor:
        """The cache or a part of it as a part of that."""
        if self.whole is t.whole:
            return t
        head, block = divmod(t.block, self.blocks)
        return Tensor(t.name, t.nchw, t.dtype, parent=self.whole, block=head * self.wide + block)


def _reading(graph: Graph, op: Op, stores: dict[Tensor, _Store]) -> Op:
    """An operator that reads caches where they lie.

    Raises
    ------
    CompileError
        If it is none of the array's, and does not read all of a cache.
    """
    if not any(x in stores and stores[x].whole is not x for x in op.inputs):
        return op
    if not isinstance(op, Conv):
        raise CompileError(graph.where(op.node), "it reads a cache otherwise than a product, of "
                           "which others read more", "compile for a single context")
    x, matrix = op.x, op.matrix
    if x.whole in stores:
        op = replace(op, x=stores[x.whole].part(x))
    if matrix and matrix.x.whole in stores:
        op = replace(op, matrix=replace(matrix, x=stores[matrix.x.whole].part(matrix.x)))
    return op


def _plain(op: Append, y: Tensor, config: Config) -> tuple[list[Op], list[Op]]:
    """The operators in front of what reads the cache, and those behind."""
    blocks, tokens = op.x.blocks(config.lanes), op.x.nchw[3]
    read = Place(node=op.node, x=op.x, y=y, blocks=blocks, pixels=tokens, pixel=op.slot)
    return [read], [replace(read, pixel=0, varying=(Varying(SLOT, config.lanes),))]


class _Turned:
    """The same for a cache whose slots are channels."""

    def __init__(self, graph: Graph, op: Append, y: Tensor, config: Config):
        self.graph, self.op, self.y, self.lanes = graph, op, y, config.lanes
        self.per = config.lanes // op.x.size
        self.width, self.slots = y.nchw[3], y.nchw[1] // op.heads
        self.blocks = op.x.blocks(config.lanes)

    def ops(self) -> tuple[list[Op], list[Op]]:
        """In front, and behind."""
        op, per, lanes, tokens = self.op, self.per, self.lanes, self.op.x.nchw[3]
        own, tail = self._state("own", op.own), self._state("tail", op.own + per)
        last = Place(node=op.node, x=op.x, y=own, blocks=self.blocks, pixels=tokens,
                     pixel=op.own - tokens)
        first = replace(last, y=tail, pixel=0, varying=(Varying(SLOT, lanes, 0, per - 1),))
        shift = per.bit_length() - 1
        full = Varying(SLOT, self.width * lanes, shift)
        front = [last, *self._turn(own, op.own // per, op.slot + tokens - op.own)]
        behind = [first, *self._turn(tail, -(-(tokens + per - 1) // per), 0, full)]
        if tokens > 1:
            behind.append(Place(
                node=op.node, x=tail, y=tail, blocks=self.blocks, pixels=per,
                fetched=(Varying(END, per * lanes, shift), Varying(SLOT, -per * lanes, shift))))
        return front, behind

    def _state(self, name: str, slots: int) -> Tensor:
        t = Tensor(f"{self.op.y.name}:{name}", (1, self.op.x.nchw[1], 1, slots), self.op.x.dtype)
        self.graph.states.append(t)
        return t

    def _turn(self, t: Tensor, blocks: int, slot: int, *varying: Varying) -> list[Op]:
        """The first blocks of slots of ``t`` as channels of the cache from ``slot`` on."""
        count, width, ops = t.nchw[3], self.width, list[Op]()
        unit = Tensor(f"{t.name}:identity", (1, width, 1, width), t.dtype)
        self.graph.constants[unit] = patterns(np.eye(width, dtype=np.int8), t.dtype).reshape(
            1, width, 1, width)
        none = np.broadcast_to(np.uint16(0), (count, width, 1, 1))
        for head in range(self.op.heads):
            part = self._head(t, head, ops)
            y = Tensor(f"{t.name}[{head}]:turned", (1, count, 1, width), t.dtype)
            ops += [self._conv(unit, y, none, Matrix(part, 0)), Place(
                node=self.op.node, x=y, y=self.y, blocks=blocks, pixels=width,
                block=(head * self.slots + slot) // self.per, varying=varying)]
        return ops

    def _head(self, t: Tensor, head: int, ops: list[Op]) -> Tensor:
        """The channels of a head: words of the tensor, or a copy if they are none."""
        width, name, shape = self.width, f"{t.name}[{head}]", (1, self.width, 1, t.nchw[3])
        if width % self.per == 0:
            return Tensor(name, shape, t.dtype, parent=t, block=head * width // self.per)
        copy, rows = Tensor(name, shape, t.dtype), np.arange(width)
        ops.append(self._conv(t, copy, one_hot(rows, rows + head * width, (width, t.nchw[1]),
                                               t.dtype), None))
        return copy

    def _conv(self, x: Tensor, y: Tensor, weight: np.ndarray, matrix: Matrix | None) -> Conv:
        k = y.nchw[1]
        return Conv(node=self.op.node, x=x, y=y, weight=weight, bias=np.zeros(k, np.float32),
                    scale=np.ones(k, np.float32), a_zp=0, clip=Clip(0, *RANGE[y.dtype]),
                    counted=False, matrix=matrix)


CACHES = Pass("caches", placed, lambda graph, _: [op for op in graph.ops if isinstance(op, Append)],
              "it says where tokens go")
