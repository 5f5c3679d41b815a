# SPDX-License-Identifier: Apache-2.0
"""Reductions over axes, and norms. Squares are taken of what the largest of them divides, so that
those of a 16-bit type neither overflow nor vanish::

    m = max |x|,  q = x / m,  u = sum(q * q)        sum(x * x) = m * m * u
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.lower.affine import times
from compiler.lower.builder import Builder, Handlers
from compiler.lower.finish import as_number, stored
from compiler.lower.moves import demand
from compiler.lower.piecewise import magnitude
from compiler.lower.pool import as_maps, window
from compiler.lower.quant import deq_of, real_of
from compiler.lower.root import root
from compiler.lower.shape import through
from compiler.lower.values import (INF, Deq, Function, Quantized, Real, Storage, Sum, canonical,
                                   identity, scaled)
from compiler.source.frontend import attributes
from isa.instructions import VectorOp

TINY = 2.0 ** -14
"""What a largest magnitude counts as at least."""


@dataclass(frozen=True)
class Maps:
    """A value whose elements to be reduced are the pixels of maps, [N, C, H, W]; where it came
    from: its shape and the axes."""

    x: Deq
    shape: tuple[int, ...]
    over: frozenset[int]

    @property
    def count(self) -> int:
        """Elements of a map."""
        return int(np.prod(self.x.q.shape[2:]))

    def pooled(self, x: Deq, maximum: bool, factor: float = 1.0) -> Real:
        """The maximum or the sum of each map of a value like this, times ``factor``; one pixel."""
        whole = {"kernel_shape": list(self.x.q.shape[2:])}
        if not maximum:
            x = scaled(x, self.count * factor)
        return window(Real(x), whole, maximum)

    def reduced(self, real: Real, keep: bool) -> Real:
        """One pixel for each map as the result of the reduction."""
        left = [1 if k in self.over else n for k, n in enumerate(self.shape)
                if keep or k not in self.over]
        return through(real, lambda i: i.reshape(left))

    def whole(self, x: Deq) -> Deq:
        """A value like this in its shape before."""
        last = sorted(self.over)
        kept = [n for k, n in enumerate(self.shape) if k not in self.over]
        order = x.q.index.reshape(*kept, *(self.shape[k] for k in last))
        back = np.moveaxis(order, range(len(kept), len(self.shape)), last)
        return replace(x, q=replace(x.q, index=np.ascontiguousarray(back)))


def maps(build: Builder, x: Deq, axes: list[int]) -> Maps:
    """A value to be reduced over some axes."""
    shape = x.q.shape
    rank = len(shape)
    over = frozenset(a % rank for a in axes)
    if rank in (3, 4) and over == set(range(2, rank)):
        tensor = demand(build, x.q, x.q.index.reshape(canonical(shape)), x.zero_point)
        storage = Storage(tensor.name, tensor.nchw, tensor.dtype, tensor)
        x = replace(x, q=Quantized(tensor.name, storage, identity(tensor.nchw)))
    else:
        x = as_maps(build, x, list(over))
    return Maps(x, shape, over)


def value(build: Builder, real: Real, name: str, dtype: str = "float32") -> Deq:
    """An intermediate result, in binary32 unless said otherwise."""
    return stored(build, real, name, dtype)


def unit(build: Builder, m: Maps, x: Deq, name: str) -> tuple[Deq, Deq, Deq]:
    """``q``, a value like ``m`` divided by the largest magnitude of its map; that, and its
    reciprocal, in binary32."""
    size = value(build, magnitude(build, x, name), f"{name}:magnitude")
    most = value(build, m.pooled(size, True), f"{name}:peak")
    most = value(build, Real(most).clipped(TINY, INF), f"{name}:most")
    inverse = value(build, Real(Function(most, VectorOp.RECIPROCAL)), f"{name}:scale")
    return stored(build, Real(Sum(x, inverse, product=True)), f"{name}:unit"), most, inverse


def squares(build: Builder, m: Maps, q: Deq, name: str, factor: float = 1.0) -> Deq:
    """``factor * sum(q * q)`` in binary32."""
    each = stored(build, Real(Sum(q, q, product=True)), f"{name}:squares")
    return value(build, m.pooled(each, False, factor), f"{name}:sum")


def norm(build: Builder, m: Maps, p: int, name: str) -> Real:
    """``sum(|x| ** p) ** (1 / p)`` of each map, p 1 or 2."""
    if p == 1:
        size = stored(build, magnitude(build, m.x, name), f"{name}:magnitude")
        return m.pooled(size, False)
    q, most, _ = unit(build, m, m.x, name)
    total = squares(build, m, q, name)
    length = value(build, root(build, total, f"{name}:root"), f"{name}:length")
    return Real(Sum(length, most, product=True))


def _axes(node: onnx.NodeProto, inputs: list) -> list[int]:
    given = inputs[1] if len(inputs) > 1 else None
    if given is not None and not isinstance(given, np.ndarray):
        raise Unsupported("axes is not constant", "export the model with fixed shapes")
    return given.ravel().tolist() if given is not None else attributes(node).get("axes", [])


def reduce(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Over any constant axes whose elements form a map of up to 255 rows and columns. ReduceMean
    and ReduceMax also of integers, the others of floats alone.
    """
    op, at, name = node.op_type, attributes(node), node.output[0]
    if op not in ("ReduceMean", "ReduceMax") and not build.floats:
        raise Unsupported(f"the machine does not run {op} on integers, only on floats "
                          "(--precision fp16 or mixed)")
    axes, real = _axes(node, inputs), real_of(inputs[0])
    if not axes and at.get("noop_with_empty_axes", 0):
        return [real]
    over = axes or list(range(len(real.shape)))
    keep = bool(at.get("keepdims", 1))
    if op in ("ReduceMax", "ReduceMean") and not build.floats:
        m = maps(build, deq_of(real), over)
        return [m.reduced(window(Real(m.x), {"kernel_shape": list(m.x.q.shape[2:])},
                                 op == "ReduceMax"), keep)]
    m = maps(build, as_number(build, deq_of(real)), over)
    return [m.reduced(_reduced(build, m, op, name), keep)]


