# SPDX-License-Identifier: Apache-2.0
"""The command keeps what it has measured, and a check says what was lost; no tool is run."""

import json
import sys

import pytest
from click.testing import CliRunner

from synth import gowin, measure, place, report
from synth.yosys import SynthesisError

FIGURES = {"ecp5": {"LUT4": 1000, "flip-flops": 40}, "xc7": {"LUT": 500},
           "ecp5 routed": {"LUT4": 1010, "MHz": 90.5}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on a folder, with these figures for each block."""
    def call(*arguments, figures=FIGURES, refused=(), stop=None):
        def measured(config, part, target, known):
            if part == stop:
                raise KeyboardInterrupt
            return figures.get(target), list(refused) if target == "ecp5" else []

        monkeypatch.setattr(report, "figures", measured)
        monkeypatch.setattr(report, "tools", lambda targets: None)
        return CliRunner().invoke(report.main, [*arguments, "--docs", str(tmp_path)])
    return call


def test_each_block_is_kept_at_once(run, tmp_path) -> None:
    run("--block", "tile", "--block", "post", stop="post")
    known = json.loads((tmp_path / "synthesis.json").read_text())
    assert known == {"tiny": {"tile": FIGURES}}
    text = (tmp_path / "synthesis.md").read_text()
    assert "| tile | 1,000 | 40 |" in text and "| tile | 1,010 | 90.5 |" in text
    run("--block", "post", "--target", "xc7")
    run("--block", "tile", "--target", "xc7", figures={"xc7": {"LUT": 7}})
    known = json.loads((tmp_path / "synthesis.json").read_text())
    assert known["tiny"] == {"tile": {**FIGURES, "xc7": {"LUT": 7}}, "post": {"xc7": {"LUT": 500}}}


def test_a_failure_is_in_the_page(run, tmp_path) -> None:
    run("--block", "tile", figures={"ecp5": FIGURES["ecp5"], "xc7": {"error": "Yosys failed: so"}})
    assert "`tile` failed: Yosys failed: so" in (tmp_path / "synthesis.md").read_text()


def test_what_is_refused(run, tmp_path) -> None:
    done = run("--block", "tile", refused=["tile of tiny for ecp5 has 1 DSP blocks"])
    assert done.exit_code == 1 and "makalu: tile of tiny for ecp5 has 1 DSP" in done.stderr
    assert (tmp_path / "synthesis.json").exists()


def test_check(run, tmp_path) -> None:
    run("--block", "tile")
    before = (tmp_path / "synthesis.json").read_bytes()
    assert run("--check", "--block", "tile").exit_code == 0
    done = run("--check", "--block", "tile", figures={"ecp5": {"LUT4": 1100}})
    assert done.exit_code == 1
    assert "makalu: tile of tiny, ecp5: LUT4 was 1,000 and is 1,100, 10.0% more" in done.stderr
    assert (tmp_path / "synthesis.json").read_bytes() == before
    done = run("--check", "--block", "post")
    assert done.exit_code == 1 and "run python -m synth.report --config tiny --block post" in \
        done.stderr


def test_bad_input(run, tmp_path) -> None:
    done = run("--config", "core512")
    assert done.exit_code == 1 and "no configuration 'core512'" in done.output
    (tmp_path / "synthesis.json").write_text("{")
    done = run("--block", "tile")
    assert done.exit_code == 1 and "is not JSON" in done.output and "restore it" in done.output


def test_what_is_placed() -> None:
    """Small blocks, once their size is known, and on Gowin only some of them."""
    config = report.load_config("tiny")
    for known, part, target in (({}, "post", "ecp5 routed"), ({"ecp5": {"LUT4": 10}}, "post",
                                                              "gowin routed"),
                                ({"ecp5": {"LUT4": 6001}}, "tile", "gowin routed")):
        assert measure.figures(config, part, target, known) == (None, [])


def test_without_the_tool(monkeypatch, tmp_path) -> None:
    """Nothing is measured, so that no figure is replaced by a complaint."""
    (tmp_path / "nextpnr-ecp5").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    done = CliRunner().invoke(report.main, ["--block", "tile", "--docs", str(tmp_path)])
    assert done.exit_code == 1 and "there is no nextpnr-himbaechel: install it" in done.output
    assert not (tmp_path / "synthesis.json").exists()
    measure.tools(["ecp5", "xc7", "ecp5 routed"])


def test_a_tool_that_fails(monkeypatch, tmp_path) -> None:
    tool = tmp_path / "nextpnr-himbaechel"
    tool.write_text("#!/bin/sh\ngrep -q 'IO_LOC \"clk\" 4;' pins.cst && "
                    "echo 'ERROR: no BELs remaining'\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(gowin, "run", lambda *args: None)
    with pytest.raises(place.PlaceError, match="failed on tile of tiny for GW2AR(.|\n)*no BELs "
                                               "remaining\n.*smaller configuration"):
        gowin.place(report.load_config("tiny"), "tile")


def test_a_sentence_about_a_failure_names_no_folder(monkeypatch) -> None:
    def fails(*_: object) -> None:
        raise SynthesisError("Yosys failed on 'tile':\n/some where/a b.v:1\n"
                             "/home/me/share/map.v:181: ERROR: no such width")

    monkeypatch.setattr(measure, "mapped", fails)
    found, refused = measure.figures(report.load_config("tiny"), "tile", "xcup", {})
    assert found == {"error": "Yosys failed on 'tile': map.v:181: ERROR: no such width"}
    assert refused == []
