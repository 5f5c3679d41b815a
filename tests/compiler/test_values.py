# SPDX-License-Identifier: Apache-2.0
"""Arrays of the host as views of stored ones."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lower.values import as_view

QUICK = settings(max_examples=100, deadline=None)


@QUICK
@given(st.permutations([0, 1, 2, 3]), st.tuples(*[st.integers(1, 5)] * 4))
def test_views_of_transposed_arrays(perm: list[int], shape: tuple[int, ...]) -> None:
    order = np.arange(np.prod(shape)).reshape(shape).transpose(perm)
    found = as_view(np.ascontiguousarray(order))
    assert found is not None
    view, axes = found
    again = np.arange(order.size).reshape(view).transpose(axes).reshape(order.shape)
    assert np.array_equal(again, order)


def test_no_view_of_a_shuffle() -> None:
    assert as_view(np.array([[[[0, 1, 3, 2, 4]]]])) is None
