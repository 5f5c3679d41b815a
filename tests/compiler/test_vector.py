# SPDX-License-Identifier: Apache-2.0
"""Pools, additions, clips, concatenation and shape operators against ONNX Runtime.

Scales are powers of two, so that the chain DequantizeLinear, operator, QuantizeLinear is exact in
binary32 and the results have to be equal; a mean by another divisor may differ by 1 next to a tie.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from compiler import CompileError
from isa.presets import PRESETS
from tests.compiler.models import RANGE, Net, onnxruntime, run

MACHINES = ("tiny", "ecp5", "core256", "core1024")
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
DTYPES = st.sampled_from(["int8", "uint8"])


def data(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = RANGE[dtype]
    return rng.integers(low, high + 1, shape).astype(dtype)


@FEW
@given(st.booleans(), st.booleans(), st.booleans(), DTYPES, DTYPES, st.integers(1, 2),
       st.integers(1, 37), st.tuples(*[st.integers(1, 4)] * 2), st.tuples(*[st.integers(1, 3)] * 2),
       st.tuples(*[st.integers(0, 2)] * 4), st.tuples(*[st.integers(4, 15)] * 2),
       st.sampled_from(MACHINES), st.integers(0, 99))
def test_pool(maximum: bool, ceil: bool, include: bool, x_type: str, y_type: str, n: int, c: int,
              kernel: tuple, stride: tuple, pads: tuple, size: tuple, machine: str, seed: int
              ) -> None:
    assume(all(max(a, b) < k for k, a, b in zip(kernel, pads[:2], pads[2:])))
    rng = np.random.default_rng(seed)
    x = data(rng, x_type, (n, c, *size))
    net = Net()
    xf = net.dq(net.input("x", x_type, x.shape), 0.5, int(data(rng, x_type, ())), x_type)
    extra = {} if maximum else {"count_include_pad": int(include)}
    y = net.op("MaxPool" if maximum else "AveragePool", xf, kernel_shape=kernel, strides=stride,
               pads=pads, ceil_mode=int(ceil), **extra)
    model = net.model(net.q(y, 0.5, int(data(rng, y_type, ())), y_type), kind=y_type)
    want, = onnxruntime(model, {"x": x})
    got, = run(model, PRESETS[machine], {"x": x})
    assert got.shape == want.shape
    error = np.abs(got.astype(int) - want.astype(int))
    assert error.max() <= (0 if maximum else 1)


@FEW
@given(DTYPES, DTYPES, st.integers(1, 2), st.integers(1, 40), st.integers(1, 12),
       st.integers(1, 12), st.sampled_from(["plain", "relu", "clip", "self", "broadcast"]),
       st.sampled_from(MACHINES), st.integers(0, 99))
def test_add(a_type: str, b_type: str, n: int, c: int, h: int, w: int, form: str, machine: str,
             seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = data(rng, a_type, (n, c, h, w)), data(rng, b_type, (n, c, h, w))
    if form == "broadcast":
        b = b[:, :, :1, :1].copy()
    net = Net()
    af = net.dq(net.input("a", a_type, a.shape), 0.5, 3, a_type)
    inputs = {"a": a}
    if form == "self":
        bf = af
    else:
        bf = net.dq(net.input("b", b_type, b.shape), 0.25, 1, b_type)
        inputs["b"] = b
    y = net.op("Add", af, bf)
    if form == "relu":
        y = net.op("Relu", y)
    if form == "clip":
        y = net.op("Clip", y, net.constant(np.float32(-3.3)), net.constant(np.float32(6)))
    model = net.model(net.q(y, 1.0, -5, "int8"))
    want, = onnxruntime(model, inputs)
    got, = run(model, PRESETS[machine], inputs)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("machine", MACHINES)
def test_requantize_and_integer_maximum(machine: str) -> None:
    rng = np.random.default_rng(0)
    x = data(rng, "int8", (2, 21, 7, 9))
    net = Net()
    net.input("x", "int8", x.shape)
    y = net.q(net.dq("x", 0.5, 4, "int8"), 0.25, 130, "uint8")
    z = net.op("MaxPool", y, kernel_shape=[2, 3], strides=[2, 1])
    model = net.model(z, kind="uint8")
    assert np.array_equal(run(model, PRESETS[machine], {"x": x})[0],
                          onnxruntime(model, {"x": x})[0])


@pytest.mark.parametrize("machine", MACHINES)
def test_concat_pad_slice_split(machine: str) -> None:
    rng = np.random.default_rng(1)
    x, y = data(rng, "int8", (1, 5, 6, 8)), data(rng, "int8", (1, 14, 6, 8))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 4, "int8")
    yf = net.dq(net.input("y", "int8", y.shape), 0.25, -9, "int8")
    c = net.constant
    joined = net.q(net.op("Concat", xf, yf, xf, axis=1), 0.5, 2, "int8")
    tall = net.q(net.op("Concat", xf, xf, axis=2), 0.5, 2, "int8")
    padded = net.q(net.op("Pad", yf, c(np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64))), 0.25, -9,
                   "int8")
    cut = net.q(net.op("Slice", yf, c(np.array([3, 1])), c(np.array([11, 8])),
                       c(np.array([1, 3])), c(np.array([1, 2]))), 0.25, -9, "int8")
    half = net.op("Split", net.dq(joined, 0.5, 2, "int8"), axis=1, num_outputs=3, outputs=3)
    split = net.q(half, 0.5, 2, "int8")
    for out in (joined, tall, padded, cut, split):
        model = net.model(out)
        assert np.array_equal(run(model, PRESETS[machine], {"x": x, "y": y})[0],
                              onnxruntime(model, {"x": x, "y": y})[0]), out


@pytest.mark.parametrize("machine", MACHINES)
def test_shape_operators_are_free(machine: str) -> None:
    """NHWC input, padded convolution, flatten into a matrix product, NHWC output."""
    rng = np.random.default_rng(4)
    x = data(rng, "int8", (1, 6, 7, 3))
    net = Net()
    c = net.constant
    t = net.op("Transpose", net.input("x", "int8", x.shape), perm=[0, 3, 1, 2])
    p = net.op("Pad", net.dq(t, 0.5, 4, "int8"), c(np.array([0, 0, 0, 1, 0, 0, 1, 1], np.int64)))
    f = net.op("Relu", net.op("Conv", p, net.weights(data(rng, "int8", (9, 3, 2, 3)), 0.25),
                              strides=[1, 2]))
    q = net.q(f, 32.0, 0, "int8")
    nhwc = net.op("Transpose", q, perm=[0, 2, 3, 1])
    flat = net.op("Flatten", net.dq(nhwc, 32.0, 0, "int8"))
    g = net.q(net.op("Gemm", flat, net.weights(data(rng, "int8", (216, 11)), 0.25)), 2048.0, 0,
              "int8")
    column = net.op("Unsqueeze", net.op("Squeeze", g, c(np.array([0]))), c(np.array([1])))
    for out in (nhwc, column):
        model = net.model(out)
        assert np.array_equal(run(model, PRESETS[machine], {"x": x})[0],
                              onnxruntime(model, {"x": x})[0])


@pytest.mark.parametrize("machine", MACHINES)
def test_constant_added_to_a_map(machine: str) -> None:
    rng = np.random.default_rng(6)
    x = data(rng, "int8", (1, 6, 5, 5))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 4, "int8")
    y = net.q(net.op("Add", xf, net.constant(np.arange(6, dtype=np.float32).reshape(6, 1, 1))),
              0.5, 0, "int8")
    model = net.model(y)
    assert np.array_equal(run(model, PRESETS[machine], {"x": x})[0],
                          onnxruntime(model, {"x": x})[0])


def test_global_mean_larger_than_the_scratchpad() -> None:
    rng = np.random.default_rng(7)
    x = data(rng, "int8", (1, 6, 64, 64))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 4, "int8")
    y = net.q(net.op("GlobalAveragePool", xf), 0.03125, 0, "int8")
    z = net.q(net.op("GlobalMaxPool", xf), 0.5, 0, "int8")
    for out in (y, z):
        model = net.model(out)
        assert np.array_equal(run(model, PRESETS["tiny"], {"x": x})[0],
                              onnxruntime(model, {"x": x})[0])


def test_two_branches_and_the_same_value_twice() -> None:
    """A value with three readers, two outputs, one of them also read inside."""
    rng = np.random.default_rng(8)
    x = data(rng, "int8", (2, 20, 9, 9))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 0, "int8")
    a = net.q(net.op("Conv", xf, net.weights(data(rng, "int8", (20, 20, 1, 1)), 0.25)), 16.0, 1,
              "int8")
    af = net.dq(a, 16.0, 1, "int8")
    b = net.q(net.op("Conv", af, net.weights(data(rng, "int8", (20, 20, 3, 3)), 0.25),
                     pads=[1] * 4), 2048.0, 0, "int8")
    s = net.q(net.op("Add", net.dq(b, 2048.0, 0, "int8"), af), 2048.0, 0, "int8")
    model = net.model(a, s)
    for machine in MACHINES:
        got = run(model, PRESETS[machine], {"x": x})
        for mine, want in zip(got, onnxruntime(model, {"x": x}), strict=True):
            assert np.array_equal(mine, want)


def test_what_is_refused_says_what_to_do() -> None:
    net = Net()
    xf = net.dq(net.input("x", "int8", (1, 4, 3, 3)), 0.5, 0, "int8")
    model = net.model(net.q(net.op("Sigmoid", xf), 0.5, 0, "int8"))
    with pytest.raises(CompileError, match="sigmoid_.*does not run Sigmoid.*--host Sigmoid"):
        run(model, PRESETS["tiny"], {})


@FEW
@given(st.permutations([1, 2, 3]), st.integers(1, 21), st.integers(1, 12), st.integers(1, 12),
       st.sampled_from(["transpose", "reshape", "reverse", "reflect"]), st.sampled_from(MACHINES),
       st.integers(0, 99))
def test_bytes_in_another_order(perm: list[int], c: int, h: int, w: int, form: str, machine: str,
                                seed: int) -> None:
    """Between two operators nothing can be left to the host's layout."""
    rng = np.random.default_rng(seed)
    x = data(rng, "int8", (1, c, h, w))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 3, "int8")
    a = net.q(net.op("Add", xf, xf), 1.0, 5, "int8")
    if form == "transpose":
        b = net.op("Transpose", a, perm=[0, *perm])
    elif form == "reshape":
        b = net.op("Reshape", a, net.constant(np.array([1, w, c, h], np.int64)))
    elif form == "reverse":
        b = net.op("Slice", a, *(net.constant(np.array(v, np.int64)) for v in
                                 ([-1, -1], [-999, -999], [1, 3], [-1, -1])))
    else:
        assume(h > 1)
        b = net.op("Pad", a, net.constant(np.array([0, 0, 1, 0, 0, 0, 1, 0], np.int64)),
                   mode="reflect")
    y = net.op("MaxPool", net.dq(b, 1.0, 5, "int8"), kernel_shape=[1, 1])
    model = net.model(net.q(y, 0.5, 0, "int8"))
    assert np.array_equal(run(model, PRESETS[machine], {"x": x})[0],
                          onnxruntime(model, {"x": x})[0])


