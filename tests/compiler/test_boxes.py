# SPDX-License-Identifier: Apache-2.0
"""Boxes of operators whose tensors have types of several sizes."""

from types import SimpleNamespace

import numpy as np
import pytest

from compiler.emit.boxes import blocks_in, box_of, boxes, channel_blocks, tensors
from compiler.ir.graph import Add, Clip, Tensor

TYPES = [("int8", "int8", "float16"), ("float16", "int8", "int8"), ("int8", "float16", "float32"),
         ("float32", "float16", "float16"), ("int8", "int8", "int8")]


@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("lanes, channels", [(16, 20), (16, 33), (16, 32), (4, 5), (4, 1), (8, 70)])
def test_they_are_the_blocks_of_each_tensor(lanes: int, channels: int, size: int,
                                            types: tuple[str, ...]) -> None:
    """Every channel block once, in order, and none behind the last: the last box of the smallest
    type is as large for the others as they have channels."""
    s = SimpleNamespace(lanes=lanes)
    a, b, y = (Tensor(name, (1, channels, 3, 3), t) for name, t in zip("aby", types, strict=True))
    op = Add(node=0, a=a, b=b, y=y, a_zp=0, b_zp=0, scale_a=np.float32(1), scale_b=np.float32(1),
             clip=Clip(0, -128, 127))
    areas = list(boxes(blocks_in(s, op), 3, 3, 1, (size, 3, 3)))
    for t in tensors(op):
        mine = [box_of(s, op, t, area) for area in areas]
        found = [block for box in mine for block in range(box.b0, box.b1)]
        assert found == list(range(-(-channels * t.size // lanes)))
    assert sum(channel_blocks(s, op, area) for area in areas) == max(
        t.blocks(lanes) for t in tensors(op))
