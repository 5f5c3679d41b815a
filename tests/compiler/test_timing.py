# SPDX-License-Identifier: Apache-2.0
"""The model of time against cycles that the RTL counted."""

import pytest

from compiler.machine.timing import pass_cycles
from isa.presets import PRESETS

COUNTED = {1: 8.13, 2: 8.27, 4: 9.02, 5: 9.27, 6: 10.72, 8: 11.01, 9: 10.68, 10: 11.68, 11: 12.41,
           12: 12.55, 13: 13.80, 14: 14.30, 15: 15.17, 16: 16.02, 20: 20.00, 48: 48.00}
"""Cycles of a pass over so many pixels on ``core256``: (TENSOR_ACTIVE + TENSOR_WAIT_WEIGHTS) /
passes of a convolution of 1 x 1 with 2,048 input and 64 output channels, a row of pixels."""


@pytest.mark.parametrize("pixels", COUNTED)
def test_weights_behind_a_stream_are_no_faster_than_it(pixels: int) -> None:
    """8 beats take up to 16 cycles while a stream reads; the banks of one map make a difference of
    some percent to the average over all."""
    assert pass_cycles(PRESETS["core256"], pixels, 1) == pytest.approx(COUNTED[pixels], rel=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_a_pass_is_no_shorter_than_its_pixels_and_its_weights(name: str) -> None:
    config = PRESETS[name]
    for gn in (g for g in (1, 2, 4) if g <= config.tiles):
        beats = gn * config.lanes // config.weight_words
        found = [pass_cycles(config, pixels, gn) for pixels in range(1, config.psum_depth + 1)]
        assert all(c >= max(p, beats) for p, c in enumerate(found, 1))
        assert all(c == p for p, c in enumerate(found, 1) if p > gn * config.lanes)


def test_weights_and_pixels_in_step_meet_in_each_pass() -> None:
    """``tiny``, a convolution of 3 x 3 in rectangles of 4 pixels: 4,518 waits in 4,608 passes."""
    assert pass_cycles(PRESETS["tiny"], 4, 1) == pytest.approx(4 + 4518 / 4608, rel=0.01)
