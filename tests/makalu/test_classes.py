# SPDX-License-Identifier: Apache-2.0
"""Outputs by name."""

import numpy as np
import pytest

from makalu.classes import best, check, class_names
from runtime.ports import InputError, Port

OUTPUT = [Port("y", np.dtype(np.int8), (1, 6))]


def test_the_five_largest_in_order():
    rows = best(np.array([[1, -128, 3, 127, 5, 4]], np.int8), list("abcdef"))
    assert [[c["class"] for c in row] for row in rows] == [["d", "e", "f", "c", "a"]]
    assert rows[0][0] == {"class": "d", "index": 3, "value": 127.0}


def test_names_have_to_fit(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    names = class_names(tmp_path / "names.txt")
    assert names == ["cat", "dog"] and class_names(None) == []
    check([], OUTPUT)
    check(list("abcdef"), OUTPUT)
    with pytest.raises(InputError, match="2 names of classes, and the network's output y.* has 6"):
        check(names, OUTPUT)
    with pytest.raises(InputError, match="cannot be read"):
        class_names(tmp_path / "nothing.txt")
