# SPDX-License-Identifier: Apache-2.0
"""Which files of the project a module is made of: itself and, in turn, what it imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PACKAGE = __name__.removesuffix("sim.sources")
"""In front of the names of the project's packages where they are installed: ``makalu.``."""


def sources(module: str) -> list[Path]:
    """The files behind a module of the project, sorted; those of other projects are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such module.
    """
    found: set[Path] = set()
    missing = set(_files(module))
    if not missing:
        raise FileNotFoundError(f"there is no module {module!r} below {ROOT}")
    while missing:
        path = missing.pop()
        found.add(path)
        for name in _imports(path):
            missing |= set(_files(name)) - found
    return sorted(found)


def _files(module: str) -> Iterator[Path]:
    """A module's own file and those of the packages around it; none if it is not the project's."""
    parts = module.removeprefix(PACKAGE).split(".")
    for k in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:k])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
