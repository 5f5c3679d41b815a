# SPDX-License-Identifier: Apache-2.0
"""A block as the ECP5 cells that it is mapped to, in Verilog, to be simulated:
``python -m synth.gates --block tile``.

::

    Verilog ─► synth.ecp5 ──► cells ─┐
              Yosys's models of them ├─► any simulator
          a model of the multiplier  ┘

The models of LUT, carry, flip-flop and distributed RAM come with Yosys; that of the multiplier is
``synth/cells/MULT18X18D.v``. Block RAMs have no model, so that a block with one is refused. There
are no delays: this is the truth about the mapping and not about timing.
"""

import importlib.util
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click

from hw.top import verilog_of
from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.blocks import PARTS, component
from synth.ecp5 import synthesize
from synth.yosys import SynthesisError, commands_only

MODEL = Path(__file__).resolve().parent / "cells" / "MULT18X18D.v"

WITHOUT = "NO_INCLUDES"
"""Defined, it leaves out the models of cells that Yosys never maps to, which are there twice."""

ABSENT = {"DP16KD": "block RAM"}
"""Cells without a model."""


class Gates(NamedTuple):
    """``text`` of the netlist, its ports' direction and bits, and how many cells of each kind."""

    text: str
    ports: dict[str, tuple[str, int]]
    cells: Counter[str]


def gates(config: Config, block: str) -> Gates:
    """A block mapped; its module has the block's name.

    Raises
    ------
    ConfigError
        If the machine does not have it.
    SynthesisError
        If Yosys fails, or a cell has no model.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        verilog = verilog_of(component(config, block), block)
        module = synthesize(verilog, block, folder / "gates.json")
        commands_only(block, ["read_json gates.json", f"hierarchy -top {block}",
                              "delete t:$scopeinfo", "write_verilog -noattr gates.v"], folder)
        text = (folder / "gates.v").read_text()
    cells = Counter(cell["type"] for cell in module["cells"].values())
    for kind, name in ABSENT.items():
        if kind in cells:
            raise SynthesisError(f"{block} of {config.name} has {cells[kind]} {kind} "
                                 f"({name}), which has no model: choose a configuration with "
                                 "smaller memories, such as tiny, or another block")
    ports = {n: (p["direction"], len(p["bits"])) for n, p in module["ports"].items()}
    return Gates(text, ports, cells)


def models() -> tuple[Path, list[Path]]:
    """The folder that the models' own includes lie in, and the files.

    Raises
    ------
    SynthesisError
        If Yosys is missing.
    """
    spec = importlib.util.find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise SynthesisError("the models of the cells come with pyosys, which is missing: make "
                             "area installs it")
    folder = Path(spec.origin).parent / "share" / "ecp5"
    return folder, [folder / "cells_sim.v", MODEL]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "name", default="tiny", show_default=True,
              help="A preset or a .json file.")
@click.option("--block", required=True, type=click.Choice(list(PARTS)), help="What to map.")
@click.option("-o", "--output", default="build/gates", show_default=True, metavar="FOLDER",
              type=click.Path(path_type=Path), help="Where the netlist goes.")
def main(name: str, block: str, output: Path) -> None:
    """Map a block to ECP5 cells and write them as Verilog; print the files that a simulator needs.

    \b
    Examples:
      python -m synth.gates --block tile
      verilator --lint-only -Wno-lint $(python -m synth.gates --block array)
    """
    try:
        found = gates(load_config(name), block)
        folder, files = models()
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{block}.v").write_text(found.text)
    except (ConfigError, SynthesisError, OSError) as e:
        sys.exit(f"makalu: {e}")
    words = (f"+define+{WITHOUT}", f"+incdir+{folder}", *files, output / f"{block}.v")
    print(" ".join(map(str, words)))


if __name__ == "__main__":
    main()
