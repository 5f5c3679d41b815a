# SPDX-License-Identifier: Apache-2.0
"""Softmax and normalization over the channels of tokens, which no tensor is turned around for."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.ir.graph import Move, Rows
from compiler.lower.legalize import legalize
from compiler.source.frontend import load
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net, run
from tests.compiler.test_matrices import attention

MACHINES = ["tiny_fp", "ecp5_fp", "core256_fp", "core1024_fp"]


def tokens(net: Net, shape: tuple[int, int], scale: float = 1.0) -> str:
    """[1, tokens, channels] as a matrix product leaves them: of an input and the identity."""
    x = net.input("x", "float32", (1, *shape))
    return net.op("MatMul", x, net.constant(np.eye(shape[1], dtype=np.float32) * scale))


def compared(y: str, net: Net, machine: str, x: np.ndarray, precision: str = "fp16") -> np.ndarray:
    model = net.model(y, kind="float32")
    ops = legalize(load(model), (), {"fp16": "float16", "bf16": "bfloat16"}[precision]).graph.ops
    assert any(isinstance(op, Rows) for op in ops) and not any(isinstance(op, Move) for op in ops)
    got, = run(model, PRESETS[machine], {"x": x[None]}, precision=precision)
    return got[0].astype(np.float64)


def data(shape: tuple[int, int], scale: float) -> np.ndarray:
    values = scale * np.random.default_rng(shape[1]).standard_normal(shape)
    return values.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("shape,scale", [((5, 8), 1), ((1, 40), 6), ((33, 128), 20), ((3, 520), 3)])
def test_softmax(shape: tuple[int, int], scale: float, machine: str) -> None:
    """2^-9 of the result and less, whatever the numbers."""
    net, x = Net(), data(shape, scale)
    scores = net.op("Mul", tokens(net, shape), net.constant(np.float32(0.25)))
    y = net.op("Softmax", scores, axis=-1)
    got = compared(y, net, machine, x)
    e = np.exp(0.25 * (x.astype(np.float64) - x.max(1, keepdims=True)))
    np.testing.assert_allclose(got, e / e.sum(1, keepdims=True), rtol=2 ** -9, atol=2 ** -23)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("shape,scale", [((5, 8), 1), ((1, 40), 1e-2), ((33, 128), 300),
                                         ((3, 768), 20)])
def test_layer_normalization(shape: tuple[int, int], scale: float, machine: str) -> None:
    """Absolute errors of 2^-8 of a deviation and less; squares beyond FP16 where there is BF16."""
    if scale > 99 and "bf16" not in PRESETS[machine].dtypes:
        pytest.skip("squares are in FP16")
    net, x, rng = Net(), data(shape, scale), np.random.default_rng(1)
    gain, bias = (rng.standard_normal(shape[1]).astype(np.float32) for _ in range(2))
    y = net.op("LayerNormalization", tokens(net, shape), net.constant(gain), net.constant(bias),
               axis=-1, epsilon=1e-5)
    got = compared(y, net, machine, x)
    d = x.astype(np.float64) - x.mean(1, keepdims=True, dtype=np.float64)
    want = d / np.sqrt((d * d).mean(1, keepdims=True) + 1e-5) * gain + bias
    assert np.abs(got - want).max() < 2 ** -8 * np.abs(gain).max() * np.abs(d).max() / d.std()


def test_bfloat16() -> None:
    net, x = Net(), data((9, 24), 2)
    got = compared(net.op("Softmax", tokens(net, x.shape), axis=-1), net, "core256_fp", x, "bf16")
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(got, e / e.sum(1, keepdims=True), rtol=2 ** -5, atol=2 ** -20)


def test_masked_scores_are_nothing() -> None:
    """All masked but one: the others are nothing, not NaN."""
    net, x = Net(), data((4, 16), 1)
    mask = np.full((4, 16), -np.inf, np.float32)
    mask[np.arange(4), [0, 7, 8, 15]] = 0
    y = net.op("Softmax", net.op("Add", tokens(net, x.shape), net.constant(mask)), axis=-1)
    np.testing.assert_array_equal(compared(y, net, "tiny_fp", x), mask == 0)


def test_inputs_that_become_tokens_and_masks_move_nothing() -> None:
    """What is normalized has its last axis as channels from the start, and a mask of all queries
    is one pixel, once for each head."""
    net, rng = Net(), np.random.default_rng(9)
    x = {"a": rng.standard_normal((1, 5, 16)), "b": rng.standard_normal((1, 5, 16)),
         "mask": np.where(rng.random((1, 1, 1, 8)) < 0.5, 0, -1e4)}
    x = {k: v.astype(np.float16).astype(np.float32) for k, v in x.items()}
    a, b, mask = (net.input(k, "float32", v.shape) for k, v in x.items())
    norm = net.op("LayerNormalization", net.op("Add", a, b), net.constant(np.ones(16, np.float32)),
                  axis=-1)
    w = rng.standard_normal((16, 16)).astype(np.float32)
    scores = net.op("Reshape", net.op("MatMul", norm, net.constant(w)),
                    net.constant(np.array([1, 5, 2, 8])))
    scores = net.op("Transpose", scores, perm=[0, 2, 1, 3])
    y = net.op("Softmax", net.op("Add", scores, mask), axis=-1)
    model = net.model(y, kind="float32")
    ops = legalize(load(model), (), "float16").graph.ops
    assert [type(op).__name__ for op in ops] == ["Add", "Rows", "Conv", "Concat", "Add",
                                                 "Rows"]
    assert ops[3].y.nchw == (1, 16, 1, 1)
    got, = run(model, PRESETS["tiny_fp"], x, precision="fp16")
    want, = ReferenceEvaluator(model).run(None, x)
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_a_block_of_a_transformer_on_the_rtl() -> None:
    """Attention between normalizations, with GELU: as the golden model, with stalls and without."""
    net, rng, width = Net(), np.random.default_rng(8), 16
    x = net.input("x", "float32", (1, 8, width))

    def norm(v: str) -> str:
        return net.op("LayerNormalization", v, *(net.constant(
            rng.standard_normal(width).astype(np.float32)) for _ in range(2)), axis=-1)

    def dense(v: str, n: int, m: int) -> str:
        w = (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32)
        return net.op("MatMul", v, net.constant(w))

    h = net.op("Add", x, attention(net, norm(x), 2, width, rng))
    y = net.op("Add", h, dense(net.op("Gelu", dense(norm(h), width, 32)), 32, width))
    program = compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="fp16")
    inputs = {"x": rng.standard_normal((1, 8, width)).astype(np.float32)}
    want = Session(program, GoldenDevice(program.config)).run(inputs)[y]
    assert len(np.unique(want)) > 60
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(inputs)[y]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
@pytest.mark.parametrize("mask", ["none", "constant", "keys", "queries", "input"])
@pytest.mark.parametrize("keys", [13, 21])
def test_scores_that_are_no_whole_words(keys: int, mask: str, machine: str) -> None:
    """Softmax over any number of keys stays where the product has put the scores."""
    net, rng = Net(), np.random.default_rng(keys)
    x = {k: rng.standard_normal((1, 2, n, 8)).astype(np.float16).astype(np.float32)
         for k, n in (("q", 5), ("k", keys), ("v", keys))}
    q, k, v = (net.op("Transpose", net.op("Reshape", net.op(
        "MatMul", net.input(name, "float32", (1, values.shape[2], 16)),
        net.constant(np.eye(16, dtype=np.float32))),
        net.constant(np.array([1, values.shape[2], 2, 8]))), perm=[0, 2, 1, 3])
        for name, values in x.items())
    feeds = {name: a.transpose(0, 2, 1, 3).reshape(1, a.shape[2], 16) for name, a in x.items()}
    s = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    s = net.op("Mul", s, net.constant(np.float32(8 ** -0.5)))
    if mask == "input":
        feeds["mask"] = np.where(rng.random((1, 1, 1, keys)) < 0.5, 0, -1e4).astype(np.float32)
        s = net.op("Add", s, net.input("mask", "float32", feeds["mask"].shape))
    elif mask != "none":
        few = {"constant": (1,), "keys": (1, 1, 1, keys), "queries": (1, 1, 5, keys)}[mask]
        values = np.where(rng.random(few) < (0 if mask == "constant" else 0.3), -1e4, 0.5)
        s = net.op("Add", s, net.constant(values.astype(np.float32)))
    y = net.op("MatMul", net.op("Softmax", s, axis=-1), v)
    model = net.model(y, kind="float32")
    rows, = (op for op in legalize(load(model), (), "float16").graph.ops if isinstance(op, Rows))
    assert (rows.depth, rows.pitch) == (keys, keys + -keys % 8)
    got, = run(model, PRESETS[machine], feeds, precision="fp16")
    want, = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_allclose(got, want, atol=3e-3)
