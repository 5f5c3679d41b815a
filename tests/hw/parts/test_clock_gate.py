# SPDX-License-Identifier: Apache-2.0
"""Gated clocks are there where a platform has the cell, and nowhere else; that the machine does the
same with them is held by tests/sim/test_same_machine.py."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from amaranth.hdl import Fragment, Signal

from hw.parts.clock_gate import CELL, GatedClocks
from hw.top import Makalu
from isa.config import Config
from isa.presets import PRESETS
from sim.build import rtl
from sim.verilator import find, waivers

CONFIG = PRESETS["tiny"]
ENGINES = {"load", "tensor", "window", "vector", "store"}


@pytest.fixture(scope="module")
def text() -> str:
    return rtl(CONFIG, trace=True, gated=True)


def registers(fragment: Fragment) -> Iterator[tuple[str, Signal]]:
    """Domain and register, of a design."""
    for domain, statements in fragment.statements.items():
        if domain != "comb":
            for statement in statements:
                yield from ((domain, signal) for signal in statement._lhs_signals())
    for child, _, _ in fragment.subfragments:
        yield from registers(child)


@pytest.mark.parametrize("config", [CONFIG, PRESETS["tiny_fp"]], ids=str)
def test_parts_without_a_reset_want_none(config: Config) -> None:
    """The parts of an engine that rest on their own are pipelines: no reset reaches them."""
    found = list(registers(Fragment.get(Makalu(config, trace=True), GatedClocks())))
    domains = {domain for domain, _ in found}
    assert ENGINES < domains and {"array", "lanes", "adding", "groups", "at0"} < domains
    own = {"sync", "core", *ENGINES, *(d for d in domains if d.endswith("_signed"))}
    assert not [(d, s.name) for d, s in found if d not in own and not s.reset_less]


def test_the_shipped_verilog_has_none(text: str) -> None:
    assert CELL not in rtl(CONFIG)
    assert re.search(rf"^  {CELL} ", text, re.MULTILINE)


def test_tools_take_the_cell(text: str, tmp_path) -> None:
    """Verilator without a warning, Yosys as a latch."""
    source = tmp_path / "makalu.v"
    source.write_text(text)
    tool = find()
    lint = subprocess.run([str(tool.executable), "--lint-only", "-Wall", *waivers(),
                           "--top-module", "makalu", str(source)], env=tool.environment(),
                          capture_output=True, text=True)
    assert lint.returncode == 0 and "%Warning" not in lint.stderr, lint.stderr[-2000:]
    source.write_text(text[text.index(f"module {CELL}("):])
    code = ("from pyosys import libyosys as ys\nd = ys.Design()\n"
            f"for p in ('read_verilog {source}', 'proc', 'select -assert-count 1 t:$dlatch'):\n"
            "    ys.run_pass(p, d)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
