# SPDX-License-Identifier: Apache-2.0
"""The compiler takes the scales that the machine takes."""

import numpy as np
import pytest

from compiler.ir.errors import CompileError
from compiler.ir.graph import check_scale
from golden import arith

LOW, HIGH = np.float32(2.0 ** -100), np.float32(2.0 ** 32)
OUTSIDE = np.nextafter(LOW, np.float32(0)), HIGH, np.float32(np.nan), np.float32(np.inf)


@pytest.mark.parametrize("scale", [LOW, np.nextafter(HIGH, np.float32(0))])
def test_taken(scale: np.float32) -> None:
    check_scale(np.array([1, scale]), "here")
    assert arith.is_scale(np.array([1, scale]))


@pytest.mark.parametrize("scale", [*OUTSIDE, np.float32(0), np.float32(-1)])
def test_refused(scale: np.float32) -> None:
    with pytest.raises(CompileError, match="here: its requantization factor"):
        check_scale(np.array([1, scale]), "here")
    assert not arith.is_scale(np.array([1, scale]))
