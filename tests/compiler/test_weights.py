# SPDX-License-Identifier: Apache-2.0
"""Weights as what the machine stores."""

import numpy as np
import pytest

from compiler.machine.weights import addends


@pytest.mark.parametrize(("low", "high", "count"), [(-128, 127, 1), (-146, 109, 1), (0, 255, 1),
                                                    (-128, 128, 2), (0, 256, 2),
                                                    (-255, 255, 2)])
def test_weights_are_a_sum_of_what_a_byte_holds(low: int, high: int, count: int) -> None:
    weight = np.array([low, 0, high, low // 2], np.int16).reshape(4, 1, 1, 1)
    found = addends(weight)
    assert len(found) == count
    assert np.array_equal(sum(w for w, _ in found), weight)
    for w, coding in found:
        stored = w + coding.zp
        assert stored.min() >= (-128 if coding.signed else 0)
        assert stored.max() <= (127 if coding.signed else 255)
