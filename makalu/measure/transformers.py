# SPDX-License-Identifier: Apache-2.0
"""Transformers of true structure with seeded weights, at their published sizes.

Weights are normal with variance 1 / fan-in, embeddings and tokens unit normal; each value comes
from a generator seeded by its name. Attention is the operator of opset 23, as current exporters
write it; its definition is what the compiler reads.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 23, 11
CONTEXT = 512
"""Tokens that a kept cache holds."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer.

    Parameters
    ----------
    layers, width, heads, hidden : int
        Blocks, channels of a token, heads of the queries, channels of the feed-forward part.
    tokens : int
        Tokens of an execution.
    kv_heads : int, optional
        Heads of keys and values, if there are fewer.
    classes : int
        Outputs of the head, 0 for none.
    context : int
        Tokens in the cache, 0 for none.
    """

    layers: int
    width: int
    heads: int
    hidden: int
    tokens: int
    kv_heads: int = 0
    classes: int = 0
    context: int = 0


class _Graph:
    """Nodes and weights while a network is written."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.layer = ""

    def node(self, op: str, *inputs: str, name: str, outputs: Sequence[str] = (),
             **attributes: object) -> str:
        made = list(outputs) or [f"{self.layer}{name}"]
        self.nodes.append(helper.make_node(op, list(inputs), made, f"{self.layer}{name}",
                                           **attributes))
        return made[0]

    def weight(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0) -> str:
        key = f"{self.layer}{name}"
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        values = rng.standard_normal(shape, np.float32) * np.float32(deviation) + np.float32(mean)
        return self.constant(name, values)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, f"{self.layer}{name}"))
        return f"{self.layer}{name}"

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def linear(self, x: str, wide: int, out: int, name: str, bias: bool = True) -> str:
        weight = self.weight(f"{name}.weight", (wide, out), wide ** -0.5)
        y = self.node("MatMul", x, weight, name=name)
        return self.node("Add", y, self.weight(f"{name}.bias", (out,), 0.05),
                         name=f"{name}.add") if bias else y

    def norm(self, x: str, name: str) -> str:
        width = self.shape.width
        return self.node("LayerNormalization", x, self.weight(f"{name}.scale", (width,), 0.1, 1),
                         self.weight(f"{name}.shift", (width,), 0.1), name=name, epsilon=1e-5)

    def rms(self, x: str, name: str) -> str:
        return self.node("RMSNormalization", x,
                         self.weight(f"{name}.scale", (self.shape.width,), 0.1, 1), name=name,
                         epsilon=1e-5)

    def attention(self, x: str, bias: bool = True, mask: str = "", causal: bool = False,
                  rotate: Callable[[str, str, int], str] | None = None,
                  past: tuple[str, str] | None = None) -> str:
        s = self.shape
        kv = s.kv_heads or s.heads
        head = s.width // s.heads
        q, k, v = (self.linear(x, s.width, n * head, name, bias)
                   for name, n in (("query", s.heads), ("key", kv), ("value", kv)))
        if rotate is not None:
            q, k = rotate(q, "rotated_query", s.heads), rotate(k, "rotated_key", kv)
        outputs = [f"{self.layer}attention"]
        if past is not None:
            outputs += [f"{self.layer}{name}" for name in ("present_key", "present_value")]
            for made in outputs[1:]:
                self.output(made, (1, kv, s.context + s.tokens, head))
        y = self.node("Attention", q, k, v, mask, *(past or ()), name="attention", outputs=outputs,
                      q_num_heads=s.heads, kv_num_heads=kv, is_causal=int(causal))
        return self.linear(y, s.width, s.width, "projection", bias)

    def feed_forward(self, x: str) -> str:
        s = self.shape
        y = self.node("Gelu", self.linear(x, s.width, s.hidden, "up"), name="gelu")
        return self.linear(y, s.hidden, s.width, "down")

    def gated(self, x: str) -> str:
        s = self.shape
        gate = self.linear(x, s.width, s.hidden, "gate", False)
        gate = self.node("Swish", gate, name="swish")
        y = self.node("Mul", gate, self.linear(x, s.width, s.hidden, "up", False), name="gated")
        return self.linear(y, s.hidden, s.width, "down", False)

    def add(self, x: str, y: str, name: str) -> str:
        return self.node("Add", x, y, name=name)

    def cache(self, heads: int) -> tuple[str, str]:
        s = self.shape
        key, value = (self.input(f"{self.layer}{part}", (1, heads, s.context, s.width // s.heads))
                      for part in ("past_key", "past_value"))
        return key, value

    def ints(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values))

    def additive_mask(self, ids: str, seen: str) -> str:
        """A large negative number for what is not ``seen`` [1, total], and for tokens behind each
        of the last ones, ``ids`` [1, tokens]."""
        counts = [self.node("Gather", self.node("Shape", v, name=f"{v}.shape"),
                            self.ints(f"{v}.axis", 1), name=f"{v}.count") for v in (ids, seen)]
        square = self.node("Concat", *counts, name="square", axis=0)
        ones = self.node("ConstantOfShape", square, name="ones",
                         value=helper.make_tensor("one", TensorProto.INT64, [1], [1]))
        before = self.node("Squeeze", self.node("Sub", *counts[::-1], name="past"), name="before")
        allowed = self.node("Mul", self.node("Trilu", ones, before, name="causal", upper=0),
                            self.node("Unsqueeze", seen, self.ints("inner", 1, 2), name="rows"),
                            name="allowed")
        taken = self.node("Cast", allowed, name="taken", to=TensorProto.FLOAT)
        one, low = (self.constant(n, np.array(v, np.float32))
                    for n, v in (("unit", 1), ("low", -1e4)))
        return self.node("Mul", self.node("Sub", one, taken, name="left"), low, name="added")

    def kept_attention(self, x: str, mask: str) -> str:
        """Attention behind a cache of any length, in matrix products."""
        s = self.shape
        head, (queries, keys, values) = s.width // s.heads, (
            self._apart(self.linear(x, s.width, s.width, n), n) for n in ("query", "key", "value"))
        parts = []
        for name, new in (("key", keys), ("value", values)):
            past = self.input(f"past.{self.layer}{name}", (1, s.heads, "past", head))
            made = f"present.{self.layer}{name}"
            self.output(made, (1, s.heads, "total", head))
            parts.append(self.node("Concat", past, new, name=f"{name}.all", outputs=[made],
                                   axis=2))
        turned = self.node("Transpose", parts[0], name="turned", perm=[0, 1, 3, 2])
        scale = self.constant("scale", np.array(head ** -0.5, np.float32))
        scores = self.node("Mul", self.node("MatMul", queries, turned, name="scores"), scale,
                           name="scaled")
        shares = self.node("Softmax", self.add(scores, mask, "masked"), name="softmax", axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", shares, parts[1], name="mixed"),
                          name="back", perm=[0, 2, 1, 3])
        y = self.node("Reshape", mixed, self.ints("flat", 0, 0, s.width), name="joined")
        return self.linear(y, s.width, s.width, "projection")

    def _apart(self, x: str, name: str) -> str:
        s = self.shape
        wide = self.node("Reshape", x, self.ints(f"{name}.heads", 0, 0, s.heads,
                                                 s.width // s.heads), name=f"{name}.split")
        return self.node("Transpose", wide, name=f"{name}.apart", perm=[0, 2, 1, 3])

    def model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)
        opset = 24 if any(n.op_type == "Swish" for n in self.nodes) else OPSET
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                                 ir_version=IR_VERSION)


