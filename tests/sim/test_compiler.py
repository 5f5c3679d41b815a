# SPDX-License-Identifier: Apache-2.0
"""Which C++ compiler makes a simulation, and how Verilator's make files hear of it."""

import importlib.machinery
import importlib.metadata
import importlib.util
import shutil
import subprocess

import pytest

from sim.build import build
from sim.compiler import CLANG, GXX, Compiler, compiler
from sim.verilator import installed
from isa.presets import PRESETS
from tests.sim import standin


@pytest.fixture
def machine(monkeypatch):
    """Sets which commands and which of two packages there are."""
    def has(*names):
        monkeypatch.setattr(shutil, "which", lambda n: f"/usr/bin/{n}" if n in names else None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda n: (
            importlib.machinery.ModuleSpec(n, None) if n in names else None))
        monkeypatch.setattr(importlib.metadata, "version", lambda n: "1.2")
    return has


def test_clang_comes_before_ziglang_before_gxx(machine):
    machine(CLANG, "ziglang", GXX)
    assert compiler() == Compiler(CLANG, (CLANG,))
    machine("ziglang", GXX)
    assert compiler().name == "clang++ of ziglang 1.2" and "ziglang" in compiler().command
    machine(GXX)
    assert compiler() == Compiler(GXX, (GXX,))


def test_a_command_of_several_words_reaches_make(tmp_path):
    (tmp_path / "Makefile").write_text("all:\n\t@echo $(CXX) of $(PYTHON3)\n")
    env = installed().environment(("python3", "-m", "ziglang", "c++"))
    said = subprocess.run(["make", "-s"], cwd=tmp_path, env=env, text=True, capture_output=True)
    assert said.stdout.startswith("python3 -m ziglang c++ of /"), said


def test_a_simulation_by_another_compiler_is_the_same(monkeypatch, tmp_path):
    """Whatever compiled it: here g++ under another name, as a command of two words."""
    first = build(standin.verilog(PRESETS["tiny"]))
    monkeypatch.setenv("MAKALU_CACHE", str(tmp_path))
    monkeypatch.setattr("sim.build.compiler", lambda: Compiler("another", ("env", GXX)))
    assert build(standin.verilog(PRESETS["tiny"])).path.name == first.path.name
    assert len(list((tmp_path / "verilated").glob("*.a"))) == 1
