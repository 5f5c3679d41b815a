# SPDX-License-Identifier: Apache-2.0
"""Area of each block, by Yosys: ``python -m synth.area --config ecp5``.

Two targets: ``generic`` (gates of two inputs, multiplexers and flip-flops after ABC; memories
become flip-flops, so blocks with memories look large) and ``ecp5`` (Lattice ECP5 cells after
``synth_ecp5``). Nothing is placed or routed, so this says nothing about timing.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from hw.top import verilog_of
from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.blocks import BLOCKS

DOCS = Path(__file__).resolve().parent.parent / "docs"

SCRIPTS = {
    "generic": ["synth -flatten -top {top}", "abc -g AND,XOR,MUX", "opt_clean"],
    "ecp5": ["synth_ecp5 -top {top}"],
}
"""Yosys commands of each target behind ``read_verilog``."""

GROUPS = {
    "generic": {"gates": ("$_AND_", "$_XOR_", "$_MUX_", "$_NOT_"),
                "flip-flops": ("$_DFF", "$_SDFF")},
    "ecp5": {"LUT4": ("LUT4", "CCU2C", "TRELLIS_DPR16X4"), "flip-flops": ("TRELLIS_FF",),
             "DSP": ("MULT18X18D",), "block RAM": ("DP16KD",)},
}
"""Columns of the table: cells whose names begin with one of these. A carry cell and a 16 x 4 LUT
RAM count with the LUTs that they take."""

LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""LUT4 of an ECP5 slice that a cell takes (a distributed RAM of 16 x 4: a slice and a half)."""


class SynthesisError(RuntimeError):
    """Yosys is missing or refused a block; the message has its last words."""


def synthesize(config: Config, block: str, target: str) -> dict[str, int]:
    """Cells of a block by column.

    Raises
    ------
    SynthesisError
        If Yosys fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, report = Path(folder) / "block.v", Path(folder) / "stat.json"
        source.write_text(verilog_of(BLOCKS[block](config), block))
        commands = [f"read_verilog -sv {source}",
                    *(c.format(top=block) for c in SCRIPTS[target]),
                    f"tee -q -o {report} stat -json"]
        code = ("from pyosys import libyosys as ys\nd = ys.Design()\n"
                + "\n".join(f"ys.run_pass({c!r}, d)" for c in commands))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode or not report.exists():
            said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise SynthesisError(f"Yosys failed on block {block!r} for {target}:\n{said}\n"
                                 "(if pyosys is missing: make area installs it)")
        cells = json.loads(report.read_text())["design"]["num_cells_by_type"]
    return columns(cells, target)


def columns(cells: dict[str, int], target: str) -> dict[str, int]:
    """Yosys's counts as the table's columns."""
    result: Counter[str] = Counter()
    for kind, count in cells.items():
        for name, prefixes in GROUPS[target].items():
            if kind.startswith(prefixes):
                result[name] += count * LUTS.get(kind, 1)
    return {name: result[name] for name in GROUPS[target]}


def page(config: Config, rows: Iterable[dict[str, Any]]) -> str:
    """``docs/area.md``."""
    heads = [f"{t}: {c}" for t in GROUPS for c in GROUPS[t]]
    lines = ["# Area", "",
             (f"Made by `make area CONFIG={config.name}`: each block of `{config.name}` "
              "synthesized alone by Yosys, not placed. *generic* counts two-input gates after ABC "
              "and turns memories into flip-flops; *ecp5* counts LUT4 (carry cells as two, 16 x 4 "
              "RAMs as six), flip-flops, 18 x 18 multipliers and 18 kbit block RAMs."), "",
             "| block | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(heads)]
    for row in rows:
        cells = [f"{row[t][c]:,}" for t in GROUPS for c in GROUPS[t]]
        lines.append(f"| {row['block']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "name", default="ecp5", show_default=True,
              help="A preset or a .json file.")
@click.option("--block", "blocks", multiple=True, type=click.Choice(list(BLOCKS)),
              help="Only this block, can be given several times; writes no page.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(name: str, blocks: tuple[str, ...], as_json: bool) -> None:
    """Synthesize each block alone with Yosys and write docs/area.md.

    \b
    Examples:
      python -m synth.area
      python -m synth.area --config core256 --block tile --block post --json
    """
    try:
        config = load_config(name)
        rows = []
        for block in blocks or BLOCKS:
            row: dict[str, Any] = {"block": block}
            for target in SCRIPTS:
                start = time.monotonic()
                row[target] = synthesize(config, block, target)
                print(f"{config.name}: {block}, {target}: "
                      f"{', '.join(f'{v:,} {k}' for k, v in row[target].items())} "
                      f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
            rows.append(row)
    except (ConfigError, SynthesisError) as e:
        sys.exit(f"makalu: {e}")
    if as_json:
        print(json.dumps({"config": config.name, "blocks": rows}, indent=1))
    if not blocks:
        (DOCS / "area.md").write_text(page(config, rows))
        print("wrote docs/area.md", file=sys.stderr)


if __name__ == "__main__":
    main()
