# SPDX-License-Identifier: Apache-2.0
"""Place and route: what is read from the tool's report, and what is said when it does not work."""

import json
import subprocess
import sys

import pytest

from isa.presets import PRESETS
from synth import place

TINY = PRESETS["tiny"]

REPORT = {
    "utilization": {kind: {"used": 10 * k, "available": 100} for k, kind in enumerate(place.CELLS)},
    "fmax": {"clk": {"achieved": 81.26, "constraint": 80.0}},
    "critical_paths": [
        {"from": "posedge clk", "to": "posedge clk", "path": [
            {"delay": 2.5, "from": {"cell": "a"}, "to": {"cell": "b"}},
            {"delay": 9.8, "from": {"cell": "b"}, "to": {"cell": "c"}}]},
        {"from": "<async>", "to": "posedge clk", "path": [
            {"delay": 99.0, "from": {"cell": "port"}, "to": {"cell": "c"}}]}]}


def test_results() -> None:
    """The longest path between registers; ports do not count."""
    found = place.results(REPORT)
    assert found["frequency"] == 81.3 and found["path"] == {"ns": 12.3, "from": "a", "to": "c"}
    assert found["cells"]["block RAM"] == {"used": 30, "available": 100}


def fake(folder, monkeypatch, script: str) -> None:
    """A nextpnr-ecp5 in the path that does as it is told."""
    tool = folder / "nextpnr-ecp5"
    tool.write_text("#!/bin/sh\n" + script)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_what_does_not_fit(tmp_path, monkeypatch) -> None:
    fake(tmp_path, monkeypatch, "echo 'ERROR: no BELs remaining to implement cell type DP16KD'\n"
                                "exit 255\n")
    with pytest.raises(place.PlaceError, match="memory of tiny does not fit an ECP5-25k(.|\n)*"
                                               "larger device"):
        place.place(TINY, "memory", place.Target("25k"))


def test_too_slow_is_an_error(tmp_path, monkeypatch) -> None:
    """The command says what was reached, where the path lies, and exits with 1."""
    (tmp_path / "given.json").write_text(json.dumps(REPORT))
    fake(tmp_path, monkeypatch, f"/bin/cp {tmp_path / 'given.json'} report.json\n")
    done = subprocess.run([sys.executable, "-m", "synth.place", "--block", "memory", "--freq", "90",
                           "--json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "memory reaches 81.3 MHz, 90 were asked for" in done.stderr and "a to c" in done.stderr
    assert json.loads(done.stdout)[0]["cells"]["LUT4"] == {"used": 0, "available": 100}


def test_without_the_tool(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(place.PlaceError, match="make synth"):
        place.nextpnr()
