# SPDX-License-Identifier: Apache-2.0
"""Operators of newer opsets become what the specification defines them by, and casts to the type
that is there already go."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.source.frontend import OPSET, load
from compiler.source.newer import functions
from isa.presets import PRESETS
from makalu.measure.transformers import Shape, llama
from tests.compiler.models import Net, run

RNG = np.random.default_rng(3)


def norm(net: Net) -> str:
    x = net.input("x", "float32", (2, 3, 8))
    return net.op("RMSNormalization", x, net.constant(RNG.random(8).astype(np.float32)), axis=-1)


def test_such_operators_are_named():
    assert {"Attention", "RMSNormalization", "RotaryEmbedding"} <= functions(OPSET)
    assert not functions(OPSET) & {"Softmax", "LayerNormalization", "Gelu"}


def test_nodes_bear_the_name_of_the_operator():
    net = Net(24)
    y = norm(net)
    nodes = load(net.model(net.op("Relu", y), kind="float32")).nodes
    assert nodes[-1].op_type == "Relu" and len(nodes) > 3
    assert all(n.name.startswith(f"{y}/") for n in nodes[:-1])
    assert not {"RMSNormalization", "Cast"} & {n.op_type for n in nodes}


def test_the_results_are_those_of_the_operator():
    net = Net(24)
    y = norm(net)
    model = net.model(y, kind="float32")
    x = RNG.standard_normal((2, 3, 8)).astype(np.float32)
    got, = run(model, PRESETS["tiny_fp"], {"x": x}, precision="fp16")
    want, = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_attributes_that_are_left_out_have_their_defaults():
    net = Net(24)
    model = net.model(net.op("Swish", net.input("x", "float32", (1, 4))), kind="float32")
    x = RNG.standard_normal((1, 4)).astype(np.float32)
    got, = run(model, PRESETS["tiny_fp"], {"x": x}, precision="fp16")
    np.testing.assert_allclose(got, x / (1 + np.exp(-x)), atol=2e-3)


def test_shapes_are_known_however_deep_the_network_is():
    """Each layer of a decoder reshapes what the one before has made."""
    source = load(llama(Shape(3, 16, 2, 24, 1, kv_heads=1, classes=8, context=7), "llama_3"))
    assert "Shape" not in {n.op_type for n in source.nodes}


def test_casts_to_the_same_type_are_none():
    net = Net()
    x = net.input("x", "float32", (1, 4))
    y = net.op("CastLike", net.op("Cast", net.op("Relu", x), to=1), x)
    data = RNG.standard_normal((1, 4)).astype(np.float16).astype(np.float32)
    got, = run(net.model(y, kind="float32"), PRESETS["tiny_fp"], {"x": data}, precision="fp16")
    np.testing.assert_array_equal(got, np.maximum(data, 0))


def test_other_casts_are_refused():
    net = Net()
    y = net.op("Cast", net.op("Relu", net.input("x", "float32", (1, 4))), to=7)
    with pytest.raises(CompileError, match="does not run Cast"):
        compile_model(net.model(y, kind="int64"), PRESETS["tiny_fp"], precision="fp16")


@pytest.mark.parametrize("mask,past", [(True, False), (True, True), (False, True)])
def test_attention_with_a_mask_that_is_an_input(mask: bool, past: bool):
    """Zeros where a query has no key, whatever the cache; nothing is left to the host."""
    net, keys = Net(23), 6 + 2 * past
    x = {k: RNG.standard_normal((1, 6, 16)).astype(np.float16).astype(np.float32) for k in "qkv"}
    if mask:
        x["mask"] = np.where(RNG.random((1, 1, 6, keys)) < 0.5, 0, -np.inf).astype(np.float32)
        x["mask"][..., 2, :] = -np.inf
    if past:
        x |= {k: RNG.standard_normal((1, 2, 2, 8)).astype(np.float16).astype(np.float32)
              for k in ("past_key", "past_value")}
    names = {k: net.input(k, "float32", v.shape) for k, v in x.items()}
    inputs = [names.get(k, "") for k in ("q", "k", "v", "mask", "past_key", "past_value")]
    while not inputs[-1]:
        inputs.pop()
    y = net.op("Attention", *inputs, q_num_heads=2, kv_num_heads=2,
               outputs=1 if not past else 3)
    model = net.model(y, kind="float32")
    got, = run(model, PRESETS["tiny_fp"], x, precision="fp16")
    want, = ReferenceEvaluator(model).run(None, x)
    np.testing.assert_allclose(got, want, atol=4e-3)
