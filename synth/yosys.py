# SPDX-License-Identifier: Apache-2.0
"""Yosys on the Verilog of a block, in a process of its own."""

import subprocess
import sys
from pathlib import Path

from isa.errors import UserError

SOURCE = "design.v"
"""Name of the Verilog in a folder of work."""

PREPARE = [f"read_verilog -sv {SOURCE}", "chformal -remove", "delete */t:$print"]
"""Reads it, without assertions and what they print, which cost nothing in an FPGA."""


class SynthesisError(UserError, RuntimeError):
    """Yosys is missing or refused a block; the message has its last words."""


def run(text: str, top: str, commands: list[str], folder: Path) -> None:
    """Verilog through :data:`PREPARE` and commands, whose files are in ``folder``.

    Raises
    ------
    SynthesisError
        If Yosys fails.
    """
    (folder / SOURCE).write_text(text)
    # ABC's reader takes an element of an array port, which Amaranth calls port[3], for a bit of it
    commands_only(top, [*PREPARE, f"rename -hide {top}/w:*[[]*", *commands], folder)


def commands_only(top: str, commands: list[str], folder: Path) -> None:
    """Commands that read what they need themselves; ``top`` is for messages.

    Raises
    ------
    SynthesisError
        If Yosys fails.
    """
    code = ("from pyosys import libyosys as ys\nd = ys.Design()\n"
            + "\n".join(f"ys.run_pass({c!r}, d)" for c in commands))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        raise SynthesisError(f"Yosys failed on {top!r}:\n{said}\n"
                             "(if pyosys is missing: make area installs it)")
