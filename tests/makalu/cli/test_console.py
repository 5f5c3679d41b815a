# SPDX-License-Identifier: Apache-2.0
"""Names of nodes reach the terminal as text, whatever is in them."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from isa.instructions import Instruction, Opcode, assembled
from isa.presets import PRESETS
from makalu.cli import console
from makalu.text import plain
from tests.makalu.cli.test_cli import makalu
from tests.sim import standin

NAME = "conv\x1b]0;owned\x07\u202e[/b]:smile:"
SHOWN = r"conv\x1b]0;owned\x07\u202e[/b]:smile:"


def test_plain():
    assert plain(NAME) == SHOWN and plain("Größe 3 × 3\n\tµ\ud800") == "Größe 3 × 3\n\tµ\\ud800"


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_and_lines(terminal):
    written = io.StringIO()
    out = console.Terminal(file=written, force_terminal=terminal, color_system=None, width=120)
    out.print(NAME)
    out.print(console.table(NAME, [(NAME, "left")], [[NAME]]))
    assert written.getvalue().count(SHOWN) == 4 and "owned\x07" not in written.getvalue()


def test_commands_and_errors(tmp_path: Path):
    p = standin.program(PRESETS["tiny"])
    row = {"node": NAME, "op": NAME, "engine": "array", "reason": NAME}
    end = assembled([Instruction(Opcode.END)])
    p = replace(p, name=NAME, nodes=[NAME], node_of=[0], instruction_count=1, image=end,
                placement=[row])
    path = tmp_path / "net.mkl"
    p.save(path)
    for done in (makalu("disassemble", path), makalu("report", path),
                 makalu("run", path, "--config", "core256", "--input", "x.npy", code=1)):
        text = done.stdout + done.stderr
        assert "owned" in text and "\x1b" not in text and "\x07" not in text, text
