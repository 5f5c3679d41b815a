# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic: modular sums and circular rows, for every engine's address generator."""

import numpy as np


def wrap(row: np.ndarray, size: int) -> np.ndarray:
    """``row`` modulo ``size``; unchanged where ``size`` is 0."""
    return np.mod(row, size) if size else row


def modular(value: np.ndarray, bits: int) -> np.ndarray:
    """``value`` modulo ``2**bits``, as a two's complement number: what a field's width keeps."""
    half = 1 << (bits - 1)
    return ((value + half) & (2 * half - 1)) - half


def on_circle(size: int, *rows: int) -> bool:
    """Whether row positions and steps lie in [0, size), as a circle wants them; any do without."""
    return not size or all(0 <= row < size for row in rows)


def total(count: int, tiles: int, last: int) -> np.ndarray:
    """Positions along an axis that ``tiles`` pieces of ``count`` cut, the last piece ``last``."""
    return np.arange((tiles - 1) * count + last)
