# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic of every engine: nested loops, circular rows, images, the scratchpad's end.

What loops give depends on the instruction alone, and is kept for the next time that it runs.
"""

import functools

import numpy as np

from golden.fault import MachineFault
from isa.instructions import IMAGE_BITS, SPM_ADDRESS_BITS, Fault

KEPT = 1 << 14
"""Results of loops that are kept."""


@functools.lru_cache(KEPT)
def grid(base: int, *loops: tuple[int, int]) -> np.ndarray:
    """``base + sum(index * step)`` of nested loops (count, step), an axis each, the outer first
    (read-only)."""
    at, shape = np.array([base]), [count for count, _ in loops]
    for count, step in loops:
        if count > 1:
            at = at[..., None] + np.arange(count) * step
    at = at.reshape(shape)
    at.flags.writeable = False
    return at


def wrap(row: np.ndarray, size: int) -> np.ndarray:
    """``row`` modulo ``size``; unchanged where ``size`` is 0."""
    return np.mod(row, size) if size else row


def on_circle(size: int, *rows: int) -> bool:
    """Whether row positions and steps lie in [0, size), as a circle wants them; any do without."""
    return not size or all(0 <= row < size for row in rows)


@functools.lru_cache(KEPT)
def in_image(size: int, first: int, *loops: tuple[int, int]) -> np.ndarray:
    """Whether coordinates of nested loops, modulo ``2**IMAGE_BITS`` and as two's complement, lie
    in [0, size) (read-only)."""
    inside = (grid(first, *loops) & (1 << IMAGE_BITS) - 1) < size
    inside.flags.writeable = False
    return inside


def checked(at: np.ndarray, size: int, index: int, used: np.ndarray | bool = True,
            bits: int = SPM_ADDRESS_BITS) -> np.ndarray:
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
