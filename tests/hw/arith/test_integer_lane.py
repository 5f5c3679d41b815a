# SPDX-License-Identifier: Apache-2.0
"""The post-processor's lane against binary32 arithmetic in numpy, corner cases first."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from golden import arith
from hw.arith.integer_lane import PostLane

BOUNDS = {"z1": -3, "lo1": -128, "hi1": 127, "z2": 7, "lo2": -100, "hi2": 120}


def run(inputs: list[dict[str, int]], constants: dict[str, int]) -> np.ndarray:
    dut = PostLane()
    latency = dut.LATENCY if constants["add"] else dut.PLAIN
    results = []

    async def bench(ctx):
        for name, value in constants.items():
            ctx.set(getattr(dut.constants, name), value)
        for i in range(len(inputs) + latency):
            if i < len(inputs):
                for name, value in inputs[i].items():
                    ctx.set(getattr(dut, name), value)
            if i >= latency:
                results.append(ctx.get(dut.out))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return np.array(results)


def bits(value: np.ndarray | float) -> np.ndarray:
    return np.asarray(value, np.float32).view(np.uint32)


def test_requantize() -> None:
    rng = np.random.default_rng(1)
    acc = np.concatenate([
        [0, 1, -1, 2**31 - 1, -2**31, 2**24 + 1, -(2**24 + 3), 2**25 + 2, 5, 15],
        rng.integers(-2**31, 2**31, 500), rng.integers(-3000, 3000, 2500)]).astype(np.int32)
    scale = np.concatenate([
        np.array([0.5, 0.5, 1.5, 2.0**-24, 2.0**-24, 2.0**-25, 1.0, 2.0**-99, 0.5, 0.1]),
        10.0 ** rng.uniform(-9.5, -6, 500), 10.0 ** rng.uniform(-4, 0, 2000),
        rng.integers(1, 64, 500) / 32]).astype(np.float32)
    bias = rng.integers(-50, 50, len(acc)).astype(np.int32)
    with np.errstate(over="ignore"):
        want = arith.requantize(acc + bias, scale, BOUNDS["z1"], BOUNDS["lo1"], BOUNDS["hi1"])
    got = run([{"acc": int(a), "bias": int(b), "scale": int(s)}
               for a, b, s in zip(acc, bias, bits(scale), strict=True)],
              {**BOUNDS, "add": 0})
    assert np.array_equal(got, want)
    assert len(np.unique(want)) > 100


@pytest.mark.parametrize("scale_a,scale_b", [
    (1.0, 1.0), (0.5, 0.25), (0.0371, 1.913), (3.5e-3, 0.77), (1e-20, 0.5), (0.5, 1e-20),
    (2.0**-12, 1.0000001), (0.33333334, 0.33333337), (700.0, 699.99994)])
@pytest.mark.parametrize("direct", [0, 1])
def test_add(scale_a: float, scale_b: float, direct: int) -> None:
    rng = np.random.default_rng(2)
    edge = np.array([-255, -128, -1, 0, 1, 127, 255])
    a = np.concatenate([np.repeat(edge, 7), rng.integers(-128, 128, 400)])
    b = np.concatenate([np.tile(edge, 7), rng.integers(-255, 256, 400)])
    if not direct:
        a = np.clip(a, -125, 120)
    want = arith.add(a, np.float32(scale_a), b, np.float32(scale_b), BOUNDS["z2"], BOUNDS["lo2"],
                     BOUNDS["hi2"])
    got = run([{"acc": int(x), "b": int(y), "scale": int(bits(1.0))}
               for x, y in zip(a, b, strict=True)],
              {**BOUNDS, "add": 1, "direct": direct, "scale_a": int(bits(scale_a)),
               "scale_b": int(bits(scale_b))})
    assert np.array_equal(got, want)
