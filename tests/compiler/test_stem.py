# SPDX-License-Identifier: Apache-2.0
"""Space to depth: the host regroups a gray input, and the sums stay the same."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler import compile_model
from isa.presets import PRESETS
from tests.compiler.models import RANGE, Net, convolved, execute, requantized

FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def strided(dtype: str, zero: int, shape: tuple, kernel: tuple, stride: tuple, pads: tuple,
            machine: str, seed: int) -> tuple:
    """The program of one convolution, its output and the exact one."""
    rng = np.random.default_rng(seed)
    low, high = RANGE[dtype]
    x = rng.integers(low, high + 1, shape).astype(dtype)
    w = rng.integers(-128, 128, (9, shape[1], *kernel)).astype(np.int8)
    net = Net()
    y = net.op("Conv", net.dq(net.input("x", dtype, x.shape), 0.5, zero, dtype),
               net.weights(w, 0.25), strides=stride, pads=pads)
    program = compile_model(net.model(net.q(y, 128.0, -3, "int8")), PRESETS[machine])
    acc = convolved(x.astype(int) - zero, w, stride, (1, 1), pads, 1)
    want = requantized(acc, np.float32(0.125 / 128), -3, -128, 127)
    (got,) = execute(program, {"x": x}).values()
    return program, got, want


@FEW
@given(st.sampled_from(["int8", "uint8"]), st.integers(0, 100), st.integers(1, 2),
       st.integers(5, 19), st.integers(5, 19), st.integers(1, 5), st.integers(1, 5),
       st.tuples(st.integers(1, 2), st.integers(1, 2)),
       st.tuples(*[st.integers(0, 3)] * 4), st.sampled_from(["ecp5", "core256", "core1024"]))
def test_any_geometry_is_exact(dtype, zero, c, h, w, r, s, stride, pads, machine) -> None:
    _, got, want = strided(dtype, zero, (1, c, h, w), (r, s), stride, pads, machine, h * w)
    assert np.array_equal(got, want)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_strided_gray_stem_takes_half_the_passes(batch: int) -> None:
    program, got, want = strided("int8", 83, (batch, 1, 49, 10), (10, 4), (2, 2), (4, 1, 5, 1),
                                 "core256", 7)
    assert np.array_equal(got, want)
    assert program.inputs[0].cell == (2, 2) and program.inputs[0].fill == 83
    first = next(i for i in program.instructions() if i.opcode.name == "TENSOR")
    assert first.nr * first.ns == 5  # ten rows of one step without


def test_a_color_input_keeps_its_pixels() -> None:
    program, got, want = strided("uint8", 128, (1, 3, 12, 12), (3, 3), (2, 2), (0, 0, 1, 1),
                                 "core256", 1)
    assert np.array_equal(got, want) and program.inputs[0].cell == (1, 1)
