# SPDX-License-Identifier: Apache-2.0
"""Matrix products of two tensors become convolutions whose weights are tensors.

The operands of a product are channels of a tensor: words of it where they begin on a word boundary
and end on one, otherwise a copy. A turned matrix is multiplied with the identity, which gives it
the other way round: each value is the only one in its sum (-0 becomes 0). The results lie side by
side along the channels, where their makers write them (:mod:`compiler.emit.join`).

A reduction that does not end with a word goes over what lies behind its last element, in both
operands. That is nothing where a convolution has made an operand, or a copy of it.
"""

from dataclasses import replace

import numpy as np

from compiler.ir.floats import one_hot, patterns
from compiler.ir.graph import (RANGE, Add, Clip, Concat, Conv, Graph, Joint, Matrix, Op, Pool,
                               Product, Rows, Tensor)
from compiler.ir.passes import Pass
from isa.config import Config


INT32 = np.iinfo(np.int32)


def matrices(graph: Graph, config: Config) -> Graph:
    """The graph without products."""
    ops: list[Op] = []
    split: dict[Tensor, list[Tensor]] = {
        t: [] for op in graph.ops if isinstance(op, Product) and len(op.first) > 1
        and op.outputs * op.y.size % config.lanes == 0 for t in _apart(graph, op.y, op.outputs)}
    pieces = _Pieces(graph)
    for op in graph.ops:
        if isinstance(op, Product):
            ops += _Made(graph, ops, op, config.lanes, split, pieces).ops
        elif op.y in pieces:
            continue
        elif op.y in split:
            assert isinstance(op, Add | Pool | Rows)
            each = [_piece(op, x, i, config.lanes) for i, x in enumerate(split[op.inputs[0]])]
            split[op.y] = [piece.y for piece in each]
            ops += each
        else:
            ops.append(op)
    graph.ops = ops
    return graph


def _apart(graph: Graph, t: Tensor, pitch: int) -> list[Tensor]:
    """The tensor of several products and those made of it up to the next product, if each product's
    ``pitch`` channels can go their own way: scores then exist for a head at a time."""
    found = [t]
    for op in graph.ops:
        if t not in op.inputs:
            continue
        if isinstance(op, Add) and op.a is t and op.b is not t:
            fits = op.b.nchw[1] == t.nchw[1]
        elif isinstance(op, Rows):
            fits = op.pitch == pitch
        elif isinstance(op, Pool):
            fits = op.kernel == (1, 1) and op.y.nchw == t.nchw
        else:
            fits = isinstance(op, Product) and op.x is t and op.w is not t and op.pitch == pitch
        rest = [] if not fits or isinstance(op, Product) else _apart(graph, op.y, pitch)
        if not fits or not (isinstance(op, Product) or rest):
            return []
        found += rest
    return [] if any(port.tensor is t for port in graph.outputs) else found


