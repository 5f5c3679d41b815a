# SPDX-License-Identifier: Apache-2.0
"""Numbers in the compiler: weights as patterns, bounds of results."""

import ml_dtypes
import numpy as np

from compiler.ir.errors import Unsupported
from compiler.ir.graph import DTYPE, Clip, Tensor
from isa.instructions import ABSENT

FLOATS = {"fp16": "float16", "bf16": "bfloat16"}
"""Element types by the precision's name."""

_NUMPY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

WORD = 8
"""Elements of two bytes in the largest word: groups of channels begin on a word."""

LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}
"""Finite numbers. Beside scores of minus the one of FP16 and less any other is all."""

PRODUCT_ANCHOR, SUM_ANCHOR = -50, -30
"""Exponents of the lowest bits of BF16 sums: products may be up to 2^30, elements up to 2^18."""


def patterns(values: np.ndarray, dtype: str, infinite: bool = False) -> np.ndarray:
    """Numbers rounded to ``dtype`` as uint16 patterns, -0 as +0.

    Raises
    ------
    Unsupported
        If one is NaN or, unless they may be, infinite, or too large for the type.
    """
    if infinite and not np.isnan(values).any():
        where = np.isfinite(values)
        finite = patterns(np.where(where, values, 0), dtype)
        with np.errstate(over="ignore"):
            return np.where(where, finite, np.asarray(values, np.float32).astype(_NUMPY[dtype]
                                                                                 ).view(np.uint16))
    if not np.isfinite(values).all():
        raise Unsupported("one of its weights is NaN or infinite",
                          "export the model again: its weights are damaged")
    with np.errstate(over="ignore"):
        rounded = np.asarray(values, np.float32).astype(_NUMPY[dtype])
    if not np.isfinite(rounded.astype(np.float32)).all():
        raise Unsupported(f"one of its weights, {np.abs(values).max():g}, is no {dtype}",
                          "scale the weights" + (", or use bf16" if dtype == "float16" else ""))
    bits = rounded.view(np.uint16)
    return np.where(bits == ABSENT, np.uint16(0), bits)


def filters(weight: np.ndarray, dtype: str) -> np.ndarray:
    """Weights [outputs, inputs, taps ...] rounded to ``dtype``, as :func:`patterns`, with error
    feedback.

    What rounding takes from a weight is added to the next one of the same output: input by input,
    from its largest tap to its smallest, which takes the rest with the finest step. (With a single
    tap, from the largest input to the smallest.) So the sum over a kernel is right, and with it
    what the kernel makes of a region where pixels are alike, or of activations behind a Relu, whose
    mean is not zero; rounded to nearest, each tap alone, the errors add up there. If the type has
    every weight, they are as they were; a weight of zero stays zero.

    Raises
    ------
    Unsupported
        As :func:`patterns`.
    """
    kind, outputs = _NUMPY[dtype], len(weight)
    inputs = weight.shape[1] if weight[0, 0].size > 1 else 1
    nearest = patterns(weight, dtype).view(kind).reshape(outputs, inputs, -1)
    order = np.argsort(-np.abs(weight.reshape(nearest.shape)), axis=2, kind="stable")
    exact, result = (np.take_along_axis(w, order, 2).reshape(outputs, -1) for w in (
        weight.reshape(nearest.shape).astype(np.float64), nearest))
    error = np.zeros(outputs)
    for k in range(exact.shape[1]):
        want = exact[:, k] + error
        with np.errstate(over="ignore"):
            got = want.astype(np.float32).astype(kind)
        stays = (exact[:, k] == 0) | ~np.isfinite(got.astype(np.float32))
        result[:, k] = np.where(stays, result[:, k], got)
        error = want - result[:, k].astype(np.float64)
    placed = np.empty(nearest.shape, np.float32)
    np.put_along_axis(placed, order, result.reshape(nearest.shape).astype(np.float32), 2)
    return patterns(placed, dtype).reshape(weight.shape)


def one_hot(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], dtype: str
            ) -> np.ndarray:
    """Weights of a 1 x 1 convolution, [outputs, inputs, 1, 1], that moves elements of ``dtype``:
    one at (row, column), none elsewhere."""
    if dtype in _NUMPY:
        weight = np.full((*shape, 1, 1), ABSENT, np.uint16)
        weight[rows, columns, 0, 0] = patterns(np.ones(1), dtype)
    else:
        weight = np.zeros((*shape, 1, 1), np.int16)
        weight[rows, columns, 0, 0] = 1
    return weight


def anchor(x: Tensor, exponent: int) -> int:
    """The field ``anchor`` of an instruction that reads ``x``."""
    return exponent if x.dtype == "bfloat16" else 0


def bounds(y: Tensor, clip: Clip, names: tuple[str, str, str]) -> dict[str, int]:
    """The output's type and what it is clipped to; ``names`` are the fields of integers."""
    if y.floating:
        with np.errstate(over="ignore"):
            low, high = (int(np.float16(v).view(np.uint16)) for v in (clip.lo, clip.hi))
        return {"o_type": DTYPE[y.dtype], "lo_f": low, "hi_f": high}
    return {"o_type": DTYPE[y.dtype], **dict(zip(names, (clip.z, int(clip.lo), int(clip.hi)),
                                                 strict=True))}
