# SPDX-License-Identifier: Apache-2.0
"""The functions of a vector lane against the golden model."""

import numpy as np
import pytest
from amaranth.hdl import Signal

from golden.functions import evaluate
from hw.vector import function
from isa.instructions import VectorOp
from tests.hw.arith.test_ieee import Bench, bits_of, interesting, stream


def arguments(rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers where the functions are neither constant nor what they were given."""
    size = np.exp(rng.uniform(-9, 5.5, count)) * rng.choice([-1, 1], count)
    return size.astype(np.float32).view(np.uint32)


@pytest.mark.parametrize("op", [op for op in VectorOp if op.function])
def test_function(op: VectorOp) -> None:
    rng = np.random.default_rng(op)
    x = np.concatenate([arguments(rng, 1500), interesting(rng, 1500)])
    rng.shuffle(x)
    dut = Bench(lambda m, a, _: function.function(m, "f", a, Signal(4, init=op)))
    got = stream(dut, [(dut.a, x)], dut.out, function.LATENCY)
    np.testing.assert_array_equal(got, bits_of(evaluate(op, x.view(np.float32))))