def _reduced(build: Builder, m: Maps, op: str, name: str) -> Real:
    if op == "ReduceMin":
        minus = stored(build, times(build, Real(m.x), np.array(-1.0)), f"{name}:minus")
        most = stored(build, m.pooled(minus, True), f"{name}:most")
        return times(build, Real(most), np.array(-1.0))
    if op in ("ReduceL1", "ReduceL2"):
        return norm(build, m, 1 if op == "ReduceL1" else 2, name)
    if op == "ReduceSumSquare":
        q, most, _ = unit(build, m, m.x, name)
        total = squares(build, m, q, name)
        part = value(build, Real(Sum(total, most, product=True)), f"{name}:part")
        return Real(Sum(part, most, product=True))
    return m.pooled(m.x, op == "ReduceMax", 1 / m.count if op == "ReduceMean" else 1.0)


def global_lp_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone: p is 1 or 2."""
    x, name = as_number(build, deq_of(inputs[0])), node.output[0]
    m = maps(build, x, list(range(2, len(x.q.shape))))
    return [m.reduced(norm(build, m, exponent(build, node), name), True)]


def exponent(build: Builder, node: onnx.NodeProto) -> int:
    """The p of a node.

    Raises
    ------
    Unsupported
        If it is neither 1 nor 2, or the network is one of integers.
    """
    if not build.floats:
        raise Unsupported(f"the machine does not run {node.op_type} on integers, only on floats "
                          "(--precision fp16 or mixed)")
    p = int(attributes(node).get("p", 2))
    if p not in (1, 2):
        raise Unsupported(f"its p is {p}", "use a p of 1 or 2")
    return p


def lp_pool(build: Builder, node: onnx.NodeProto, inputs: list) -> list:
    """Numbers alone, over one or two dimensions: p is 1 or 2; a square is rounded to the type, so
    that in FP16 numbers are less than 256.
    """
    p, at, name = exponent(build, node), attributes(node), node.output[0]
    x = as_number(build, deq_of(inputs[0]))
    each = magnitude(build, x, name) if p == 1 else Real(Sum(x, x, product=True))
    count = float(np.prod(at["kernel_shape"]))
    part = stored(build, each, f"{name}:powers")
    total = window(Real(replace(part, scale=np.float32(count))),
                   {**at, "count_include_pad": 1, "p": 0}, False)
    if p == 1:
        return [total]
    return [root(build, value(build, total, f"{name}:sum"), f"{name}:root")]


HANDLERS: Handlers = {
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceL1", "ReduceL2",
                     "ReduceSumSquare"), reduce),
    "LpPool": lp_pool, "GlobalLpPool": global_lp_pool}
