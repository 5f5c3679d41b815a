# SPDX-License-Identifier: Apache-2.0
"""Prints the graph of imports between folders, and whether the contracts of ``pyproject.toml``
hold: ``make imports``."""

import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import grimp
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def rooms(packages: list[str]) -> dict[str, set[str]]:
    """For each folder, and each file beside folders, those that it imports from."""
    graph = grimp.build_graph(*packages)
    children = {m for package in packages for m in graph.find_children(package)}

    def room(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:2]) if ".".join(parts[:2]) in children else parts[0]

    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        found[room(module)] |= {room(m) for m in graph.find_modules_directly_imported_by(module)}
    return {name: others - {name} for name, others in found.items()}


def contracts_hold(config: Path = PROJECT) -> bool:
    """Whether the contracts of a configuration hold; says which do not on standard output."""
    return lint_imports(config_filename=str(config), no_cache=True,
                        no_logo=True) == EXIT_STATUS_SUCCESS


def main() -> None:
    packages = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["root_packages"]
    for name, others in sorted(rooms(packages).items()):
        print(f"{name:24}{' '.join(sorted(others))}")
    sys.exit(not contracts_hold())


if __name__ == "__main__":
    main()
