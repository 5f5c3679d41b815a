# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic of every engine: nested loops, circular rows, images, the scratchpad's end."""

import numpy as np

from golden.fault import MachineFault
from isa.instructions import IMAGE_BITS, Fault


def grid(base: int, *loops: tuple[int, int]) -> np.ndarray:
    """``base + sum(index * step)`` of nested loops (count, step), an axis each, the outer first."""
    at, shape = np.array([base]), [count for count, _ in loops]
    for count, step in loops:
        if count > 1:
            at = at[..., None] + np.arange(count) * step
    return at.reshape(shape)


def wrap(row: np.ndarray, size: int) -> np.ndarray:
    """``row`` modulo ``size``; unchanged where ``size`` is 0."""
    return np.mod(row, size) if size else row


def on_circle(size: int, *rows: int) -> bool:
    """Whether row positions and steps lie in [0, size), as a circle wants them; any do without."""
    return not size or all(0 <= row < size for row in rows)


def in_image(size: int, first: int, *loops: tuple[int, int]) -> np.ndarray:
    """Whether the coordinates of nested loops, whose steps are 0 or more, lie in [0, size), modulo
    ``2**IMAGE_BITS`` and as two's complement."""
    if first >= 0 and first + sum((count - 1) * step for count, step in loops) < size:
        return np.ones([count for count, _ in loops], bool)
    return (grid(first, *loops) & (1 << IMAGE_BITS) - 1) < size


def checked(at: np.ndarray, bits: int, size: int, index: int,
            used: np.ndarray | bool = True) -> np.ndarray:
    """Addresses modulo ``2**bits``, as a field's width keeps them; anything where not ``used``.

    Two's complement or not makes no difference: ``size`` is at most half of the range.

    Raises
    ------
    MachineFault
        SPM_RANGE if one that is used does not lie in [0, size).
    """
    at = at & (1 << bits) - 1
    if at.max() < size:
        return at
    if ((at >= size) & used).any():
        raise MachineFault(Fault.SPM_RANGE, index)
    return np.minimum(at, size - 1)
