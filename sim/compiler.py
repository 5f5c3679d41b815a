# SPDX-License-Identifier: Apache-2.0
"""The C++ compiler of a simulation: clang where there is one, g++ otherwise.

What clang makes of Verilator's code simulates up to half as fast again (docs/develop.md). It may
come as a Python package, Zig's (``pip install 'makalu[clang]'``), which brings its own C++ library
and so compiles everything that goes into a simulation. What is in the cache already stays as it is.
"""

import importlib.metadata
import importlib.util
import shutil
import sys
from dataclasses import dataclass

GXX, CLANG = "g++", "clang++"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Parameters
    ----------
    name : str
        For people, and for keys of what only fits what it has made.
    command : tuple of str
        The command, to which files and options are added.
    """

    name: str
    command: tuple[str, ...]


def compiler() -> Compiler:
    """The compiler of this machine that makes the fastest simulations."""
    if shutil.which(CLANG):
        return Compiler(CLANG, (CLANG,))
    if importlib.util.find_spec("ziglang"):
        # without optimization Zig adds checks that need a library of their own
        return Compiler(f"clang++ of ziglang {importlib.metadata.version('ziglang')}",
                        (sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=all"))
    return Compiler(GXX, (GXX,))
