# SPDX-License-Identifier: Apache-2.0
"""Blocks of transformers whose products are INT8 and whose other operators are floats: accurate,
quantized by what makes a value, and the same bits however they are cut."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler import compile_model
from compiler.ir.graph import Add, Conv, Op, Pool, Product, Rows
from compiler.lower.legalize import legalize
from compiler.source.frontend import load
from compiler.source.quantize import quantize
from compiler.source.spelled import recognized
from isa.config import Config
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.blocks import Block
from tests.compiler.models import Net, onnxruntime
from tests.compiler.test_blocks import TILINGS, TINY, blocks

LEAST = 35
"""dB against ONNX Runtime on the same quantized model: values next to a tie fall on either side."""


def quantized(block: Block, seed: int = 0, islands: bool = True) -> onnx.ModelProto:
    return quantize(load(block.model(seed)), [block.inputs(seed)], islands)[0]


def operators(block: Block) -> list[Op]:
    return legalize(recognized(load(quantized(block))), (), "float16").graph.ops


def golden(model: onnx.ModelProto, config: Config, x: dict[str, np.ndarray]) -> np.ndarray:
    program = compile_model(model, config)
    assert program.precision == "mixed"
    assert not [row for row in program.placement if row["engine"] == "host"]
    got, = Session(program, GoldenDevice(config)).run(x).values()
    return got


def accurate(block: Block, seed: int, config: Config = TINY, islands: bool = True) -> None:
    model, x = quantized(block, seed, islands), block.inputs(seed)
    got, want = golden(model, config, x).astype(np.float64), onnxruntime(model, x)[0]
    assert 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()) >= LEAST


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck),
          derandomize=True)
@given(blocks(), st.integers(0, 99))
def test_random_blocks(block: Block, seed: int) -> None:
    accurate(block, seed)


@pytest.mark.parametrize("mask", ["", "causal", "padding"])
@pytest.mark.parametrize("tokens", [16, 21])
def test_words_of_sixteen(tokens: int, mask: str) -> None:
    accurate(Block(batch=2, tokens=tokens, size=16, mask=mask), 3, PRESETS["core256_fp"])


@pytest.mark.parametrize("config", [TINY, PRESETS["core256_fp"]], ids=lambda c: c.name)
@pytest.mark.parametrize("tokens", [16, 21])
def test_scores_of_integers(tokens: int, config: Config) -> None:
    """Where everything is quantized, scores are INT8, which has no minus infinity for the channels
    behind 21 keys: they get it when they become numbers, and softmax goes over channels."""
    block = Block(tokens=tokens, size=16)
    graph = legalize(recognized(load(quantized(block, islands=False))), (), "float16").graph
    assert len([op for op in graph.ops if isinstance(op, Rows) and not op.norm]) == 1
    assert len([op for op in graph.ops if isinstance(op, Add) and op.b in graph.constants
                and op.b.nchw[2:] == (1, 1)]) == (tokens % 16 > 0)
    accurate(block, 1, config, islands=False)


def quantizing(ops: list[Op]) -> list[Pool]:
    """Operators that do nothing else."""
    return [op for op in ops if isinstance(op, Pool) and op.function is None and op.x.floating
            and not op.y.floating]


def test_what_makes_a_value_quantizes_it() -> None:
    """Queries, keys, values, softmax, heads, normalizations and GELU: none has an operator for
    it, and the normalization that three products read is there once."""
    ops = operators(Block(tokens=16, size=16))
    assert not quantizing(ops)
    norms = [op for op in ops if isinstance(op, Rows) and op.norm]
    assert [op.y.dtype for op in norms] == ["int8"] * 2
    assert all(op.y.dtype == "int8" for op in ops if isinstance(op, Rows))
    first, second = (op for op in ops if isinstance(op, Product))
    assert first.y.floating and second.y.dtype == "int8"
    assert [op.y.dtype for op in ops if isinstance(op, Conv) and op.y is first.x] == ["int8"]


def post_norm(scales: tuple[float, ...]) -> onnx.ModelProto:
    """A normalized product that is added later, and quantized with each of some scales for a
    product of its own."""
    net, rng = Net(), np.random.default_rng(2)
    x = net.dq(net.input("x", "int8", (1, 24, 32)), 0.02, 3, "int8")

    def dense(v: str) -> str:
        w = net.weights(rng.integers(-128, 128, (32, 32)).astype(np.int8), np.float32(0.002))
        return net.op("MatMul", v, w)
    y = net.op("LayerNormalization", dense(x), net.constant(np.ones(32, np.float32)), axis=-1)
    sums = [y]
    for scale in scales:
        flat = net.op("Reshape", y, net.constant(np.array([24, 32])))
        z = dense(net.dq(net.q(flat, scale, -5, "int8"), scale, -5, "int8"))
        sums.append(net.op("Add", sums[-1], net.op(
            "Reshape", z, net.constant(np.array([1, 24, 32])))))
    return net.model(sums[-1], kind="float32")


@pytest.mark.parametrize("scales,count", [((0.03,), 1), ((0.03, 0.03), 1), ((0.03, 0.02), 2)])
def test_values_that_are_floats_as_well(scales: tuple[float, ...], count: int) -> None:
    """Such a value is quantized behind its maker, with each scale once."""
    model = post_norm(scales)
    graph = legalize(load(model), (), "float16").graph
    assert len(quantizing(graph.ops)) == count
    x = {"x": np.random.default_rng(1).integers(-128, 128, (1, 24, 32)).astype(np.int8)}
    want = onnxruntime(model, x)[0]
    results = [golden(model, config, x) for config in TILINGS]
    assert 10 * np.log10((want ** 2).sum() / ((results[0] - want) ** 2).sum()) >= LEAST
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_one_normalization_for_all_that_quantize_it_alike() -> None:
    net = Net()
    x = net.input("x", "float32", (1, 8, 16))
    y = net.op("LayerNormalization", x, net.constant(np.ones(16, np.float32)), axis=-1)
    ends = []
    for i in range(3):
        w = net.weights(np.full((16, 8), i + 1, np.int8), np.float32(0.01))
        flat = net.op("Reshape", y, net.constant(np.array([8, 16])))
        ends.append(net.op("MatMul", net.dq(net.q(flat, 0.02, 1, "int8"), 0.02, 1, "int8"), w))
    ops = legalize(load(net.model(*ends, kind="float32")), (), "float16").graph.ops
    assert [type(op) for op in ops] == [Rows, Conv, Conv, Conv]


@pytest.mark.parametrize("block", [
    Block(tokens=24, heads=2, groups=1, size=16, inner=48, mask="causal", rotates=True),
    Block(tokens=19, heads=3, groups=1, size=6, inner=30, mask="padding",
          norm="RMSNormalization", function="SwiGLU")], ids=["whole words", "no whole words"])
def test_the_same_bits_however_it_is_cut(block: Block) -> None:
    model, x = quantized(block), block.inputs()
    programs = [compile_model(model, config) for config in TILINGS]
    results = [Session(p, GoldenDevice(p.config)).run(x).popitem()[1] for p in programs]
    assert len({p.image for p in programs}) >= 6
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
