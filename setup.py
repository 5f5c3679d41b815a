# SPDX-License-Identifier: Apache-2.0
"""What is installed lives under one name.

The tree has plain packages at its top (``hw``, ``compiler``, …), as one reads and edits them. A
wheel has all of them in ``makalu``: ``hw/core.py`` becomes ``makalu/hw/core.py``, and its
``from isa.config import Config`` becomes ``from makalu.isa.config import Config``, so that no
common name comes to stand at the top of an environment. A checkout that is installed to work on
(``pip install -e .``) stays as it is.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

MOVED = ("isa", "gangs", "golden", "hw", "compiler", "runtime", "sim", "synth", "prove", "examples")
DATA = {"makalu": ["py.typed", "serve/fronts/*.html"], "sim": ["*.cpp", "*.h"],
        "synth": ["boards/*", "cells/*"], "examples": ["*.onnx", "*.npz"]}

FROM = re.compile(rf"^(\s*from )(?=(?:{'|'.join(MOVED)})\b)", re.MULTILINE)


def packages() -> list[str]:
    return find_packages(include=[f"{p}{s}" for p in ("makalu", *MOVED) for s in ("", ".*")])


class UnderOneName(build_py):
    """Copies modules, with the imports of what moves along."""

    def build_module(self, module, module_file, package):  # type: ignore[no-untyped-def]
        result = super().build_module(module, module_file, package)
        copy = Path(self.get_module_outfile(self.build_lib, package.split("."), module))
        copy.write_text(FROM.sub(r"\1makalu.", copy.read_text()))
        return result


if "editable_wheel" in sys.argv:
    setup(packages=packages(), package_data=DATA)
else:
    def inside(name: str) -> str:
        return name if name.split(".")[0] == "makalu" else f"makalu.{name}"

    setup(packages=[inside(p) for p in packages()],
          package_dir={inside(p): p for p in ("makalu", *MOVED)},
          package_data={inside(p): files for p, files in DATA.items()},
          cmdclass={"build_py": UnderOneName})
