# SPDX-License-Identifier: Apache-2.0
"""Random networks of several layers and branches on every machine, scales powers of two: results
equal ONNX Runtime's. The smallest machine's scratchpad holds none of their tensors for long."""

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler import compile_model
from isa.config import Config
from isa.presets import INTEGER
from tests.compiler.models import Net, execute, onnxruntime
from tests.compiler.test_hazards import check

SMALL = Config(name="small4", lanes=4, tiles=4, spm_bytes=4096, spm_banks=8, psum_depth=8,
               ppu_lanes=2, weight_words=1, vector_lanes=2, bus_bytes=8, addr_bits=32)
MACHINES = [*INTEGER, SMALL]


class Builder:
    """A network that grows one random operator at a time."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.net = Net()
        c, h, w = (int(v) for v in self.rng.integers(1, (24, 14, 14) if seed % 3 else (40, 40, 40)))
        n = int(self.rng.choice([1, 1, 1, 2, 3]))
        self.net.input("x", "int8", (n, c, h, w))
        self.live = [("x", 0.5, 0, (n, c, h, w))]

    def pick(self) -> tuple:
        return self.live[-1] if self.rng.random() < 0.6 else \
            self.live[self.rng.integers(len(self.live))]

    def real(self, value: tuple) -> str:
        return self.net.dq(value[0], value[1], value[2], "int8")

    def quantized(self, x: str, scale: float, shape: tuple) -> None:
        zero = int(self.rng.integers(-20, 20))
        if self.rng.random() < 0.5:
            x = self.net.op("Relu", x)
        self.live.append((self.net.q(x, scale, zero, "int8"), scale, zero, shape))

    def conv(self) -> None:
        value = self.pick()
        n, c, h, w = value[3]
        depthwise = self.rng.random() < 0.3
        k = c if depthwise else int(self.rng.integers(1, 24))
        r, s = (int(v) for v in self.rng.integers(1, 4, 2))
        stride = [int(v) for v in self.rng.integers(1, 3, 2)]
        pads = [int(v) for v in self.rng.integers(0, 2, 4)]
        out = [(size + a + b - q) // t + 1 for size, a, b, q, t in
               zip((h, w), pads[:2], pads[2:], (r, s), stride)]
        if min(out) < 1 or h + pads[0] + pads[2] < r or w + pads[1] + pads[3] < s:
            return
        wt = self.rng.integers(-128, 128, (k, 1 if depthwise else c, r, s)).astype(np.int8)
        size = 2.0 ** np.round(np.log2(wt[0].size ** 0.5 * 128 * value[1] * 0.25 / 2))
        x = self.net.op("Conv", self.real(value), self.net.weights(wt, 0.25), strides=stride,
                        pads=pads, group=c if depthwise else 1)
        self.quantized(x, size, (n, k, *out))

    def add(self) -> None:
        a = self.pick()
        others = [v for v in self.live if v[3] == a[3]]
        b = others[self.rng.integers(len(others))]
        x = self.net.op("Add", self.real(a), self.real(b))
        self.quantized(x, max(a[1], b[1]), a[3])

    def residual(self) -> None:
        a = self.pick()
        n, c, h, w = a[3]
        wt = self.rng.integers(-128, 128, (c, c, 1, 1)).astype(np.int8)
        x = self.net.op("Conv", self.real(a), self.net.weights(wt, 2.0 ** -8))
        y = self.net.dq(self.net.q(x, a[1], 3, "int8"), a[1], 3, "int8")
        self.quantized(self.net.op("Add", y, self.real(a)), a[1], a[3])

    def pool(self) -> None:
        value = self.pick()
        n, c, h, w = value[3]
        if min(h, w) < 2:
            return
        x = self.net.op("MaxPool", self.real(value), kernel_shape=[2, 2], strides=[1, 2])
        self.quantized(x, value[1], (n, c, h - 1, (w - 2) // 2 + 1))

    def turn(self) -> None:
        value = self.pick()
        n, c, h, w = value[3]
        x = self.net.op("Transpose", value[0], perm=[0, 3, 1, 2])
        self.live.append((x, value[1], value[2], (n, w, c, h)))

    def concat(self) -> None:
        a = self.pick()
        others = [v for v in self.live if v[3][2:] == a[3][2:]]
        b = others[self.rng.integers(len(others))]
        x = self.net.op("Concat", self.real(a), self.real(b), axis=1)
        self.quantized(x, max(a[1], b[1]), (a[3][0], a[3][1] + b[3][1], *a[3][2:]))


def grown(seed: int, steps: list[str]) -> tuple[onnx.ModelProto, list[str], np.ndarray] | None:
    """A model, its outputs (every value that nobody reads) and an input; None if no step fits."""
    b = Builder(seed)
    for step in steps:
        getattr(b, step)()
    if len(b.live) == 1:
        return None
    used = {i for n in b.net.nodes for i in n.input}
    outs = [v[0] for v in b.live if v[0] not in used]
    return b.net.model(*outs), outs, b.rng.integers(-128, 128, b.live[0][3]).astype(np.int8)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.lists(st.sampled_from(
    ["conv", "conv", "conv", "add", "residual", "pool", "concat", "turn"]), min_size=2, max_size=9),
    st.sampled_from(MACHINES))
def test_random_network(seed: int, steps: list[str], machine: Config) -> None:
    network = grown(seed, steps)
    if network is None:
        return
    model, outs, x = network
    program = compile_model(model, machine)
    got = execute(program, {"x": x})
    for name, want in zip(outs, onnxruntime(model, {"x": x}), strict=True):
        assert np.array_equal(got[name], want), name
    if seed % 4 == 0:
        check(program)