def test_moves_between_tensors_in_dram() -> None:
    rng = np.random.default_rng(9)
    x = data(rng, "int8", (1, 9, 33, 40))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 0, "int8")
    a = net.q(net.op("Add", xf, xf), 1.0, 0, "int8")
    b = net.op("MaxPool", net.op("Transpose", a, perm=[0, 3, 1, 2]), kernel_shape=[2, 2])
    model = net.model(b)
    assert np.array_equal(run(model, PRESETS["tiny"], {"x": x})[0],
                          onnxruntime(model, {"x": x})[0])


@FEW
@given(st.lists(st.integers(1, 37), min_size=2, max_size=4), st.booleans(), st.integers(1, 2),
       st.sampled_from(MACHINES), st.integers(0, 99))
def test_concat_of_channels(sizes: list[int], clipped: bool, n: int, machine: str, seed: int
                            ) -> None:
    rng = np.random.default_rng(seed)
    net, inputs, parts = Net(), {}, []
    for i, c in enumerate(sizes):
        dtype = ["int8", "uint8"][int(rng.integers(2))]
        inputs[f"x{i}"] = data(rng, dtype, (n, c, 5, 6))
        scale = 2.0 ** int(rng.integers(-3, 1))
        parts.append(net.dq(net.input(f"x{i}", dtype, (n, c, 5, 6)), scale, int(data(rng, dtype, (
            ))), dtype))
    y = net.op("Concat", *parts, axis=1)
    if clipped:  # zero is not in the range
        y = net.op("Clip", y, net.constant(np.float32(2)), net.constant(np.float32(9)))
    model = net.model(net.q(y, 0.25, 3, "int8"))
    assert np.array_equal(run(model, PRESETS[machine], inputs)[0],
                          onnxruntime(model, inputs)[0])
