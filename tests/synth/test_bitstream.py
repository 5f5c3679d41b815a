# SPDX-License-Identifier: Apache-2.0
"""Bitstreams: what is kept, and what is said when there is none. The tools are scripts that do as
they are told."""

import json
import subprocess
import sys

import pytest

from synth import bitstream, place
from tests.synth.test_place import REPORT

DONE = {**REPORT, "fmax": {"clk": {"achieved": 52.5, "constraint": 50.0}}}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Yosys and the Verilog are left out; nextpnr and ecppack are scripts."""
    monkeypatch.setattr(bitstream, "verilog", lambda config, settings: "")
    monkeypatch.setattr(bitstream, "synthesize", lambda text, top, to: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def tool(name, script):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    (tmp_path / "given.json").write_text(json.dumps(DONE))
    tool("nextpnr-ecp5", f"cp {tmp_path / 'given.json'} report.json; test -f ulx3s.lpf || exit 9\n"
                         "echo text > makalu.config\n")
    return tool


def make(to):
    config = bitstream.load_config("tiny")
    return bitstream.bitstream(bitstream.BOARDS["ulx3s"], config, bitstream.Settings(), 1, to)


def test_makes_both_files(tools, tmp_path):
    tools("ecppack", "cat $2 > $3; echo packed >> $3\n")
    found = make(tmp_path / "to")
    assert found["files"] == [str(tmp_path / "to" / n) for n in ("makalu.config", "makalu.bit")]
    assert (tmp_path / "to" / "makalu.bit").read_text() == "text\npacked\n"
    assert json.loads((tmp_path / "to" / place.REPORT).read_text()) == DONE


def test_without_ecppack(tools, tmp_path):
    found = make(tmp_path / "to")
    assert found["files"] == [str(tmp_path / "to" / "makalu.config")]


def test_too_slow_leaves_the_report_alone(tools, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "makalu.bit").write_text("old")
    (tmp_path / "given.json").write_text(json.dumps(
        {**DONE, "fmax": {"clk": {"achieved": 43.21, "constraint": 50.0}}}))
    with pytest.raises(place.PlaceError, match="reaches 43.2 MHz, 50 are needed; its longest path "
                                               "goes from a to c: lower the frequency with FREQ"):
        make(tmp_path / "to")
    assert [p.name for p in (tmp_path / "to").iterdir()] == [place.REPORT]


def test_does_not_fit(tools, tmp_path):
    tools("nextpnr-ecp5", "echo 'ERROR: no BELs remaining to implement cell type DP16KD'; exit 1\n")
    with pytest.raises(place.PlaceError, match="does not fit an ECP5-85k(.|\n)*DP16KD(.|\n)*use a "
                                               "larger device or a smaller configuration"):
        make(tmp_path / "to")


def test_ecppack_fails(tools, tmp_path):
    tools("ecppack", "echo 'bad tile' >&2; exit 1\n")
    with pytest.raises(place.PlaceError, match="ecppack failed: .*bad tile"):
        make(tmp_path / "to")


@pytest.mark.parametrize("arguments, words", [
    (["--board", "icebreaker"], ["no board 'icebreaker'", "ulx3s"]),
    (["--config", "core512"], ["no configuration 'core512'", "tiny"]),
    (["--config", "core256"], ["bus of 16 bytes", "set bus_bytes to 8"]),
    (["--freq", "51.3"], ["does not make 51.3 MHz", "choose a multiple"]),
    (["--freq", "150", "--baud", "1e6"], ["150 MHz is too fast for the SDRAM"]),
    (["--freq", "50", "--baud", "3e7"], ["a bit of 2 clock cycles is too short"]),
])
def test_errors_are_a_sentence_with_a_cure(arguments, words):
    done = subprocess.run([sys.executable, "-m", "synth.bitstream", *arguments],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("makalu: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
