# SPDX-License-Identifier: Apache-2.0
"""Builds are cached by content, safe against one another, and their failures say why."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from isa.presets import PRESETS
from sim import build as sim_build
from sim.build import build, verilog_text
from sim.verilator import ToolError
from tests.sim import standin

ROOT = Path(sim_build.__file__).resolve().parent.parent
SCRIPT = """
import sys
from isa.presets import PRESETS
from sim.build import build
from tests.sim import standin
print(build(standin.verilog(PRESETS["tiny"])).path)
"""


def test_two_processes_build_once(monkeypatch, tmp_path):
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path))
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for _ in range(2)]
    results = [p.communicate() for p in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    assert len({out for out, _ in results}) == 1
    words = "".join(err for _, err in results)
    assert words.count("building the simulation of") == 1
    assert words.count("waiting for it") <= 1
    left = {p.suffix for p in (tmp_path / "sim").iterdir()}
    assert left == {".so", ".json", ".lock"}


def test_what_is_built_needs_no_tools(monkeypatch, tmp_path):
    first = build(standin.verilog(PRESETS["tiny"]))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build(standin.verilog(PRESETS["tiny"])) == first
    with pytest.raises(ToolError, match="needs g[+][+], make, perl"):
        build(standin.verilog(PRESETS["tiny"]) + "// another")


def test_tools_are_missed_before_verilog_is_generated(monkeypatch, tmp_path):
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="needs g[+][+], make, perl"):
        verilog_text("tiny", "test", "hw.top", lambda: pytest.fail("it is generated"))
    assert verilog_text("tiny", "test", "hw.top", lambda: "text", simulated=False) == "text"
    assert verilog_text("tiny", "test", "hw.top", lambda: pytest.fail("it is kept")) == "text"


def test_a_generator_that_has_changed_meanwhile_is_not_run(monkeypatch, tmp_path):
    """What it would make is not what the key says."""
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path))
    monkeypatch.setattr(sim_build, "LOADED", 0.0)
    with pytest.raises(ToolError, match=r"\.py has changed since this program began: start it aga"):
        verilog_text("net", "variant", "isa.config", lambda: "module net; endmodule",
                     simulated=False)
    monkeypatch.setattr(sim_build, "LOADED", time.time())
    assert verilog_text("net", "variant", "isa.config", lambda: "module net; endmodule",
                        simulated=False).startswith("module net")


def test_same_text_is_not_built_again(capsys):
    first = build(standin.verilog(PRESETS["tiny"]))
    capsys.readouterr()
    again = build(standin.verilog(PRESETS["tiny"]))
    assert first == again and capsys.readouterr().err == ""
    assert first.verilog_lines == len(standin.verilog(PRESETS["tiny"]).splitlines())


def test_other_text_is_another_library():
    assert (build(standin.verilog(PRESETS["tiny"])).path
            != build(standin.verilog(PRESETS["core256"])).path)


def test_lint_is_fatal(monkeypatch, tmp_path):
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path))
    text = "module makalu(input clk, output y); assign typo = clk; endmodule"
    with pytest.raises(ToolError, match="IMPLICIT"):
        build(text)
    assert not list(tmp_path.rglob("*.so")) and not list(tmp_path.rglob("work-*"))


def test_unknown_wave_format():
    with pytest.raises(ValueError, match="no wave format 'gtk': one of vcd, fst"):
        build("", waves="gtk")


def test_fst_builds_or_names_what_is_missing():
    text = standin.verilog(PRESETS["tiny"])
    headers = subprocess.run(["g++", "-E", "-include", "lz4.h", "-x", "c++", "/dev/null"],
                             capture_output=True)
    if headers.returncode == 0:
        assert build(text, waves="fst").path.is_file()
    else:
        with pytest.raises(ToolError, match="install liblz4-dev, or name the wave file .vcd"):
            build(text, waves="fst")
