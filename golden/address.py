# SPDX-License-Identifier: Apache-2.0
"""Circular rows, shared by every engine's address generator."""

import numpy as np


def wrap(row: np.ndarray, size: int) -> np.ndarray:
    """``row`` modulo ``size``; unchanged where ``size`` is 0."""
    return np.mod(row, size) if size else row


def total(count: int, tiles: int, last: int) -> np.ndarray:
    """Positions along an axis that ``tiles`` pieces of ``count`` cut, the last piece ``last``."""
    return np.arange((tiles - 1) * count + last)