def encoder(shape: Shape, name: str) -> onnx.ModelProto:
    """BERT: tokens in, normalization behind each sum, a padding mask of zeros and -inf."""
    g = _Graph(shape)
    x = g.input("embedded", (1, shape.tokens, shape.width))
    mask = g.input("mask", (1, 1, 1, shape.tokens))
    for i in range(shape.layers):
        g.layer = f"layer{i}."
        x = g.norm(g.add(x, g.attention(x, mask=mask), "sum1"), "norm1")
        x = g.norm(g.add(x, g.feed_forward(x), "sum2"), "norm2")
    g.output(x, (1, shape.tokens, shape.width))
    return g.model(name)


def vision(shape: Shape, name: str, image: tuple[int, int, int], patch: tuple[int, int]
           ) -> onnx.ModelProto:
    """ViT: patches of an image and a class token; normalization before each part."""
    channels, height, width = image
    g = _Graph(shape)
    x = g.input("image", (1, channels, height, width))
    kernel = g.weight("patch.weight", (shape.width, channels, *patch),
                      (channels * patch[0] * patch[1]) ** -0.5)
    x = g.node("Conv", x, kernel, g.weight("patch.bias", (shape.width,), 0.05), name="patch",
               kernel_shape=patch, strides=patch)
    x = g.node("Reshape", x, g.constant("tokens", np.array([1, shape.width, -1])), name="flat")
    x = g.node("Transpose", x, name="turned", perm=[0, 2, 1])
    x = g.node("Concat", g.weight("class", (1, 1, shape.width), 1), x, name="with_class", axis=1)
    x = g.add(x, g.weight("position", (1, shape.tokens, shape.width), 0.3), "placed")
    for i in range(shape.layers):
        g.layer = f"layer{i}."
        x = g.add(x, g.attention(g.norm(x, "norm1")), "sum1")
        x = g.add(x, g.feed_forward(g.norm(x, "norm2")), "sum2")
    g.layer = ""
    x = g.norm(x, "norm")
    x = g.node("Slice", x, *(g.constant(n, np.array([v])) for n, v in
                             (("from", 0), ("to", 1), ("axis", 1))), name="first")
    g.output(g.linear(x, shape.width, shape.classes, "head"), (1, 1, shape.classes))
    return g.model(name)


