# SPDX-License-Identifier: Apache-2.0
"""Numbers that are joined and reordered keep their bits, whatever the widths of the words."""

from collections.abc import Callable

import numpy as np
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net

MACHINES = [name for name, config in PRESETS.items() if config.floats]
Build = Callable[[Net, list[str]], str]


def shuffle(net: Net, x: str, groups: int, shape: tuple[int, ...]) -> str:
    n, c, h, w = shape
    x = net.op("Reshape", x, net.constant(np.array([n, groups, c // groups, h, w])))
    x = net.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    return net.op("Reshape", x, net.constant(np.array(shape)))


CASES: dict[str, tuple[list[tuple[int, ...]], Build,
                       Callable[..., np.ndarray]]] = {
    "concat": ([(1, 8, 3, 5), (1, 5, 3, 5), (1, 24, 3, 5), (1, 3, 3, 5)],
               lambda net, x: net.op("Concat", *x, axis=1), lambda *v: np.concatenate(v, 1)),
    "concat of rows": ([(1, 9, 3, 5), (1, 9, 2, 5)], lambda net, x: net.op("Concat", *x, axis=2),
                       lambda *v: np.concatenate(v, 2)),
    "shuffle": ([(1, 24, 4, 4)], lambda net, x: shuffle(net, x[0], 3, (1, 24, 4, 4)),
                lambda v: v.reshape(1, 3, 8, 4, 4).transpose(0, 2, 1, 3, 4).reshape(1, 24, 4, 4)),
    "transpose": ([(1, 10, 6, 7)], lambda net, x: net.op("Transpose", x[0], perm=[0, 3, 1, 2]),
                  lambda v: v.transpose(0, 3, 1, 2)),
    "slice": ([(1, 19, 6, 7)], lambda net, x: net.op("Slice", x[0], *(
        net.constant(np.array(v)) for v in ([3, 1], [18, 6], [1, 2], [1, 2]))),
        lambda v: v[:, 3:18, 1:6:2]),
    "pad": ([(1, 11, 4, 5)], lambda net, x: net.op(
        "Pad", x[0], net.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1]))),
        lambda v: np.pad(v, ((0, 0), (0, 0), (1, 0), (2, 1))))}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("case", CASES)
def test_moves(case: str, machine: str) -> None:
    shapes, build, exact = CASES[case]
    rng = np.random.default_rng(3)
    data = [rng.standard_normal(s).astype(np.float16) for s in shapes]
    for v in data:
        v.flat[:3] = np.inf, 6e-8, -65504
    net = Net()
    # what is moved is computed, so that the host does not give it in another order
    inputs = [net.input(f"x{k}", "float32", s) for k, s in enumerate(shapes)]
    y = net.op("Relu", build(net, [net.op("Clip", x, net.constant(np.float32(-7e4)))
                                   for x in inputs]))
    program = compile_model(net.model(y, kind="float32"), PRESETS[machine], precision="fp16")
    got = Session(program, GoldenDevice(program.config)).run(
        {x: v.astype(np.float32) for x, v in zip(inputs, data, strict=True)})[y]
    want = np.maximum(exact(*data), 0).astype(np.float32)
    np.testing.assert_array_equal(got, want)
