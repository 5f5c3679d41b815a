# SPDX-License-Identifier: Apache-2.0
"""What a value of the ONNX graph is while the graph is read.

The bytes of a quantized value are elements of one machine tensor; ``index`` says which: it has the
value's ONNX shape, and each entry is a position in the flattened NCHW tensor, or -1 for an element
that is the zero point (padding). Reshape, Transpose, Flatten, Squeeze, Slice and Pad only change
``index``: they cost nothing unless an operator needs the bytes in another order.

A graph input has no machine tensor until its first consumer says in which order it wants the
elements; until then ``index`` counts the host's elements.

Between DequantizeLinear and QuantizeLinear a value is a :class:`Real`: an expression over quantized
values with a clip, a Relu for instance. QuantizeLinear turns it into one operator.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.ir.graph import Rows, Tensor
from isa.instructions import VectorOp

INF = float("inf")


@functools.lru_cache(maxsize=64)
def _arange(shape: tuple[int, ...]) -> np.ndarray:
    a = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    a.flags.writeable = False
    return a


def identity(shape: tuple[int, ...]) -> np.ndarray:
    """Positions 0, 1, … in ``shape`` (int32, read-only)."""
    return _arange(tuple(int(v) for v in shape))


@dataclass(eq=False)
class Storage:
    """Where elements come from: a machine tensor; or a graph input, or ``data`` that are constant,
    which have none yet. The channels of a tensor of ``tokens`` are its last axis. One is ``padded``
    if behind some of its channels there are others that no value is in, up to the next whole word.
    ``bind`` makes the tensor of a cache once its order is known, if it can have that one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    tensor: Tensor | None = None
    position: np.ndarray | None = None
    view: tuple[int, ...] = ()
    perm: tuple[int, ...] = ()
    data: np.ndarray | None = None
    tokens: bool = False
    padded: bool = False
    bind: "Callable[[np.ndarray], Tensor | None] | None" = None


@dataclass(frozen=True, eq=False)
class Quantized:
    """An INT8 or UINT8 value: ``index`` into ``storage``; ``fill`` where that is -1."""

    name: str
    storage: Storage
    index: np.ndarray
    fill: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    def positions(self) -> np.ndarray:
        """``index`` in terms of the machine tensor, which the storage must have."""
        if self.storage.position is None:
            return self.index
        out = self.storage.position[self.index]
        return np.where(self.index < 0, np.int32(-1), out)


