# SPDX-License-Identifier: Apache-2.0
"""The model of the suite, as a function of numpy, by datatype: what every server in it serves."""

import numpy as np

TYPES = {"floats": np.float32, "integers": np.int32}
"""numpy's type of all tensors by model."""

INPUTS, OUTPUTS, WIDTH = ("a", "b"), ("sum", "difference"), 4
"""Tensors of [-1, WIDTH]."""

ACCESS = "statistics-and-repository"
"""The token with which PyTriton lets a client ask for them."""


def arithmetic(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Sum and difference of the elements."""
    return {"sum": a + b, "difference": a - b}
