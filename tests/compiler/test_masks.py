# SPDX-License-Identifier: Apache-2.0
"""A mask that is added to the scores of several heads: it comes in with the keys as channels, as
the scores have them, and is there once for each head without a move of single elements."""

import numpy as np
import onnx
from onnx import TensorProto, helper

import makalu
from compiler.ir.graph import Concat, Move
from compiler.lower.legalize import legalize
from compiler.source import frontend

HEADS, QUERIES, KEYS, WIDTH = 3, 16, 24, 8


def attention() -> onnx.ModelProto:
    """Scores of queries and keys, masked, and their softmax; the mask comes as truth values."""
    shapes = {"q": [1, HEADS, QUERIES, WIDTH], "k": [1, HEADS, WIDTH, KEYS]}
    nodes = [helper.make_node("MatMul", ["q", "k"], ["scores"], name="scores"),
             helper.make_node("Cast", ["mask"], ["float"], name="float", to=TensorProto.FLOAT),
             helper.make_node("Mul", ["float", "much"], ["added"], name="added"),
             helper.make_node("Add", ["scores", "added"], ["masked"], name="masked"),
             helper.make_node("Softmax", ["masked"], ["y"], name="y", axis=-1)]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, [1, 1, QUERIES, KEYS]))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, HEADS, QUERIES, KEYS])
    much = helper.make_tensor("much", TensorProto.FLOAT, [], [-1e4])
    return helper.make_model(helper.make_graph(nodes, "attention", inputs, [out], [much]),
                             opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_its_layout() -> None:
    graph = legalize(frontend.load(attention()), ("all",), "float16").graph
    (mask,) = [p.tensor for p in graph.inputs if "mask" in p.name or "float" in p.name]
    assert mask.nchw == (1, KEYS, 1, QUERIES)
    (joined,) = [op for op in graph.ops if isinstance(op, Concat)]
    assert [p.channel for p in joined.parts] == [KEYS * h for h in range(HEADS)]
    assert len({p.x for p in joined.parts}) == 1
    assert not any(isinstance(op, Move) and op.y.nchw[1] == HEADS * KEYS for op in graph.ops)


def test_its_values() -> None:
    rng = np.random.default_rng(0)
    feeds = {"q": rng.standard_normal((1, HEADS, QUERIES, WIDTH)).astype(np.float32),
             "k": rng.standard_normal((1, HEADS, WIDTH, KEYS)).astype(np.float32),
             "mask": rng.integers(0, 2, (1, 1, QUERIES, KEYS))}
    for config in ("tiny_fp", "core256_fp"):
        program = makalu.compile(attention(), config, precision="fp16", host=("all",))
        got = makalu.run(program, feeds)["y"]
        scores = feeds["q"] @ feeds["k"] - 1e4 * feeds["mask"]
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        assert np.abs(got - e / e.sum(axis=-1, keepdims=True)).max() < 4e-3
