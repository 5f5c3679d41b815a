# SPDX-License-Identifier: Apache-2.0
"""Matrix products of two activations, in every order that their tensors may have, and attention."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from isa.presets import PRESETS
from tests.compiler.models import Net, run

SHAPES = [((6, 8), (8, 12)), ((5, 20), (20, 33)), ((3, 5, 7), (3, 7, 9)), ((2, 4, 8), (1, 8, 16)),
          ((2, 3, 8, 4), (2, 3, 4, 8)), ((1, 4, 6, 5), (1, 2, 5, 3)), ((7,), (7, 5)),
          ((4, 6), (6,)), ((1, 64, 40), (1, 40, 48))]
"""Of both operands; the fourth of two matrices and one, the sixth of grouped queries, four and
two."""


def grouped(shape: tuple[int, ...], other: tuple[int, ...], b: np.ndarray) -> np.ndarray:
    """Matrices of the second operand, each for as many of the first one in a row."""
    return np.repeat(b, shape[1] // other[1], 1) if len(shape) == 4 else b


def network(net: Net, a: str, b: str, shapes: tuple, turned: bool) -> str:
    """The product of two values, the second one given the other way round if it is ``turned``."""
    shape, other = shapes
    if turned:
        b = net.op("Transpose", b, perm=[*range(len(other) - 2), len(other) - 1, len(other) - 2])
    if len(shape) == 4 and shape[1] != other[1]:
        pair = net.op("Unsqueeze", b, net.constant(np.array([2])))
        wide = (*other[:2], shape[1] // other[1], *other[2:])
        pair = net.op("Expand", pair, net.constant(np.array(wide)))
        b = net.op("Reshape", pair, net.constant(np.array((shape[0], shape[1], *other[2:]))))
    return net.op("MatMul", a, b)


def stored(other: tuple[int, ...], turned: bool) -> tuple[int, ...]:
    return (*other[:-2], *other[:-3:-1]) if turned else other


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp", "core1024_fp"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shapes", SHAPES)
def test_floats(shapes: tuple, turned: bool, machine: str) -> None:
    """Within FP16's rounding of what binary64 gives for the rounded operands."""
    shape, other = shapes
    if turned and len(other) < 2:
        pytest.skip("a vector has one order")
    net, rng = Net(), np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float16).astype(np.float32)
            for s in (shape, stored(other, turned)))
    y = network(net, net.input("a", "float32", a.shape), net.input("b", "float32", b.shape), shapes,
                turned)
    got, = run(net.model(y, kind="float32"), PRESETS[machine], {"a": a, "b": b},
               precision="fp16")
    right = np.swapaxes(b, -1, -2) if turned else b
    want = a.astype(np.float64) @ grouped(shape, other, right).astype(np.float64)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want.astype(np.float32).astype(np.float16))


@pytest.mark.parametrize("machine", ["tiny", "core256", "core1024"])
@pytest.mark.parametrize("kind,zero", [("int8", (3, -5)), ("uint8", (120, 7)), ("int8", (0, 9))])
@pytest.mark.parametrize("shapes", [((5, 20), (20, 33)), ((3, 5, 7), (3, 7, 9)),
                                    ((2, 3, 8, 4), (2, 3, 4, 8))])
def test_integers(shapes: tuple, kind: str, zero: tuple[int, int], machine: str) -> None:
    """Exact sums of integers less their zero points, which nothing behind a last channel adds
    to."""
    net, rng, low = Net(), np.random.default_rng(1), np.iinfo(kind)
    data = {name: rng.integers(low.min, low.max + 1, s).astype(kind)
            for name, s in zip("ab", shapes)}
    reals = [net.dq(net.input(n, kind, data[n].shape), 2.0 ** -6, z, kind)
             for n, z in zip("ab", zero)]
    y = net.q(net.op("MatMul", *reals), 2.0 ** -5, 2, kind)
    got, = run(net.model(y, kind=kind), PRESETS[machine], data)
    total = np.matmul(*(data[n].astype(np.int64) - z for n, z in zip("ab", zero)))
    want = np.clip(np.rint(total * 2.0 ** -7) + 2, low.min, low.max)
    np.testing.assert_array_equal(got, want)


def attention(net: Net, x: str, heads: int, width: int, rng: np.random.Generator) -> str:
    """Self-attention of ``x`` [1, T, width], as exporters write it."""
    def linear(v: str) -> str:
        w = rng.standard_normal((width, width)) / np.sqrt(width)
        y = net.op("MatMul", v, net.constant(w.astype(np.float32)))
        return net.op("Add", y, net.constant(rng.standard_normal(width).astype(np.float32)))

    def split(v: str, perm: list[int]) -> str:
        shape = np.array([1, -1, heads, width // heads])
        return net.op("Transpose", net.op("Reshape", v, net.constant(shape)), perm=perm)

    q, k, v = (split(linear(x), perm) for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    scores = net.op("Div", net.op("MatMul", q, k), net.constant(np.float32(np.sqrt(width / heads))))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), v)
    y = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]),
               net.constant(np.array([1, -1, width])))
    return linear(y)


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp"])
@pytest.mark.parametrize("tokens,heads,width", [(8, 2, 32), (11, 3, 24), (5, 1, 10)])
def test_attention(tokens: int, heads: int, width: int, machine: str) -> None:
    """Nothing on the host, 55 dB and more of ONNX's own reference."""
    net, rng = Net(), np.random.default_rng(tokens)
    x = rng.standard_normal((1, tokens, width)).astype(np.float32)
    y = attention(net, net.input("x", "float32", x.shape), heads, width, rng)
    model = net.model(y, kind="float32")
    got, = run(model, PRESETS[machine], {"x": x}, precision="fp16")
    want, = ReferenceEvaluator(model).run(None, {"x": x})
    assert 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()) > 55