def decoder(shape: Shape, name: str) -> onnx.ModelProto:
    """GPT-2 from token numbers on, with caches of any length, as exporters write it: a program
    keeps them on the machine (:func:`makalu.decoder`)."""
    g = _Graph(shape)
    ids, positions = (g.input(n, (1, "tokens"), TensorProto.INT64)
                      for n in ("input_ids", "position_ids"))
    mask = g.additive_mask(ids, g.input("attention_mask", (1, "total"), TensorProto.INT64))
    token, position = (
        g.node("Gather", g.weight(f"{n}.weight", (rows, shape.width), 1), given, name=n)
        for n, rows, given in (("token", shape.classes, ids),
                               ("position", shape.context + shape.tokens, positions)))
    x = g.add(token, position, "embedded")
    g.output("logits", (1, "tokens", shape.classes))
    for i in range(shape.layers):
        g.layer = f"layer{i}."
        x = g.add(x, g.kept_attention(g.norm(x, "norm1"), mask), "sum1")
        x = g.add(x, g.feed_forward(g.norm(x, "norm2")), "sum2")
    g.layer = ""
    head = g.weight("head.weight", (shape.width, shape.classes), shape.width ** -0.5)
    g.node("MatMul", g.norm(x, "norm"), head, name="head", outputs=["logits"])
    return g.model(name)


def llama(shape: Shape, name: str) -> onnx.ModelProto:
    """Llama: RMSNorm, rotary positions, grouped queries, SwiGLU; with or without a cache."""
    g = _Graph(shape)
    x = g.input("embedded", (1, shape.tokens, shape.width))
    head, kv = shape.width // shape.heads, shape.kv_heads or shape.heads
    angles = np.outer(np.arange(shape.context, shape.context + shape.tokens),
                      10000.0 ** (-np.arange(0, head, 2) / head))
    cos, sin = (g.constant(n, f(angles).astype(np.float32)[None])
                for n, f in (("cos", np.cos), ("sin", np.sin)))

    def rotate(v: str, made: str, heads: int) -> str:
        return g.node("RotaryEmbedding", v, cos, sin, name=made, num_heads=heads)

    for i in range(shape.layers):
        g.layer = f"layer{i}."
        past = g.cache(kv) if shape.context else None
        y = g.attention(g.rms(x, "norm1"), False, causal=not shape.context, rotate=rotate,
                        past=past)
        x = g.add(x, y, "sum1")
        x = g.add(x, g.gated(g.rms(x, "norm2")), "sum2")
    g.layer = ""
    y = g.linear(g.rms(x, "norm"), shape.width, shape.classes, "head", False)
    g.output(y, (1, shape.tokens, shape.classes))
    return g.model(name)


def _bert(layers: int = 12) -> onnx.ModelProto:
    return encoder(Shape(layers, 768, 12, 3072, 128), f"bert_base_{layers}")


def _vit(layers: int = 12) -> onnx.ModelProto:
    return vision(Shape(layers, 768, 12, 3072, 197, classes=1000), f"vit_b16_{layers}",
                  (3, 224, 224), (16, 16))


def _keywords(layers: int = 12) -> onnx.ModelProto:
    return vision(Shape(layers, 64, 1, 256, 99, classes=35), f"kwt1_{layers}", (40, 1, 98), (1, 1))


def _gpt2(layers: int = 12) -> onnx.ModelProto:
    return decoder(Shape(layers, 768, 12, 3072, 1, classes=50257, context=CONTEXT - 1),
                   f"gpt2_{layers}")


def _stories(layers: int = 6) -> onnx.ModelProto:
    return llama(Shape(layers, 288, 6, 768, 1, classes=32000, context=255), f"stories15m_{layers}")


def _tiny_stories(layers: int = 5) -> onnx.ModelProto:
    return llama(Shape(layers, 64, 8, 172, 1, kv_heads=4, classes=512, context=255),
                 f"stories260k_{layers}")


TRANSFORMERS: dict[str, Callable[..., onnx.ModelProto]] = {
    "bert_base": _bert, "vit_b16": _vit, "gpt2": _gpt2, "stories15m": _stories,
    "kwt1": _keywords, "stories260k": _tiny_stories}
"""Networks by name; each takes the number of its layers, all of them unless told otherwise."""
