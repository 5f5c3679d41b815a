# SPDX-License-Identifier: Apache-2.0
"""The last step of every engine on float values: clip, round to the type of the output, count."""

from dataclasses import dataclass

import numpy as np

from golden import arith
from golden.formats import from_float, pattern
from isa.config import Config
from isa.instructions import DType, Instruction


@dataclass
class Exceptions:
    """Result elements that are NaN or infinite, and sums in which a BF16 product overflowed; the
    machine's counters of the same names."""

    nan: int = 0
    infinite: int = 0
    overflow: int = 0

    def clear(self) -> None:
        """Start from zero."""
        self.nan = self.infinite = self.overflow = 0

    def count(self, value: np.ndarray, overflow: np.ndarray | bool = False) -> None:
        """Take note of results (binary32 as rounded to their type) that are written."""
        self.nan += int(np.isnan(value).sum())
        self.infinite += int(np.isinf(value).sum())
        self.overflow += int(np.sum(overflow))


def known(config: Config, *types: int) -> bool:
    """Whether the machine has these types."""
    return not any(types) or all(config.floats if t == DType.FP32 else
                                 DType(t).needs in config.dtypes for t in types)


def clip(value: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    """``value`` moved into [low, high]; NaN stays, a bound that is NaN is none, and of zeros
    the value's own sign."""
    value = np.where(value < low, low, value)
    return np.where(value > high, high, value).astype(np.float32)


def convert(value: np.ndarray, o_type: DType, i: Instruction, zero_point: int = 0, low: int = 0,
            high: int = 0) -> np.ndarray:
    """Binary32 [..., n] as bytes (uint8 [..., n * size]) of the output's type.

    INT8: ``clip(rint(value) + zero_point, low, high)``, NaN as zero; the others: clipped to
    ``i.lo_f`` … ``i.hi_f`` and rounded.
    """
    if o_type is DType.INT8:
        value = np.where(np.isnan(value), np.float32(0), value)
        return arith.finish(value, zero_point, low, high).astype(np.uint8)
    return from_float(clip(value, pattern(i.lo_f), pattern(i.hi_f)), o_type)
