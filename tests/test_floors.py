# SPDX-License-Identifier: Apache-2.0
"""Imports go down only, between floors and between folders, and there is no circle: the contracts
of ``pyproject.toml``."""

from pathlib import Path

import pytest

from tests.import_graph import contracts_hold

CIRCLE = """
[tool.importlinter]
root_packages = ["{name}"]

[[tool.importlinter.contracts]]
name = "no circle"
type = "acyclic_siblings"
ancestors = ["{name}"]
"""


def test_contracts() -> None:
    assert contracts_hold()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: bool) -> None:
    name = f"circle_{lazy}".lower()
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(f"from {name} import b\n")
    config = tmp_path / "pyproject.toml"
    config.write_text(CIRCLE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    (package / "b.py").write_text("")
    assert contracts_hold(config)
    inside = f"def f():\n    from {name} import a\n    return a\n"
    (package / "b.py").write_text(inside if lazy else f"from {name} import a\n")
    assert not contracts_hold(config)
