# SPDX-License-Identifier: Apache-2.0
"""The adder of three stages against numpy's, with subnormals flushed to zero on both sides."""

import numpy as np
import pytest

from synth.float_adder import STAGES, add
from tests.hw.arith.test_ieee import Bench, bits_of, interesting, stream

TINY = np.finfo(np.float32).tiny


def flushed(value: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) < TINY, np.copysign(np.float32(0), value), value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_sums() -> None:
    rng = np.random.default_rng(5)
    bits = [interesting(rng, 4000) for _ in range(2)]
    # as many that nearly cancel: the same exponent, or the next, and the other sign
    bits[1][::4] = bits[0][::4] ^ (1 << 31) ^ rng.integers(0, 1 << 24, 1000, np.uint32)
    a, b = (flushed(n.view(np.float32)) for n in bits)
    want = flushed(a + b)
    dut = Bench(lambda m, x, y: add(m, "add", x, y))
    got = stream(dut, [(dut.a, a.view(np.uint32)), (dut.b, b.view(np.uint32))], dut.out, STAGES)
    for kind in (np.isnan(want), np.isinf(want), want == 0, np.isfinite(want) & (want != 0)):
        assert kind.sum() > 50
    np.testing.assert_array_equal(got, bits_of(want))
