# SPDX-License-Identifier: Apache-2.0
"""A decoder with a key-value cache as exporters write it, small enough for every machine, and ONNX
Runtime without a fixed length as its witness."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


class Graph:
    """Nodes and constants, under names that count."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: object, dtype: type = np.int64) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * shape[0] ** -0.5, np.float32)


def decoder(heads: int = 2, width: int = 8, layers: int = 1, vocabulary: int = 24,
            groups: int = 1, positions: int = 64, seed: int = 0, scatter: bool = False
            ) -> onnx.ModelProto:
    """``heads`` queries of ``width``, each ``groups`` of them with one key and value; a Concat
    continues the caches, or TensorScatter writes into them."""
    g, d, kv = Graph(seed), heads * width, heads // groups
    x = g.add("Add", g.add("Gather", g.weight(vocabulary, d), "input_ids"),
              g.add("Gather", g.weight(positions, d), "position_ids"))
    tokens = g.add("Gather", g.add("Shape", "input_ids"), g.constant([1]))
    total = g.add("Gather", g.add("Shape", "attention_mask"), g.constant([1]))
    seen = g.add("Mul", (_by_slot if scatter else _by_length)(g, tokens, total), g.add(
        "Unsqueeze", "attention_mask", g.constant([1, 2])))
    mask = g.add("Mul", g.add("Sub", g.constant(1, np.float32), g.add("Cast", seen, to=FLOAT)),
                 g.constant(-1e4, np.float32))
    caches, shape = [], ["batch", kv, "past", width]
    outputs = [helper.make_tensor_value_info("logits", FLOAT, ["batch", "tokens", vocabulary])]
    for i in range(layers):
        queries, keys, values = (
            g.add("Transpose", g.add("Reshape", g.add("MatMul", x, g.weight(d, n * width)),
                                     g.constant([0, 0, n, width])), perm=[0, 2, 1, 3])
            for n in (heads, kv, kv))
        pair = []
        for kind, new in (("key", keys), ("value", values)):
            name = f"past_key_values.{i}.{kind}"
            caches.append(helper.make_tensor_value_info(name, FLOAT, shape))
            outputs.append(helper.make_tensor_value_info(f"present.{i}.{kind}", FLOAT,
                                                         [*shape[:2], "total", width]))
            present = f"present.{i}.{kind}"
            all_of_them = g.add("TensorScatter", name, new, "write_indices", out=present
                                ) if scatter else g.add("Concat", name, new, out=present, axis=2)
            if groups > 1:
                wide = g.add("Unsqueeze", all_of_them, g.constant([2]))
                wide = g.add("Expand", wide, g.constant([1, 1, groups, 1, 1]))
                all_of_them = g.add("Reshape", wide, g.constant([0, heads, -1, width]))
            pair.append(all_of_them)
        scores = g.add("Mul", g.add("MatMul", queries, g.add(
            "Transpose", pair[0], perm=[0, 1, 3, 2])), g.constant(width ** -0.5, np.float32))
        mixed = g.add("MatMul", g.add("Softmax", g.add("Add", scores, mask), axis=-1), pair[1])
        flat = g.add("Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]),
                     g.constant([0, 0, d]))
        x = g.add("Add", x, g.add("MatMul", flat, g.weight(d, d)))
    g.add("MatMul", x, g.weight(d, vocabulary), out="logits")
    inputs = [helper.make_tensor_value_info("input_ids", INT64, ["batch", "tokens"]),
              helper.make_tensor_value_info("attention_mask", INT64, ["batch", "total"]),
              helper.make_tensor_value_info("position_ids", INT64, ["batch", "tokens"])]
    if scatter:
        inputs.append(helper.make_tensor_value_info("write_indices", INT64, ["batch"]))
    model = helper.make_model(
        helper.make_graph(g.nodes, "decoder", inputs + caches, outputs, g.constants),
        opset_imports=[helper.make_opsetid("", 24 if scatter else 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _by_length(g: Graph, tokens: str, total: str) -> str:
    """A causal mask of tokens that are the last ones."""
    ones = g.add("ConstantOfShape", g.add("Concat", tokens, total, axis=0),
                 value=helper.make_tensor("one", INT64, [1], [1]))
    return g.add("Trilu", ones, g.add("Squeeze", g.add("Sub", total, tokens)), upper=0)


def _by_slot(g: Graph, tokens: str, total: str) -> str:
    """A causal mask of tokens that are written behind a slot."""
    slots, own = (g.add("Range", g.constant(0), g.add("Squeeze", count), g.constant(1))
                  for count in (total, tokens))
    at = g.add("Unsqueeze", g.add("Add", own, "write_indices"), g.constant([1]))
    return g.add("Cast", g.add("LessOrEqual", g.add("Unsqueeze", slots, g.constant([0])), at),
                 to=INT64)


def reference(model: onnx.ModelProto, ids: Sequence[int]) -> np.ndarray:
    """ONNX Runtime's logits [tokens, vocabulary] of all tokens at once, with no past."""
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    count = len(ids)
    feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, count), np.int64),
             "position_ids": np.arange(count)[None]}
    room = 0
    for value in session.get_inputs():
        if value.name == "write_indices":
            feeds[value.name], room = np.zeros(1, np.int64), count
        elif value.name not in feeds:
            feeds[value.name] = np.zeros((1, value.shape[1], room, value.shape[3]), np.float32)
    return session.run(["logits"], feeds)[0][0]


def sqnr(got: np.ndarray, want: np.ndarray) -> float:
    """In dB."""
    noise = float(((got.astype(np.float64) - want) ** 2).sum())
    return 10 * np.log10(float((want.astype(np.float64) ** 2).sum()) / max(noise, 1e-30))