def _piece(op: Add | Pool | Rows, x: Tensor, i: int, lanes: int) -> Add | Pool | Rows:
    """An operator on the channels of one product, ``x`` of its operand."""
    pitch = x.nchw[1]
    y = Tensor(f"{op.y.name}[{i}]", x.nchw, op.y.dtype, op.y.scale, op.y.zero_point)
    if not isinstance(op, Add):
        return replace(op, x=x, y=y)
    b = op.b
    return replace(op, a=x, y=y, b=Tensor(
        f"{b.name}[{i}]", (1, pitch, *b.nchw[2:]), b.dtype, b.scale, b.zero_point, b,
        i * pitch * b.size // lanes))


def _slices(op: Product, t: Tensor) -> set[tuple[int, int]]:
    """First channel and number of channels of each part of ``t`` that a product reads."""
    each = op.columns if op.turned else op.depth
    return ({(i * op.pitch, op.depth) for i in op.first if op.x is t}
            | {(i * each, each) for i in op.second if op.w is t})


class _Pieces:
    """Convolutions whose results only products read, as heads of attention do, each a part of the
    channels: the parts are made one by one, each where the first product reads it. Then not all
    queries, keys and values have to stay, and the array has those of the next head to make while
    the vector engine is at the scores of this one."""

    def __init__(self, graph: Graph):
        self._makers: dict[Tensor, Conv] = {}
        self._made: dict[tuple[Tensor, int], Tensor] = {}
        ports = {port.tensor for port in graph.outputs}
        for op in graph.ops:
            readers = [other for other in graph.ops if op.y in other.inputs]
            if (not isinstance(op, Conv) or op.groups > 1 or op.residual or op.y in ports
                    or not all(isinstance(other, Product) for other in readers)):
                continue
            found = sorted({part for other in readers if isinstance(other, Product)
                            for part in _slices(other, op.y)})
            if len(found) > 1 and all(a + n <= b for (a, n), (b, _) in zip(found, found[1:])):
                self._makers[op.y] = op

    def __contains__(self, t: Tensor) -> bool:
        return t in self._makers

    def maker(self, t: Tensor) -> Conv | None:
        """The convolution that the parts of ``t`` come from, if they do."""
        return self._makers.get(t)

    def part(self, t: Tensor, first: int, count: int) -> tuple[Tensor, list[Op]]:
        """Channels ``first … first + count - 1``, and what makes them unless that is done."""
        if (t, first) in self._made:
            return self._made[t, first], []
        op, k = self._makers[t], slice(first, first + count)
        y = Tensor(f"{t.name}[{first}]", (t.nchw[0], count, *t.nchw[2:]), t.dtype, t.scale,
                   t.zero_point)
        self._made[t, first] = y
        return y, [replace(op, y=y, weight=op.weight[k], bias=op.bias[k], scale=op.scale[k])]


class _Made:
    """What becomes of one product behind the operators ``before``, in order."""

    def __init__(self, graph: Graph, before: list[Op], op: Product, lanes: int,
                 split: dict[Tensor, list[Tensor]], pieces: _Pieces):
        self.graph, self.op, self.lanes, self.split, self.pieces = graph, op, lanes, split, pieces
        self.ops: list[Op] = []
        self._makers = {made.y: made for made in before}
        self._parts: dict[tuple[Tensor, int], Tensor] = {}
        behind = op.depth * op.x.size % lanes > 0
        clean = op.turned or self._clean(op.w, op.w_zp)
        self._copies = {op.x: behind and not self._clean(op.x, op.a_zp) and (
            op.x.floating or not clean), op.w: behind and not clean and op.x.floating}
        each = [self._product(*pair, i) for i, pair in enumerate(zip(op.first, op.second))]
        if op.y in split:
            split[op.y] = each
        elif len(each) > 1:
            lo, hi = RANGE[op.y.dtype]
            self.ops.append(Concat(node=op.node, y=op.y, clip=Clip(op.clip.z, lo, hi), parts=tuple(
                Joint(y, i * op.outputs, op.clip.z, np.float32(1)) for i, y in enumerate(each))))

    def _product(self, first: int, second: int, i: int) -> Tensor:
        op, k = self.op, self.op.outputs
        x = self._part(op.x, first * op.pitch, op.depth, op.a_zp)
        if op.turned:
            w = self._turned(self._part(op.w, second * op.columns, op.columns, op.w_zp))
        else:
            w = self._part(op.w, second * op.depth, op.depth, op.w_zp)
        y = op.y if len(op.first) == 1 else Tensor(
            f"{op.y.name}[{i}]", (1, k, *op.y.nchw[2:]), op.y.dtype, op.y.scale, op.y.zero_point)
        self._conv(x, y, w, op.scale, op.a_zp, op.w_zp, op.clip, True)
        return y

    def _conv(self, x: Tensor, y: Tensor, w: Tensor, scale: np.float32, a_zp: int, w_zp: int,
              clip: Clip, counted: bool) -> None:
        k, c = y.nchw[1], x.nchw[1]
        bias = np.zeros(k, np.float32 if x.floating else np.int32)
        if counted:
            bias[self.op.columns:] = max(self.op.fill, -np.inf if x.floating else INT32.min)
        none = np.zeros((), np.uint16 if x.floating else np.int16)
        self.ops.append(Conv(
            node=self.op.node, x=x, y=y, weight=np.broadcast_to(none, (k, c, 1, 1)),
            bias=bias, scale=np.full(k, scale, np.float32), a_zp=a_zp, clip=clip,
            matrix=Matrix(w, w_zp), counted=counted))

    def _part(self, t: Tensor, first: int, count: int, zp: int) -> Tensor:
        """Channels ``first … first + count - 1`` of a tensor."""
        if t in self.split and t is self.op.x:
            return self._start(self.split[t][first // self.op.pitch], count)
        copies, pitch = self._copies[t], self.op.pitch if t is self.op.x else count
        if t in self.pieces:
            part, ops = self.pieces.part(t, first, count)
            self.ops += ops
            t, first, pitch = part, 0, count
        if (first, count) == (0, t.nchw[1]) and not copies:
            return t
        if (t, first) not in self._parts:
            shape, name = (1, count, *t.nchw[2:]), f"{t.name}[{first}]"
            if first * t.size % self.lanes or pitch * t.size % self.lanes or copies:
                part = Tensor(name, shape, t.dtype, t.scale, t.zero_point)
                self._copy(t, part, first, count, zp)
            else:
                part = Tensor(name, shape, t.dtype, t.scale, t.zero_point, t,
                              first * t.size // self.lanes)
            self._parts[t, first] = part
        return self._parts[t, first]

    def _start(self, t: Tensor, count: int) -> Tensor:
        """The first channels of one of the tensors that go their own way."""
        if count == t.nchw[1]:
            return t
        return Tensor(f"{t.name}[:{count}]", (1, count, *t.nchw[2:]), t.dtype, t.scale,
                      t.zero_point, t, 0)

    def _clean(self, t: Tensor, zp: int) -> bool:
        """Whether what lies behind the last channel of each pixel is ``zp``."""
        maker = self.pieces.maker(t) or self._makers.get(self.split[t][0] if t in self.split else t)
        if isinstance(maker, Rows):
            zeros = t.floating or maker.clip.lo <= maker.clip.z == zp <= maker.clip.hi
            return maker.pitch > maker.depth and zeros  # of a softmax
        if isinstance(maker, Conv) and maker.groups == 1 and maker.residual is None:
            low, high = maker.clip.lo, maker.clip.hi
            return low <= 0 <= high if t.floating else low <= maker.clip.z == zp <= high
        return maker is None and (t.floating or zp == 0)

    def _copy(self, t: Tensor, part: Tensor, first: int, count: int, zp: int) -> None:
        rows = np.arange(count)
        weight = one_hot(rows, rows + first, (count, t.nchw[1]), t.dtype)
        self.ops.append(Conv(
            node=self.op.node, x=t, y=part, weight=weight,
            bias=np.zeros(count, np.float32 if t.floating else np.int32),
            scale=np.ones(count, np.float32), a_zp=zp, clip=Clip(zp, *RANGE[t.dtype]),
            counted=False))

    def _turned(self, t: Tensor) -> Tensor:
        """Pixels as channels and channels as pixels."""
        key = t, -1
        if key not in self._parts:
            k, pixels = t.nchw[1], int(np.prod(t.nchw[2:]))
            unit = Tensor(f"{t.name}:identity", (1, k, 1, k), t.dtype if t.floating else "int8")
            eye = np.eye(k, dtype=np.int8)
            self.graph.constants[unit] = (patterns(eye, t.dtype) if t.floating else eye
                                          ).reshape(1, k, 1, k)
            y = Tensor(f"{t.name}:turned", (1, pixels, 1, k), t.dtype, t.scale, t.zero_point)
            zp = self.op.w_zp
            self._conv(unit, y, t, np.float32(1), 0, zp, Clip(zp, *RANGE[t.dtype]), False)
            self._parts[key] = y
        return self._parts[key]


MATRICES = Pass("matrices", matrices,
                lambda graph, _: [op for op in graph.ops if isinstance(op, Product)],
                "it is no product of two tensors")
