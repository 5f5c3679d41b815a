# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products: bit-identical to exact integer arithmetic, for every machine,
and to ONNX Runtime's QLinearConv, QLinearMatMul and QGemm."""

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isa.presets import PRESETS
from tests.compiler.models import RANGE, Net, convolved, onnxruntime, requantized, run

MACHINES = ("tiny", "ecp5", "core256", "core1024")
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def data(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = RANGE[dtype]
    return rng.integers(low, high + 1, shape).astype(dtype)


@st.composite
def convolutions(draw) -> dict:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    depthwise = draw(st.booleans()) and groups > 1
    cg = 1 if depthwise else draw(st.integers(1, 19))
    kg = draw(st.integers(1, 2)) if depthwise else draw(st.integers(1, 19))
    if depthwise:
        groups = draw(st.integers(2, 40))
    most = 8 if depthwise else 5  # what the window engine takes, and one more
    r, s = draw(st.integers(1, most)), draw(st.integers(1, most))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    least = [max(1, (k - 1) * d + 1 - a - b) for k, d, a, b in
             zip((r, s), dilation, pads[:2], pads[2:])]
    h, w = (draw(st.integers(m, m + 13)) for m in least)
    return {"n": draw(st.sampled_from([1, 1, 2])), "groups": groups, "cg": cg, "k": kg * groups,
            "r": r, "s": s, "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            "dilation": dilation, "pads": pads, "h": h, "w": w,
            "x": draw(st.sampled_from(["int8", "uint8"])),
            "y": draw(st.sampled_from(["int8", "uint8"])),
            "weight": draw(st.sampled_from(["int8", "uint8"])),
            "per_channel": draw(st.booleans()), "bias": draw(st.booleans()),
            "zeros": draw(st.booleans()), "seed": draw(st.integers(0, 2**16)),
            "machine": draw(st.sampled_from(MACHINES))}


@FEW
@given(convolutions())
def test_conv_is_exact(p: dict) -> None:
    rng = np.random.default_rng(p["seed"])
    x = data(rng, p["x"], (p["n"], p["cg"] * p["groups"], p["h"], p["w"]))
    w = data(rng, p["weight"], (p["k"], p["cg"], p["r"], p["s"]))
    x_zp, y_zp = int(data(rng, p["x"], ())), int(data(rng, p["y"], ()))
    count = p["k"] if p["per_channel"] else 1
    s_w = rng.uniform(0.002, 0.01, count).astype(np.float32)
    w_zp = data(rng, p["weight"], (count,)) if p["zeros"] else np.zeros(count, p["weight"])
    s_x, s_y = np.float32(0.021), np.float32(0.3)
    net = Net()
    xf = net.dq(net.input("x", p["x"], x.shape), s_x, x_zp, p["x"])
    args = [xf, net.weights(w, s_w if p["per_channel"] else s_w[0],
                            w_zp if p["per_channel"] else w_zp[0],
                            0 if p["per_channel"] else None)]
    bias = np.zeros(p["k"], np.int32)
    unit = (s_x * np.broadcast_to(s_w, (p["k"],))).astype(np.float32)
    if p["bias"]:
        bias = rng.integers(-3000, 3000, p["k"]).astype(np.int32)
        args.append(net.dq(net.constant(bias), unit, np.zeros(p["k"], np.int32), "int32", 0))
    y = net.op("Conv", *args, strides=p["stride"], dilations=p["dilation"], group=p["groups"],
               pads=p["pads"], kernel_shape=[p["r"], p["s"]])
    model = net.model(net.q(y, s_y, y_zp, p["y"]), kind=p["y"])
    acc = convolved(x.astype(int) - x_zp,
                    w.astype(int) - np.broadcast_to(w_zp.astype(int), (p["k"],))[:, None, None,
                                                                                 None],
                    p["stride"], p["dilation"],
                    (p["pads"][0], p["pads"][1], p["pads"][2], p["pads"][3]), p["groups"])
    want = requantized(acc + bias[:, None, None], (unit / s_y).astype(np.float32)[:, None, None],
                       y_zp, *RANGE[p["y"]])
    got, = run(model, PRESETS[p["machine"]], {"x": x})
    assert np.array_equal(got, want)


@FEW
@given(st.integers(1, 5), st.integers(1, 90), st.integers(1, 40), st.booleans(), st.booleans(),
       st.sampled_from(MACHINES), st.integers(0, 99))
def test_gemm_is_exact(m: int, k: int, n: int, trans: bool, per_channel: bool, machine: str,
                       seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = data(rng, "int8", (m, k)), data(rng, "int8", (k, n))
    s_w = rng.uniform(0.002, 0.01, n if per_channel else 1).astype(np.float32)
    s_x, s_y = np.float32(0.04), np.float32(0.13)
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), s_x, 3, "int8")
    axis = (0 if trans else 1) if per_channel else None
    wf = net.weights(w.T.copy() if trans else w, s_w if per_channel else s_w[0], 0, axis)
    bias = rng.integers(-500, 500, n).astype(np.int32)
    unit = (s_x * np.broadcast_to(s_w, (n,))).astype(np.float32)
    bf = net.dq(net.constant(bias), unit, np.zeros(n, np.int32), "int32", 0)
    y = net.q(net.op("Gemm", xf, wf, bf, transB=int(trans)), s_y, -7, "int8")
    acc = (x.astype(int) - 3) @ w.astype(int) + bias
    want = requantized(acc, (unit / s_y).astype(np.float32), -7, -128, 127)
    got, = run(net.model(y), PRESETS[machine], {"x": x})
    assert np.array_equal(got, want)


