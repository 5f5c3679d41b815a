# SPDX-License-Identifier: Apache-2.0
"""The Verilog package: what other tools make of its files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hw.chip.top import INNER
from hw.parts.one_module import MODULE
from hw.top import TOP as CORE
from isa.instructions import Fault
from isa.chip import CHIPS
from isa.presets import PRESETS
from isa.registers import IDENT, REGISTERS
from makalu import package
from sim.verilator import find, waivers
from tests.hw.test_top import ADDRESS, AXI, AXI_LITE

CONFIG = PRESETS["tiny"]


def lint(text: str, top: str, path: Path, *more: str) -> None:
    """No warning but those that are waived by name."""
    verilator = find()
    path.write_text(text)
    done = subprocess.run(
        [str(verilator.executable), "--lint-only", "--default-language", "1364-2001", "-Wall",
         *waivers(), *more, "--top-module", top, str(path)],
        env=verilator.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "%Warning" not in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("package")
    paths = package.write(CONFIG, where)
    assert {p.name for p in paths} == set(package.files(CONFIG))
    return where


def test_the_same_bytes_again(folder):
    for name, text in package.files(CONFIG).items():
        assert (folder / name).read_text() == text


def test_verilator_takes_it_as_verilog_2001(folder):
    lint((folder / "makalu.v").read_text(), CORE, folder / "linted.v")


def test_yosys_takes_it_without_system_verilog(folder):
    code = ("from pyosys import libyosys as ys\nd = ys.Design()\n"
            f"ys.run_pass('read_verilog {folder / 'makalu.v'}', d)\n"
            "ys.run_pass('hierarchy -check -top makalu', d)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_comment_says_which_machine_it_is(folder):
    head = (folder / "makalu.v").read_text().split("\nmodule ")[0]
    assert f"configuration tiny, hash {CONFIG.hash:016x}" in head and "lanes 4" in head
    assert all(line.startswith("//") for line in head.splitlines() if line)


def test_ports(folder):
    want = {f"s_axil_{n}": w for n, w in AXI_LITE.items()}
    want |= {f"m_axi_{n}": w for n, w in AXI.items()} | {"clk": 1, "rst": 1, "irq": 1, "held": 1}
    found = package.ports((folder / "makalu.v").read_text())
    assert {name: width for _, name, width in found} == want and len(ADDRESS) > 1
    page = (folder / "ports.md").read_text()
    for way, name, width in found:
        assert f"| `{name}` | {way} | {width} |" in page


def test_the_c_header_has_the_map(folder, tmp_path):
    """Compiled, and every value printed."""
    names = [f"MAKALU_{r.name}" for r in REGISTERS]
    names += ["MAKALU_STATUS_DONE_MASK", "MAKALU_STATUS_DONE_SHIFT", "MAKALU_IDENT_VALUE",
              "MAKALU_FAULT_WATCHDOG"]
    body = "".join(f'  printf("%lu\\n", (unsigned long) {n});\n' for n in names)
    source = tmp_path / "print.c"
    source.write_text(f'#include <stdio.h>\n#include "makalu.h"\nint main(void) {{\n{body}}}\n')
    program = tmp_path / "print"
    subprocess.run(["g++", "-x", "c", "-std=c99", "-Wall", "-Werror", f"-I{folder}", str(source),
                    "-o", str(program)], check=True)
    values = [int(v) for v in subprocess.run([str(program)], check=True, capture_output=True,
                                             text=True).stdout.split()]
    assert values == [*(r.offset for r in REGISTERS), 2, 1, IDENT, Fault.WATCHDOG]


def test_the_register_map(folder):
    found = json.loads((folder / "registers.json").read_text())
    assert found["config_hash"] == f"{CONFIG.hash:016x}"
    assert [(r["name"], r["offset"], r["access"], len(r["fields"])) for r in found["registers"]] \
        == [(r.name, r.offset, r.access, len(r.bits)) for r in REGISTERS]


def test_packaging_scripts_name_what_is_there(folder):
    core, script = ((folder / n).read_text() for n in ("makalu.core", "makalu_ip.tcl"))
    assert core.startswith("CAPI=2:\n") and re.search(r"^      - makalu\.v$", core, re.MULTILINE)
    assert script.count("{") == script.count("}") and script.count("[") == script.count("]")
    for bus in package.BUSES:
        assert f"-busif {bus} -clock clk" in script


@pytest.mark.long
@pytest.mark.parametrize("name", ["chip2_tiny", "chip2_ecp5", "chip4", "chip16", "chip64"])
def test_verilator_takes_chips(name, tmp_path):
    """The core, the uncore, and the chip of which those are black boxes: all together would take 13
    GB of a chip of 16 cores."""
    text, path = package.chip_source(CHIPS[name]), tmp_path / "chip.v"
    modules = {m[1]: m[0] for m in MODULE.finditer(text)}
    for inner in (CORE, INNER):
        lint(text, inner, path)
    boxes = [re.sub(r"^  (?!input |output ).*\n", "", modules[inner], flags=re.MULTILINE)
             for inner in (CORE, INNER)]
    lint("\n".join([modules["chip"], *boxes]), "chip", path, "-Wno-UNUSED", "-Wno-UNDRIVEN")
