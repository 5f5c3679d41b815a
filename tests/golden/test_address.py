# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic against loops over Python's integers."""

import itertools

import numpy as np
import pytest

from golden.address import checked, grid, in_image
from golden.fault import MachineFault
from isa.instructions import Fault

LOOPS = [((1, 5),), ((3, 5), (1, 9), (4, -2)), ((2, 0), (3, 7), (2, 200), (1, 0))]


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("base", [-4, 0, 131000])
def test_loops(loops, base):
    at, inside = grid(base, *loops), in_image(60, base, *loops)
    assert at.shape == inside.shape == tuple(count for count, _ in loops)
    for index in itertools.product(*(range(count) for count, _ in loops)):
        want = base + sum(k * step for k, (_, step) in zip(index, loops, strict=True))
        column = (want + 2**17) % 2**18 - 2**17
        assert at[index] == want and inside[index] == (0 <= column < 60)


def test_kept_results_cannot_be_changed():
    for kept in (grid(3, (2, 1)), in_image(3, 0, (2, 1))):
        with pytest.raises(ValueError, match="read-only"):
            kept += 1


def test_checked():
    """Addresses of six bits, two's complement, and a memory of 20 words."""
    at = np.array([0, 19, 64, -45, 83])
    assert checked(at, 20, 5, bits=6).tolist() == [0, 19, 0, 19, 19]
    for wrong in (20, 31, -1, -32, 63):
        at[2] = wrong
        with pytest.raises(MachineFault) as e:
            checked(at, 20, 5, bits=6)
        assert (e.value.code, e.value.index) == (Fault.SPM_RANGE, 5)
        used = np.array([True, True, False, True, True])
        result = checked(at, 20, 5, used, bits=6)
        assert result[used].tolist() == [0, 19, 19, 19] and 0 <= result[2] < 20