@pytest.mark.parametrize("machine", MACHINES)
def test_qlinear_operators_equal_onnxruntime(machine: str) -> None:
    rng = np.random.default_rng(5)
    x = data(rng, "uint8", (1, 5, 9, 8))
    net = Net()
    net.input("x", "uint8", x.shape)
    c = net.constant
    w = rng.integers(-63, 64, (6, 5, 3, 3)).astype(np.int8)
    y = net.op("QLinearConv", "x", c(np.float32(0.02)), c(np.uint8(120)), c(w),
               c(rng.uniform(0.01, 0.02, 6).astype(np.float32)), c(np.zeros(6, np.int8)),
               c(np.float32(0.07)), c(np.uint8(128)),
               c(rng.integers(-900, 900, 6).astype(np.int32)), pads=[1, 1, 1, 1])
    f = net.op("Reshape", y, c(np.array([1, 432], np.int64)))
    w2 = rng.integers(-63, 64, (432, 7)).astype(np.int8)
    z = net.op("QLinearMatMul", f, c(np.float32(0.07)), c(np.uint8(128)), c(w2),
               c(np.float32(0.01)), c(np.int8(0)), c(np.float32(0.25)), c(np.uint8(100)))
    g = net.op("QGemm", f, c(np.float32(0.07)), c(np.uint8(128)), c(w2), c(np.float32(0.01)),
               c(np.int8(0)), c(np.arange(7, dtype=np.int32) * 50), c(np.float32(0.25)),
               c(np.uint8(100)), domain="com.microsoft", alpha=1.0)
    model = net.model(z, g, kind="uint8", shape=[1, 7])
    model.graph.output.append(onnx.helper.make_tensor_value_info(y, 2, [1, 6, 9, 8]))
    got = run(model, PRESETS[machine], {"x": x})
    for mine, want in zip(got, onnxruntime(model, {"x": x}), strict=True):
        assert np.array_equal(mine, want)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad(mode: str, machine: str) -> None:
    rng = np.random.default_rng(2)
    x = data(rng, "int8", (1, 3, 10, 7))
    w = data(rng, "int8", (4, 3, 3, 4))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 0, "int8")
    y = net.q(net.op("Conv", xf, net.weights(w, 0.5), auto_pad=mode, strides=[2, 3]), 64.0, 0,
              "int8")
    model = net.model(y)
    got, = run(model, PRESETS[machine], {"x": x})
    want, = onnxruntime(model, {"x": x})
    assert np.array_equal(got, want)  # powers of two: the float chain is exact, too


@pytest.mark.parametrize("machine", MACHINES)
def test_batched_matmul_and_conv1d(machine: str) -> None:
    rng = np.random.default_rng(3)
    x = data(rng, "int8", (3, 6, 10))
    net = Net()
    xf = net.dq(net.input("x", "int8", x.shape), 0.5, 1, "int8")
    a = net.q(net.op("MatMul", xf, net.weights(data(rng, "int8", (10, 9)), 0.25)), 32.0, 0, "int8")
    b = net.q(net.op("MatMul", xf, net.weights(data(rng, "int8", (3, 10, 5)), 0.25)), 32.0, 0,
              "int8")
    c = net.q(net.op("Conv", xf, net.weights(data(rng, "int8", (7, 6, 3)), 0.25), pads=[1, 2]),
              32.0, 0, "int8")
    for name in (a, b, c):
        model = net.model(name)
        got, = run(model, PRESETS[machine], {"x": x})
        want, = onnxruntime(model, {"x": x})
        assert np.array_equal(got, want)