@dataclass(frozen=True, eq=False)
class Weights:
    """A dequantized constant: integers, scale and zero point, per tensor or along ``axis``."""

    data: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    def along(self, values: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """``values`` (scale or zero point) shaped to broadcast against the data."""
        if values.size == 1:
            return values.reshape(())
        dims = [1] * self.data.ndim
        dims[self.axis] = -1
        return values.reshape(dims)

    @property
    def real(self) -> np.ndarray:
        """The dequantized values in binary64."""
        return ((self.data.astype(np.int64) - self.along(self.zero_point).astype(np.int64))
                * self.along(self.scale).astype(np.float64))

    @property
    def integers(self) -> np.ndarray:
        """Stored values minus zero points, int16; floats as they are."""
        if self.data.dtype == np.float32:
            return self.data
        return (self.data.astype(np.int32)
                - self.along(self.zero_point).astype(np.int32)).astype(np.int16)


@dataclass(frozen=True, eq=False)
class Deq:
    """A dequantized value."""

    q: Quantized
    scale: np.float32
    zero_point: int


def is_number(x: Deq) -> bool:
    """Whether a value is of a floating-point type."""
    return x.q.dtype not in ("int8", "uint8")


def scaled(x: Deq, factor: float) -> Deq:
    """``factor * x``."""
    return replace(x, scale=np.float32(x.scale * np.float32(factor)))


@dataclass(frozen=True, eq=False)
class Linear:
    """A convolution or matrix product of one dequantized value, not yet requantized.

    ``bias`` holds INT32 values of scale ``s_x * s_w``, with floats binary32 of scale 1; ``nchw`` is
    the shape of the result.
    """

    x: Deq
    tensor: Tensor
    weight: np.ndarray
    w_scale: np.ndarray
    bias: np.ndarray
    nchw: tuple[int, int, int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    groups: int = 1
    counted: bool = True


@dataclass(frozen=True, eq=False)
class Sum:
    """Two dequantized values of equal shape added, or ``b`` broadcast over the pixels; with floats
    also their ``product``."""

    a: Deq
    b: Deq
    product: bool = False


@dataclass(frozen=True, eq=False)
class Matrices:
    """Matrix products of two values, as :class:`compiler.ir.graph.Product` has them, of ``outputs``
    channels each, of which ``columns`` are results."""

    x: Deq
    w: Deq
    tensors: tuple[Tensor, Tensor]
    depth: int
    pitch: int
    outputs: int
    columns: int
    fill: float
    first: tuple[int, ...]
    second: tuple[int, ...]
    turned: bool


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the vector engine of each element."""

    x: Deq
    vop: VectorOp


@dataclass(frozen=True, eq=False)
class Rowwise:
    """Softmax or normalization over the channels of each pixel: the operator that would make floats
    of it."""

    op: Rows


@dataclass(frozen=True, eq=False)
class Window:
    """A pool: geometry of the operator, over a real value (maximum) or a dequantized one (mean)."""

    x: Any
    maximum: bool
    nchw: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    counts: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Joined:
    """Values side by side: dequantized ones, or with integers others that are yet to be quantized;
    ``which`` of them each element is from."""

    parts: "tuple[Deq | Real, ...]"
    which: np.ndarray


@dataclass(frozen=True, eq=False)
class Real:
    """``min(max(expr, lo), hi)``; ``index`` places the expression's NCHW result (None for Deq,
    Sum, Function and Joined, whose operands carry their own order)."""

    expr: Deq | Linear | Matrices | Sum | Function | Rowwise | Window | Joined
    lo: float = -INF
    hi: float = INF
    index: np.ndarray | None = None
    node: int = -1

    def clipped(self, lo: float, hi: float) -> "Real":
        def clip(v: float) -> float:
            return min(max(v, lo), hi)
        return replace(self, lo=clip(self.lo), hi=clip(self.hi))

    @property
    def shape(self) -> tuple[int, ...]:
        if self.index is not None:
            return self.index.shape
        if isinstance(self.expr, Deq):
            return self.expr.q.shape
        if isinstance(self.expr, Sum):
            return self.expr.a.q.shape
        if isinstance(self.expr, Function):
            return self.expr.x.q.shape
        assert isinstance(self.expr, Joined)
        return self.expr.which.shape


@dataclass(frozen=True, eq=False)
class Host:
    """A value that the host computes: before the machine (``early``) or after it."""

    early: bool
    node: str = ""


@dataclass(frozen=True, eq=False)
class Cached:
    """The past of a cache, which is nowhere but in the cache."""


Value = Quantized | Real | Weights | Host | Cached | np.ndarray
"""What becomes of a value of the network."""


def canonical(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The NCHW shape of an ONNX shape of up to four dimensions."""
    if len(shape) == 4:
        return (shape[0], shape[1], shape[2], shape[3])
    if len(shape) == 3:
        return (shape[0], shape[1], 1, shape[2])
    if len(shape) == 2:
        return (shape[0], shape[1], 1, 1)
    if len(shape) < 2:
        return (1, shape[0] if shape else 1, 1, 1)
    return None


def _loops(steps: np.ndarray) -> list[tuple[int, int]]:
    """Positions along one axis as nested (count, stride) loops, outer first."""
    loops: list[tuple[int, int]] = []
    while len(steps) > 1:
        stride = int(steps[1] - steps[0])
        expected = steps[0] + stride * np.arange(len(steps))
        run = int(np.argmin(steps == expected)) if (steps != expected).any() else len(steps)
        while len(steps) % run:
            run -= 1
        if run < 2:
            return []
        loops.insert(0, (run, stride))
        steps = steps[::run]
    return loops


def as_view(order: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """``view`` and ``perm`` with ``arange(order.size).reshape(view).transpose(perm)`` equal to
    ``order`` up to its shape, or None if there are none."""
    if (order == identity(order.shape)).all():
        return tuple(order.shape), tuple(range(order.ndim))
    loops: list[tuple[int, int]] = []
    for axis in range(order.ndim):
        line = order[tuple(slice(None) if a == axis else 0 for a in range(order.ndim))]
        if len(line) > 1:
            found = _loops(line)
            if not found:
                return None
            loops += found
    by_stride = sorted(range(len(loops)), key=lambda i: -loops[i][1])
    view = tuple(loops[i][0] for i in by_stride)
    perm = tuple(by_stride.index(i) for i in range(len(loops)))
    if int(np.prod(view)) != order.size:
        return None
    again = identity(view).transpose(perm).reshape(order.shape)
    return (view, perm) if (again == order).all() else None
