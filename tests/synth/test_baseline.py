# SPDX-License-Identifier: Apache-2.0
"""A loss is named with block, figure and percentage, and only a loss."""

import pytest

from synth.baseline import losses

OLD = {"ecp5": {"LUT4": 1000, "flip-flops": 40, "DSP": 0},
       "ecp5 routed": {"LUT4": 1010, "MHz": 90.0}, "xcup": {"error": "Yosys failed"}}


def said(target: str, **figures: float) -> list[str]:
    names = {"luts": "LUT4", "registers": "flip-flops", "dsp": "DSP", "mhz": "MHz"}
    return losses("tile of tiny", OLD, {target: {names[k]: v for k, v in figures.items()}})


@pytest.mark.parametrize("figures", [
    ("ecp5", {"luts": 1050, "registers": 42, "dsp": 0}), ("ecp5", {"luts": 1, "registers": 1}),
    ("ecp5 routed", {"mhz": 81.0}), ("ecp5 routed", {"mhz": 200.0}), ("xcup", {"luts": 5}),
    ("gowin routed", {"luts": 10 ** 9})])
def test_within_the_margin(figures) -> None:
    """Nor is a gain a loss, or what was not measured before."""
    assert said(figures[0], **figures[1]) == []


@pytest.mark.parametrize("target, figure, words", [
    ("ecp5", {"luts": 1051}, "tile of tiny, ecp5: LUT4 was 1,000 and is 1,051, 5.1% more"),
    ("ecp5", {"luts": 2000}, "100.0% more, of which 5% are allowed: win it back, or run make"),
    ("ecp5", {"registers": 43}, "flip-flops was 40 and is 43, 7.5% more"),
    ("ecp5", {"dsp": 1}, "DSP was 0 and is 1, from none more"),
    ("ecp5 routed", {"mhz": 80.0}, "MHz was 90.0 and is 80.0, 11.1% less, of which 10% are"),
    ("ecp5 routed", {"luts": 1100}, "tile of tiny, ecp5 routed: LUT4 was 1,010 and is 1,100")])
def test_a_loss(target, figure, words) -> None:
    (sentence,) = said(target, **figure)
    assert words in sentence


def test_what_fails_now() -> None:
    got = losses("tile of tiny", OLD, {"ecp5": {"error": "Yosys failed on 'tile'"},
                                       "xcup": {"error": "Yosys failed"}})
    assert got == ["tile of tiny, ecp5: Yosys failed on 'tile'"]
