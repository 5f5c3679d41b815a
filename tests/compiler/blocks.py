# SPDX-License-Identifier: Apache-2.0
"""Blocks of transformers of any shape as ONNX, for tests of compiler, golden model and RTL."""

from dataclasses import dataclass

import numpy as np
import onnx

from tests.compiler.models import Net


@dataclass(frozen=True)
class Block:
    """What a block is like: ``size`` is that of a head, ``groups`` the heads of keys and values."""

    batch: int = 1
    tokens: int = 8
    heads: int = 2
    groups: int = 2
    size: int = 8
    inner: int = 24
    mask: str = ""
    norm: str = "LayerNormalization"
    function: str = "Gelu"
    rotates: bool = False
    merged: bool = False

    @property
    def width(self) -> int:
        return self.heads * self.size

    def model(self, seed: int = 0) -> onnx.ModelProto:
        """Normalization, attention and residual; normalization, two layers and residual."""
        return _Made(self, np.random.default_rng(seed)).model

    def inputs(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Values that FP16 has, and the mask of a sequence that is shorter in each image."""
        rng = np.random.default_rng(seed + 1)
        x = rng.standard_normal((self.batch, self.tokens, self.width)).astype(np.float16)
        found = {"x": x.astype(np.float32)}
        if self.mask == "padding":
            length = np.maximum(1, self.tokens - 1 - np.arange(self.batch))
            found["mask"] = (np.arange(self.tokens)[None] < length[:, None]).astype(np.int64)
        return found


class _Made:
    """The network of one block."""

    def __init__(self, block: Block, rng: np.random.Generator):
        self.b, self.rng, self.net = block, rng, Net()
        b, net = block, self.net
        x = net.input("x", "float32", (b.batch, b.tokens, b.width))
        self.masked = self._mask()
        h = net.op("Add", x, self._attention(self._norm(x)))
        if b.function == "SwiGLU":
            gate, up = (self._dense(self._norm(h), b.width, b.inner) for _ in range(2))
            inner = net.op("Mul", net.op("Mul", gate, net.op("Sigmoid", gate)), up)
        else:
            inner = net.op(b.function, self._dense(self._norm(h), b.width, b.inner))
        y = net.op("Add", h, self._dense(inner, b.inner, b.width))
        self.model = net.model(y, kind="float32")

    def _numbers(self, *shape: int, scale: float = 1.0) -> str:
        return self.net.constant((scale * self.rng.standard_normal(shape)).astype(np.float16)
                                 .astype(np.float32))

    def _dense(self, x: str, n: int, m: int) -> str:
        y = self.net.op("MatMul", x, self._numbers(n, m, scale=n ** -0.5))
        return self.net.op("Add", y, self._numbers(m, scale=0.1))

    def _norm(self, x: str) -> str:
        net, gain = self.net, self._numbers(self.b.width)
        if self.b.norm == "LayerNormalization":
            return net.op("LayerNormalization", x, gain, self._numbers(self.b.width), axis=-1)
        mean = net.op("ReduceMean", net.op("Mul", x, x), net.constant(np.array([-1])))
        root = net.op("Sqrt", net.op("Add", mean, net.constant(np.float32(1e-5))))
        return net.op("Mul", net.op("Div", x, root), gain)

    def _mask(self) -> str:
        """What is added to the scores; none."""
        net, b = self.net, self.b
        if b.mask == "causal":
            return net.constant(np.triu(np.full((b.tokens, b.tokens), -np.inf, np.float32), 1))
        if b.mask != "padding":
            return ""
        given = net.input("mask", "int64", (b.batch, b.tokens))
        wide = net.op("Cast", net.op("Unsqueeze", given, net.constant(np.array([1, 2]))), to=9)
        return net.op("Where", wide, net.constant(np.float32(0)),
                      net.constant(np.float32(np.finfo(np.float32).min)))

    def _heads(self, x: str, count: int) -> str:
        shape = self.net.constant(np.array([self.b.batch, self.b.tokens, count, self.b.size]))
        return self.net.op("Transpose", self.net.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def _rotated(self, x: str) -> str:
        """With its halves in each other's place, one negated, as embeddings of positions."""
        net, half = self.net, self.b.size // 2
        angle = np.outer(np.arange(self.b.tokens), 0.3 ** np.arange(half)).repeat(2, -1)
        low, high = (net.op("Slice", x, *(net.constant(np.array([v])) for v in (at, end, 3)))
                     for at, end in ((0, half), (half, 2 * half)))
        turned = net.op("Concat", net.op("Neg", high), low, axis=-1)
        return net.op("Add", *(net.op("Mul", v, net.constant(f(angle).astype(np.float32)))
                               for v, f in ((x, np.cos), (turned, np.sin))))

    def _shared(self, x: str) -> str:
        """Each head of keys or values for as many queries."""
        b, net = self.b, self.net
        if b.groups == b.heads:
            return x
        shape = [b.batch, b.groups, b.heads // b.groups, b.tokens, b.size]
        wide = net.op("Expand", net.op("Unsqueeze", x, net.constant(np.array([2]))),
                      net.constant(np.array(shape)))
        return net.op("Reshape", wide, net.constant(np.array(
            [b.batch, b.heads, b.tokens, b.size])))

    def _attention(self, x: str) -> str:
        b, net = self.b, self.net
        sizes = [b.width, b.groups * b.size, b.groups * b.size]
        if b.merged:
            whole = self._dense(x, b.width, sum(sizes))
            cuts = np.cumsum([0, *sizes])
            parts = [net.op("Slice", whole, *(net.constant(np.array([v])) for v in (a, e, 2)))
                     for a, e in zip(cuts, cuts[1:])]
        else:
            parts = [self._dense(x, b.width, n) for n in sizes]
        q, k, v = (self._heads(p, n) for p, n in zip(parts, (b.heads, b.groups, b.groups)))
        if b.rotates:
            q, k = self._rotated(q), self._rotated(k)
        turned = net.op("Transpose", self._shared(k), perm=[0, 1, 3, 2])
        scores = net.op("Mul", net.op("MatMul", q, turned),
                        net.constant(np.float32(b.size ** -0.5)))
        if self.masked:
            scores = net.op("Add", scores, self.masked)
        y = net.op("MatMul", net.op("Softmax", scores, axis=-1), self._shared(v))
        y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3]),
                   net.constant(np.array([b.batch, b.tokens, b.width])))
        return self._dense(y, b.width, b.width)
