# SPDX-License-Identifier: Apache-2.0
"""Blocks of transformers: several images at once, any lengths and widths, and the same bits however
they are cut."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler import compile_model
from compiler.ir.graph import Conv, Move
from compiler.lower.legalize import legalize
from compiler.source.frontend import load
from isa.config import Config
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.blocks import Block
from tests.compiler.models import Net, onnxruntime

LEAST = 55
"""dB against ONNX Runtime's binary32."""

TINY = PRESETS["tiny_fp"]


def golden(model: onnx.ModelProto, config: Config, x: dict[str, np.ndarray]) -> np.ndarray:
    program = compile_model(model, config, precision="fp16")
    assert not [row for row in program.placement if row["engine"] == "host"]
    got, = Session(program, GoldenDevice(config)).run(x).values()
    return got


def accurate(block: Block, seed: int, config: Config = TINY) -> None:
    model, x = block.model(seed), block.inputs(seed)
    got, want = golden(model, config, x).astype(np.float64), onnxruntime(model, x)[0]
    assert 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()) >= LEAST


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    groups = draw(st.sampled_from([1, 2, 3]))
    return Block(
        batch=draw(st.sampled_from([1, 1, 1, 2, 3])), tokens=draw(st.integers(2, 19)),
        heads=groups * draw(st.integers(1, 2)), groups=groups,
        size=2 * draw(st.integers(1, 7)), inner=draw(st.integers(1, 40)),
        mask=draw(st.sampled_from(["", "causal", "padding"])),
        norm=draw(st.sampled_from(["LayerNormalization", "RMSNormalization"])),
        function=draw(st.sampled_from(["Gelu", "Relu", "SwiGLU"])),
        rotates=draw(st.booleans()), merged=draw(st.booleans()))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck),
          derandomize=True)
@given(blocks(), st.integers(0, 99))
def test_random_blocks(block: Block, seed: int) -> None:
    accurate(block, seed)


@pytest.mark.parametrize("mask", ["", "causal", "padding"])
@pytest.mark.parametrize("batch", [2, 5])
def test_batches(batch: int, mask: str) -> None:
    """Tokens of all images are the pixels of one map; only products take them apart."""
    block = Block(batch=batch, tokens=16, size=16, mask=mask, merged=True, rotates=True, groups=1)
    accurate(block, batch, PRESETS["core256_fp"])


def test_tokens_move_for_products_alone() -> None:
    model = Block(batch=2, tokens=16, size=16).model()
    graph = legalize(load(model), (), "float16").graph
    assert len([op for op in graph.ops if isinstance(op, Move)]) == 4


def test_earlier_keys_and_values_come_as_tokens() -> None:
    """What a decoder joins with them is a token as well: nothing but the two joints moves."""
    net, rng = Net(), np.random.default_rng(6)
    x = net.input("x", "float32", (1, 1, 16))
    earlier = [net.input(n, "float32", (1, 2, 15, 8)) for n in ("keys", "values")]
    parts = []
    for _ in range(3):
        w = net.constant((rng.standard_normal((16, 16)) / 4).astype(np.float32))
        y = net.op("Reshape", net.op("MatMul", x, w), net.constant(np.array([1, 1, 2, 8])))
        parts.append(net.op("Transpose", y, perm=[0, 2, 1, 3]))
    k, v = (net.op("Concat", old, new, axis=2) for old, new in zip(earlier, parts[1:]))
    scores = net.op("MatMul", parts[0], net.op("Transpose", k, perm=[0, 1, 3, 2]))
    y = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    model = net.model(y, k, v, kind="float32")
    graph = legalize(load(model), (), "float16").graph
    assert len([op for op in graph.ops if isinstance(op, Move)]) == 2
    inputs = {i.name: rng.standard_normal([d.dim_value for d in i.type.tensor_type.shape.dim])
              .astype(np.float16).astype(np.float32) for i in model.graph.input}
    program = compile_model(model, TINY, precision="fp16")
    got = Session(program, GoldenDevice(TINY)).run(inputs).values()
    for mine, want in zip(got, onnxruntime(model, inputs), strict=True):
        assert 10 * np.log10((want ** 2).sum() / ((mine - want) ** 2).sum()) >= LEAST


def test_pixels_in_another_order_stay_where_they_are() -> None:
    """Patches of 2 x 2 whose corners are sequences, as MobileViT has them: neither a product with
    weights nor a normalization moves them, nor what is added to them behind it."""
    net, rng = Net(), np.random.default_rng(4)
    x = net.input("x", "float32", (1, 8, 6, 4))
    y = net.op("Conv", x, net.constant(rng.standard_normal((16, 8, 1, 1)).astype(np.float32)))

    def reshape(v: str, *shape: int) -> str:
        return net.op("Reshape", v, net.constant(np.array(shape)))
    y = net.op("Transpose", reshape(y, 48, 2, 2, 2), perm=[0, 2, 1, 3])
    y = reshape(net.op("Transpose", reshape(y, 1, 16, 6, 4), perm=[0, 3, 2, 1]), 4, 6, 16)
    y = net.op("LayerNormalization", y, net.constant(np.ones(16, np.float32)), axis=-1)
    w = net.constant(rng.standard_normal((16, 16)).astype(np.float32))
    y = net.op("Add", y, net.op("MatMul", y, w))
    y = net.op("Transpose", reshape(y, 1, 4, 6, 16), perm=[0, 3, 2, 1])
    y = reshape(net.op("Transpose", reshape(y, 48, 2, 2, 2), perm=[0, 2, 1, 3]), 1, 16, 6, 4)
    model = net.model(y, kind="float32")
    ops = legalize(load(model), (), "float16").graph.ops
    assert sum(isinstance(op, Conv) for op in ops) == 2
    assert not any(isinstance(op, Move) for op in ops)
    inputs = {"x": rng.standard_normal((1, 8, 6, 4)).astype(np.float16).astype(np.float32)}
    got, want = golden(model, TINY, inputs), onnxruntime(model, inputs)[0]
    assert 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()) >= LEAST


TILINGS = [replace(TINY, name="cut", **change) for change in (
    {}, {"spm_bytes": TINY.spm_bytes // 2}, {"spm_bytes": 4 * TINY.spm_bytes},
    {"psum_depth": TINY.psum_depth // 2}, {"psum_depth": 2 * TINY.psum_depth},
    {"spm_bytes": TINY.spm_bytes // 2, "psum_depth": TINY.psum_depth // 2},
    {"tiles": 2}, {"spm_bytes": 64 * TINY.spm_bytes, "psum_depth": 128})]
"""Scratchpads from one that holds few tokens to one that holds all, and other rectangles."""


@pytest.mark.parametrize("block", [
    Block(tokens=24, heads=2, groups=1, size=16, inner=48, mask="causal", rotates=True),
    Block(tokens=19, heads=3, groups=1, size=6, inner=30, mask="padding",
          norm="RMSNormalization", function="SwiGLU")], ids=["whole words", "no whole words"])
def test_the_same_bits_however_it_is_cut(block: Block) -> None:
    model, x = block.model(), block.inputs()
    programs = [compile_model(model, config, precision="fp16") for config in TILINGS]
    results = [Session(p, GoldenDevice(p.config)).run(x).popitem()[1] for p in programs]
    assert len({p.image for p in programs}) >= 6
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
