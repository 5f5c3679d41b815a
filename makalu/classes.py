# SPDX-License-Identifier: Apache-2.0
"""Outputs by the names of their classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.ports import InputError, Port

TOP = 5


def class_names(path: str | Path | None) -> list[str]:
    """The lines of a file; none without one.

    Raises
    ------
    InputError
        If it cannot be read, or is empty.
    """
    if path is None:
        return []
    try:
        names = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: names of classes cannot be read ({e}); give a text file with one"
                         " a line") from None
    if not names:
        raise InputError(f"{path} names no class; give a text file with one a line")
    return names


def check(names: Sequence[str], ports: Sequence[Port]) -> None:
    """Compare the number of classes with the outputs of a network.

    Raises
    ------
    InputError
        If an output has another number of elements.
    """
    for port in ports if names else ():
        if (count := int(np.prod(port.shape[1:]))) not in (0, len(names)):
            raise InputError(f"there are {len(names):,} names of classes, and the network's output "
                             f"{port} has {count:,}: give a file with a line for each")


def best(values: np.ndarray, names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """For each row of outputs its :data:`TOP` largest, as ``class``, ``index`` and ``value``."""
    rows = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(1, -1)
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :TOP]
    return [[{"class": names[k], "index": int(k), "value": float(row[k])} for k in each]
            for row, each in zip(rows, order)]
