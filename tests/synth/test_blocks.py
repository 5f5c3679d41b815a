# SPDX-License-Identifier: Apache-2.0
"""Blocks alone: each that a machine has is one module of Verilog, and what it lacks is refused."""

import pytest

from hw.top import TOP, verilog_of
from isa.config import ConfigError
from isa.presets import PRESETS
from synth.blocks import PARTS, component, present

ECP5 = PRESETS["ecp5"]


def test_present() -> None:
    assert present(ECP5, PARTS) == [name for name in PARTS if name != "window"]
    assert present(PRESETS["tiny"], PARTS) == list(PARTS)


@pytest.mark.parametrize("name", present(ECP5, (name for name in PARTS if name != TOP)))
def test_alone(name: str) -> None:
    assert f"module {name}(" in verilog_of(component(ECP5, name), name)


def test_a_block_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"ecp5 has no window \(window_taps is 0\): leave it out"):
        component(ECP5, "window")
