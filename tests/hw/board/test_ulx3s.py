# SPDX-License-Identifier: Apache-2.0
"""What a board is built with: its clock, its line, and pins for all ports."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable, Module

from hw.board import ulx3s
from hw.board.board import Settings
from hw.board.pll import DETECTOR, VCO, Pll
from isa.presets import PRESETS, load_config

BOARDS = Path(ulx3s.__file__).resolve().parents[2] / "synth" / "boards"


@pytest.mark.parametrize("mhz", [25, 30, 40, 50, 62.5, 75, 80, 100])
def test_pll(mhz):
    """The dividers give the frequency, and the VCO and the phase detector are in their ranges."""
    p = Pll(25e6, mhz * 1e6)
    assert 25e6 / p.input_divider * p.feedback_divider == pytest.approx(mhz * 1e6)
    assert VCO[0] <= mhz * 1e6 * p.output_divider <= VCO[1]
    assert DETECTOR[0] <= 25e6 / p.input_divider <= DETECTOR[1]


@pytest.mark.parametrize("mhz", [51.3, 500, 2])
def test_pll_refuses(mhz):
    with pytest.raises(ValueError, match=rf"the PLL does not make {mhz:g} MHz from 25 MHz: choose"):
        Pll(25e6, mhz * 1e6)


def test_settings():
    assert Settings().divisor == 50
    with pytest.raises(ValueError, match="3e.06 baud from 25 MHz would be off by 4.2 %"):
        Settings(frequency=25e6, baud=3e6)
    with pytest.raises(ValueError, match="a bit of 2 clock cycles is too short"):
        Settings(baud=25e6)


class Nothing(Elaboratable):
    """A board without a machine."""

    def __init__(self, config, settings):
        board = Board(config, settings)
        self.rx, self.tx, self.led, self.sdram = board.rx, board.tx, board.led, board.sdram
        board._MustUse__used = True

    def elaborate(self, platform):
        return Module()


Board = ulx3s.Board


def test_every_port_has_a_pin(monkeypatch):
    """One pin each, no pin twice, and nothing else in the file."""
    monkeypatch.setattr(ulx3s, "Board", Nothing)
    text = ulx3s.verilog(PRESETS["tiny"], Settings())
    top = text[text.rindex(f"module {ulx3s.TOP}("):]
    ports = re.findall(r"^  (?:input|output|inout) (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE)
    want = {f"{n}[{i}]" for w, n in ports if w for i in range(int(w) + 1)}
    want |= {n for w, n in ports if not w}
    lpf = (BOARDS / "ulx3s.lpf").read_text()
    located = re.findall(r'^LOCATE COMP "(.*?)" SITE "(\w+)";$', lpf, re.MULTILINE)
    assert {name for name, _ in located} == want
    assert len({site for _, site in located}) == len(located) == len(want) == 57
    assert set(re.findall(r'^IOBUF PORT "(.*?)" ', lpf, re.MULTILINE)) == want
    assert top.count(" BB ") + len(re.findall(r"^  BB ", top, re.MULTILINE)) >= 16
    assert "EHXPLLL" in top and "ODDRX1F" in top


def test_the_machine_of_the_board_is_legal():
    config = load_config(str(BOARDS / "ulx3s.json"))
    assert config.name == "ulx3s" and config.bus_bytes == 8
