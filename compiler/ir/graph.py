# SPDX-License-Identifier: Apache-2.0
"""Quantized operators on NCHW tensors: what the back end compiles.

Every tensor has four dimensions. Every operator carries the integers and binary32 factors of its
arithmetic, so nothing after legalization knows about ONNX. What has to hold of each is in
:mod:`compiler.ir.verify`. These operators remain:

========  =========================================================================================
Conv      convolution, matrix product, channel permutation (one-hot weights): the array
Pool      maximum or sum over a window, or a function; a window of 1 x 1 requantizes: the vector
          engine
Add       sum or product of two tensors: the vector engine
Concat    tensors side by side along the channels: either engine
Move      elements of tensors in another order: the array, with one-hot weights
Product   matrix products of two tensors; becomes convolutions whose weights are tensors
Rows      softmax or normalization over the channels of each pixel: the vector engine
Append    tokens at the end of a cache; becomes places
Place     words into a state, by DMA
========  =========================================================================================
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from isa.instructions import DType, VectorOp

INF = float("inf")

RANGE: dict[str, tuple[float, float]] = {
    "int8": (-128, 127), "uint8": (0, 255), "float16": (-INF, INF), "bfloat16": (-INF, INF),
    "float32": (-INF, INF)}
"""Smallest and largest value of each element type."""

DTYPE = {"int8": DType.INT8, "uint8": DType.INT8, "float16": DType.FP16, "bfloat16": DType.BF16,
         "float32": DType.FP32}
"""The machine's name of each element type."""


