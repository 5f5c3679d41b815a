# SPDX-License-Identifier: Apache-2.0
"""What is installed: everything under one name, and the README's examples from another folder."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("isa", "golden", "hw", "compiler", "runtime", "sim", "synth", "prove", "examples",
            "makalu")
OTHERS = Path(numpy.__file__).resolve().parents[1]
"""The folder of the other packages, whose .pth files are not read: a checkout that is installed to
work on does not count."""

README = """
import makalu, numpy as np

program = makalu.compile("examples/digits_int8.onnx", "core256",
                         host=("QuantizeLinear", "DequantizeLinear"))
session = makalu.Session(program, makalu.open_device("golden", "core256"))
images = np.load("examples/digits_test.npz")["image"]
logits = session.run({"image": images})["logits"]
print(*logits.argmax(axis=1))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel of this tree."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "setup.py", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps",
                    "--no-build-isolation", "-w", out, source], check=True)
    (wheel,) = out.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(out / "site")
    return out / "site"


def run(site: Path, folder: Path, code: str) -> str:
    """What Python prints that finds the wheel and the other packages, and no checkout."""
    code = f"import sys; sys.path[:0] = [{str(site)!r}, {str(OTHERS)!r}]\n{code}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-S", "-P", "-c", code], cwd=folder, text=True,
                          capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(site: Path, folder: Path, line: str) -> str:
    """``makalu`` with the words of a line."""
    return run(site, folder, f"sys.argv[1:] = {line.split()!r}\n"
               "from makalu.cli.main import main\nmain()")


def test_one_name_at_the_top(site: Path) -> None:
    assert {p.name.split("-")[0] for p in site.iterdir()} == {"makalu"}


def test_no_import_of_what_has_moved(site: Path) -> None:
    for path in (site / "makalu").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = ([a.name for a in node.names] if isinstance(node, ast.Import) else
                     [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            moved = {n.split(".")[0] for n in names} & {*PACKAGES} - {"makalu"}
            assert not moved, f"{path}: import of {moved}; write from X import Y"


def test_the_readmes_examples_from_another_folder(site: Path, tmp_path: Path) -> None:
    command(site, tmp_path, "examples")
    assert (tmp_path / "examples" / "run_digits.py").is_file()
    told = command(site, tmp_path, "run examples/digits_int8.onnx --input "
                   "examples/digits_test.npz --host QuantizeLinear,DequantizeLinear --check")
    assert "top-1 is the same in 360 of 360" in told
    labels = numpy.load(tmp_path / "examples" / "digits_test.npz")["labels"]
    guesses = [int(v) for v in run(site, tmp_path, README).split()]
    assert (numpy.array(guesses) == labels).mean() > 0.97
    command(site, tmp_path, "verilog --config tiny --package verilog")
    assert (tmp_path / "verilog" / "makalu.v").read_text().count("module") > 10


def test_everything_that_the_package_exports_is_there(site: Path, tmp_path: Path) -> None:
    """What is imported when it is asked for first as well."""
    found = run(site, tmp_path, "import makalu\n"
                "print(*(getattr(makalu, name).__module__ for name in makalu.__all__))")
    assert all(name.startswith("makalu.") for name in found.split())
    assert "makalu.compiler.ir.errors" in found.split()


def test_the_page_of_the_service_is_there(site: Path, tmp_path: Path) -> None:
    found = run(site, tmp_path, "from makalu.serve.fronts.page import PAGE\nprint(PAGE)")
    assert found.startswith("<!doctype html>") and "makalu/status" in found


def test_the_simulation_finds_its_sources(site: Path, tmp_path: Path) -> None:
    found = run(site, tmp_path, "from makalu.sim.build import MACHINE\n"
                "print(all(path.is_file() for path in MACHINE.sources))")
    assert found.strip() == "True"
