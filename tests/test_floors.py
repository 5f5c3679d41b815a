# SPDX-License-Identifier: Apache-2.0
"""Imports go down only: each package may use those of the floors below it, and itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [{"isa"}, {"hw", "compiler", "golden"}, {"runtime"}, {"sim"}, {"synth"}, {"prove"},
          {"makalu"}]
FORBIDDEN = {"isa": {"amaranth", "onnx", "onnxruntime"}, "golden": {"amaranth", "onnx"},
             "hw": {"onnx"}, "compiler": {"amaranth"}}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(set().union(*FLOORS)))
def test_imports_go_down(package):
    floor = next(i for i, names in enumerate(FLOORS) if package in names)
    above = set().union(*FLOORS[floor:]) - {package} | FORBIDDEN.get(package, set())
    above |= {"tests", "examples"}
    for path in (ROOT / package).rglob("*.py"):
        assert not imports(path) & above, path


def test_the_machine_knows_no_board():
    for path in (ROOT / "hw").glob("*.py"):
        assert "hw.board" not in path.read_text(), path