@dataclass(eq=False)
class Tensor:
    """``nchw`` elements of ``dtype``; with a ``parent``, its channel blocks from ``block`` on."""

    name: str
    nchw: tuple[int, int, int, int]
    dtype: str
    scale: float = 1.0
    zero_point: int = 0
    parent: "Tensor | None" = None
    block: int = 0

    @property
    def whole(self) -> "Tensor":
        """The tensor that this one is a part of, or itself."""
        return self.parent or self

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return DTYPE[self.dtype].size

    @property
    def floating(self) -> bool:
        """Whether the elements are floats."""
        return DTYPE[self.dtype] is not DType.INT8

    def blocks(self, lanes: int) -> int:
        """Words of ``lanes`` bytes that the channels of a pixel take."""
        return -(-self.nchw[1] * self.size // lanes)


@dataclass(frozen=True)
class Clip:
    """Zero point and bounds of a requantized value; bounds of a float."""

    z: int
    lo: float
    hi: float


@dataclass(eq=False, kw_only=True)
class Residual:
    """``clip(rint((v - z1) * scale_a + (b - zp) * scale_b)) + z``: added to a convolution."""

    x: Tensor
    zp: int
    scale_a: np.float32
    scale_b: np.float32
    clip: Clip


@dataclass(frozen=True, eq=False)
class Matrix:
    """Weights that are a tensor: element ``c`` of output channel ``k`` is channel ``c`` of pixel
    ``k`` of ``x``, less ``zp``."""

    x: Tensor
    zp: int


@dataclass(eq=False, kw_only=True)
class Conv:
    """``clip(rint(f32(sum(x - a_zp) * weight + bias) * scale) + z)``.

    ``weight`` (int16 [K, C / groups, R, S]) is the stored weight minus its zero point; ``bias``
    int32 [K]; ``scale`` binary32 [K]; ``pad`` rows above and columns to the left, negative where
    the input is cropped. The output's size is the output tensor's. ``counted``: its products are
    part of the network's, not of a move or a pool.

    Floats: ``f32(f32(sum(x * weight)) * scale) + bias``, rounded to the output's type; ``weight``
    holds patterns (uint16), with :data:`isa.instructions.ABSENT` where there is none, ``bias`` is
    binary32, and the residual is added before the clip, its own.

    Where these are INT8 (``narrow``), ``weight`` holds integers (int16), as for INT8.

    Where a tensor has the weights, it is the ``matrix``, and only the shape of ``weight`` counts.
    """

    node: int
    x: Tensor
    y: Tensor
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    a_zp: int
    clip: Clip
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    groups: int = 1
    residual: Residual | None = None
    counted: bool = True
    matrix: Matrix | None = None

    @property
    def inputs(self) -> list[Tensor]:
        return [x.whole for x in (self.x, self.residual and self.residual.x,
                                  self.matrix and self.matrix.x) if x]

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def narrow(self) -> bool:
        """Whether the weights are INT8 although the activations are floats."""
        return self.x.floating and not self.matrix and self.weight.dtype != np.uint16

    @property
    def macs(self) -> int:
        k, c, r, s = self.weight.shape
        n, _, h, w = self.y.nchw
        return n * h * w * k * c * r * s


@dataclass(frozen=True)
class Part:
    """Output rows ``y0 … y1-1`` and columns ``x0 … x1-1`` of a pool, with their factor."""

    y0: int
    y1: int
    x0: int
    x1: int
    scale: np.float32


@dataclass(eq=False, kw_only=True)
class Pool:
    """``clip(rint(f32(acc) * scale) + z)``, ``acc`` the maximum or sum of ``x - a_zp`` over the
    taps of a window that are inside the input; ``parts`` tile the output. With a ``function``,
    ``f32(function(f32(x * scale)) * factor)`` of the only tap."""

    node: int
    x: Tensor
    y: Tensor
    maximum: bool
    a_zp: int
    clip: Clip
    parts: tuple[Part, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    function: VectorOp | None = None
    factor: np.float32 = np.float32(1)

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x]

    @property
    def vop(self) -> VectorOp:
        """The vector engine's operation; the maximum of one number has no range of its own, the sum
        of BF16 has."""
        if self.function is not None:
            return self.function
        alone = self.x.floating and self.kernel == (1, 1)
        return VectorOp.MAX if self.maximum or alone else VectorOp.SUM


@dataclass(eq=False, kw_only=True)
class Add:
    """``clip(rint(f32(a - a_zp) * scale_a + f32(b - b_zp) * scale_b) + z)``; ``b`` may be one
    pixel, which is added to every pixel of ``a``. The ``product`` is ``f32(f32(a * scale_a) *
    b)``, of floats."""

    node: int
    a: Tensor
    b: Tensor
    y: Tensor
    a_zp: int
    b_zp: int
    scale_a: np.float32
    scale_b: np.float32
    clip: Clip
    product: bool = False

    @property
    def inputs(self) -> list[Tensor]:
        return [self.a, self.b.whole]


@dataclass(frozen=True, eq=False)
class Source:
    """One operand of a move: element ``i`` of the output is element ``wanted[i]`` of the flattened
    ``x`` (int32, the output's shape), another one's where that is -1; zero point and factor."""

    x: Tensor
    wanted: np.ndarray
    zp: int
    scale: np.float32


@dataclass(eq=False, kw_only=True)
class Move:
    """``clip(rint(f32(x[wanted] - zp) * scale) + z)``, ``x`` the source that has the element; a
    zero where none has it."""

    node: int
    sources: tuple[Source, ...]
    y: Tensor
    clip: Clip

    @property
    def inputs(self) -> list[Tensor]:
        return [source.x for source in self.sources]


@dataclass(frozen=True, eq=False)
class Joint:
    """One operand of a concatenation: where its channels go, zero point and factor."""

    x: Tensor
    channel: int
    zp: int
    scale: np.float32


@dataclass(eq=False, kw_only=True)
class Concat:
    """Tensors side by side along the channels, each ``clip(rint(f32(x - zp) * scale) + z)``."""

    node: int
    parts: tuple[Joint, ...]
    y: Tensor
    clip: Clip

    @property
    def inputs(self) -> list[Tensor]:
        return [p.x for p in self.parts]


@dataclass(eq=False, kw_only=True)
class Product:
    """Matrix products ``clip(rint(f32(sum over c of (x - a_zp)[c] * (w - w_zp)[c, k]) * scale) +
    z)`` of one image.

    Product ``i`` makes channels ``i * k …`` of ``y`` of ``depth`` channels of ``x`` from
    ``first[i] * pitch`` on, pixel by pixel, and of matrix ``second[i]`` of ``w``, whose matrices
    lie one behind the other along the channels. In a matrix, the pixels are the outputs and
    the channels what is summed over; if it is ``turned``, the other way round. Of the ``k``
    channels the first ``columns`` are outputs, the others hold ``fill``.
    """

    node: int
    x: Tensor
    w: Tensor
    y: Tensor
    depth: int
    pitch: int
    columns: int
    fill: float
    first: tuple[int, ...]
    second: tuple[int, ...]
    turned: bool
    a_zp: int
    w_zp: int
    scale: np.float32
    clip: Clip

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x, self.w]

    @property
    def outputs(self) -> int:
        """Channels of each product: ``k``."""
        return self.y.nchw[1] // len(self.first)

    @property
    def macs(self) -> int:
        return int(np.prod(self.y.nchw[2:])) * len(self.first) * self.columns * self.depth


