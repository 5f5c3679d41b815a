# SPDX-License-Identifier: Apache-2.0
"""What a module is made of."""

import subprocess
import sys

import pytest

from sim.sources import ROOT, sources

LOADED = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


@pytest.mark.parametrize("module", ["hw.top", "hw.board.ulx3s", "hw.chip.top"])
def test_no_file_is_missed(module):
    """Against what Python loads."""
    out = subprocess.run([sys.executable, "-c", LOADED, module], capture_output=True, text=True,
                         check=True, cwd=ROOT).stdout
    loaded = {line for line in out.splitlines()
              if line.startswith(tuple(f"{ROOT}/{room}/" for room in ("hw", "isa")))}
    assert loaded and loaded <= {str(path) for path in sources(module)}


def test_a_core_is_not_made_of_what_is_around_it():
    rooms = {path.parent.name for path in sources("hw.top")}
    assert "chip" not in rooms and "board" not in rooms


def test_a_module_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="no module 'hw_absent'"):
        sources("hw_absent")