@dataclass(eq=False, kw_only=True)
class Rows:
    """Softmax of ``scale * x``, or with ``norm`` normalization to a mean square of one, over the
    channels of each pixel of one image, ``depth`` of every ``pitch``; ``centered``: less their mean
    first, and then times ``gain`` and plus ``shift``, patterns for each of the ``depth`` channels.
    What lies behind the ``depth`` of them does not count: it is minus infinity, its exponential 0.
    The last step gives ``factor`` times that, as integers ``clip(rint(v) + z)`` or as floats.
    """

    node: int
    x: Tensor
    y: Tensor
    depth: int
    pitch: int
    norm: bool = False
    centered: bool = False
    scale: np.float32 = np.float32(1)
    epsilon: float = 0.0
    gain: np.ndarray | None = None
    shift: np.ndarray | None = None
    factor: np.float32 = np.float32(1)
    clip: Clip = Clip(0, -INF, INF)

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x]

    @property
    def groups(self) -> int:
        """Of channels."""
        return self.y.nchw[1] // self.pitch


@dataclass(eq=False, kw_only=True)
class Append:
    """Tokens of a cache: the pixels of ``x`` become the slots of ``y`` from ``slot`` on, which the
    execution reads, and are kept for later ones in slots that the host names, behind everything
    that reads ``y``, a state. The last ``own`` slots are for the tokens of an execution. The
    state has ``room`` for more slots than ``y``, which other entries of the program read.

    The slots are the pixels of ``y``, with the channels of ``x``; or with ``heads`` its channels,
    those of one head behind the other, with as many pixels as a head of ``x`` has channels.
    """

    node: int
    x: Tensor
    y: Tensor
    slot: int
    own: int
    room: int
    heads: int = 0

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x]

    @property
    def clip(self) -> Clip:
        """None."""
        return Clip(0, *RANGE[self.y.dtype])


class Varying(NamedTuple):
    """That a DRAM address grows by ``stride`` bytes for each ``1 << shift`` of an argument of the
    execution, of which ``mask`` says the bits that count."""

    argument: str
    stride: int
    shift: int = 0
    mask: int = 0xFFFF_FFFF


@dataclass(eq=False, kw_only=True)
class Place:
    """Words from one tensor into a state, or within one, by DMA alone: the first ``pixels`` of the
    first ``blocks`` of channels of ``x`` go to those of ``y`` from ``block`` and ``pixel`` on, or
    as far behind as ``varying`` says; ``fetched`` says so of where they come from."""

    node: int
    x: Tensor
    y: Tensor
    blocks: int
    pixels: int
    block: int = 0
    pixel: int = 0
    varying: tuple[Varying, ...] = ()
    fetched: tuple[Varying, ...] = ()

    @property
    def inputs(self) -> list[Tensor]:
        return [self.x]

    @property
    def clip(self) -> Clip:
        """None."""
        return Clip(0, *RANGE[self.y.dtype])


Op = Conv | Pool | Add | Move | Concat | Product | Rows | Append | Place


@dataclass(eq=False)
class Port:
    """A graph input or output: the host's array and the tensor that the machine sees,
    ``host.reshape(view).transpose(perm).reshape(nchw)``, of which a ``cell`` of rows and columns is
    one pixel of the tensor; positions outside the host's array hold ``fill``."""

    name: str
    tensor: Tensor
    shape: tuple[int, ...]
    view: tuple[int, ...]
    perm: tuple[int, ...]
    nchw: tuple[int, int, int, int]
    cell: tuple[int, int] = (1, 1)
    fill: int = 0


@dataclass(eq=False)
class Graph:
    """Operators in an order in which they can run; ``nodes`` names the source nodes. The ``node``
    of an operator that copies a tensor at the network's edge, of which there is none, is -1.
    ``constants`` are tensors that lie behind the instructions: integers or patterns, in NCHW;
    ``states`` those that keep their bytes from execution to execution."""

    nodes: list[str]
    ops: list[Op] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    constants: dict[Tensor, np.ndarray] = field(default_factory=dict)

    def where(self, node: int) -> str:
        """The node at a position, for messages."""
        return f"node {self.nodes[node]!r}" if node >= 0 else "the network's edge"
