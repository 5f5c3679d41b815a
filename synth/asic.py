# SPDX-License-Identifier: Apache-2.0
"""Cell area and critical path of each block, mapped to a Liberty file: ``make asic LIBERTY=FILE``.

Yosys and ABC map what is not memory; memories are counted in bits, since a chip has macros for
them. Nothing is placed: there are no wires, no clock tree and no hold fixes in these numbers, which
therefore compare designs with one another and are no forecast of a chip.
"""

import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from amaranth.lib import wiring

from hw.top import verilog_of
from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.area import DOCS
from synth.blocks import BLOCKS, WITHIN, component, copies, present
from synth.columns import COLUMNS
from synth.yosys import SynthesisError

ABC = "+strash;ifraig;scorr;dc2;dch,-f;map;topo;buffer;upsize;dnsize;stime,-p"

COLUMN_CONFIG = "core256_fp"

SCRIPT = """
import json, sys
from pyosys import libyosys as ys
source, top, liberty, out = sys.argv[1:]
d = ys.Design()
for command in (f"read_verilog -sv {source}", f"synth -flatten -top {top} -run begin:fine",
                "opt -fast -full", "opt -undriven -fine", "wreduce", "techmap", "opt",
                f"dfflibmap -liberty {liberty}", "opt",
                f"tee -q -o {out}.abc abc -liberty {liberty} -script " + sys.stdin.read().strip(),
                "opt_clean", f"tee -q -o {out} stat -liberty {liberty} -json"):
    ys.run_pass(command, d)
bits = 0
for module in d.selected_modules():
    for cell in module.cells_.values():
        if cell.type.str() == "$mem_v2":
            bits += (cell.getParam(ys.IdString("\\\\SIZE")).as_int()
                     * cell.getParam(ys.IdString("\\\\WIDTH")).as_int())
open(out + ".bits", "w").write(json.dumps(bits))
"""


def synthesize(block: wiring.Component, name: str, liberty: Path) -> dict[str, float]:
    """``area`` (in the file's unit), ``delay`` in ns, ``memory`` in bits.

    Raises
    ------
    SynthesisError
        If Yosys fails, or cannot read the Liberty file.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "block.v", Path(folder) / "stat.json"
        source.write_text(verilog_of(block, name))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(source), name, str(liberty), str(out)], input=ABC,
            capture_output=True, text=True)
        bits = Path(f"{out}.bits")
        if done.returncode or not bits.exists():
            said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise SynthesisError(f"Yosys failed on {name!r} with {liberty}:\n{said}")
        area = json.loads(out.read_text())["modules"][f"\\{name}"]["area"]
        delays = re.findall(r"Delay *= *([0-9.]+) *ps", Path(f"{out}.abc").read_text())
        return {"area": float(area), "delay": max(map(float, delays), default=0) / 1000,
                "memory": float(bits.read_text())}


def page(config: Config, liberty: str, blocks: list[dict[str, Any]], columns: list[dict[str, Any]]
         ) -> str:
    """``docs/asic.md``."""
    lines = [
        "# Standard cells", "",
        (f"Made by `make asic LIBERTY={liberty} CONFIG={config.name}`: Yosys and ABC map each "
         "block alone; areas are in the unit of the Liberty file (square micrometers), delays are "
         "ABC's longest path between registers. Memories are left out and counted in bits. "
         "**There are no wires, no clock tree and no placement in these numbers.**"), "",
        (f"`{config.name}`, {config.macs} multipliers. *area for each INT8 MAC*: of all copies of "
         "a block that the machine has, over its multipliers; a block that is part of another one "
         "is counted there. The scratchpad is memory alone and is not listed."), "",
        "| block | area | copies | area for each INT8 MAC | longest path, ns | memory, bits |",
        "|---|--:|--:|--:|--:|--:|"]
    for r in blocks:
        count = copies(config, r["name"])
        where = f"{count}" if count else f"in {WITHIN[r['name']]}"
        each = f"{count * r['area'] / config.macs:,.0f}" if count else ""
        lines.append(f"| {r['name']} | {r['area']:,.0f} | {where} | {each} | {r['delay']:.2f} | "
                     f"{r['memory']:,.0f} |")
    area, bits = (sum(copies(config, r["name"]) * r[what] for r in blocks)
                  for what in ("area", "memory"))
    lines.append(f"| **all** | {area:,.0f} |  | {area / config.macs:,.0f} |  | {bits:,.0f} |")
    lines += [
        "", "## INT8 and FP16 in one column", "",
        (f"A column of `{COLUMN_CONFIG}` with its accumulation, at the same rate built in three "
         "ways ([synth/columns.py](../synth/columns.py)), and the INT8 column alone:"), "",
        "| column | types | area | of the binary32 one | longest path, ns |",
        "|---|---|--:|--:|--:|"]
    base = next(r["area"] for r in columns if r["name"] == "float32")
    lines += [f"| {r['name']} | {r['types']} | {r['area']:,.0f} | {100 * r['area'] / base:.0f} % | "
              f"{r['delay']:.2f} |" for r in columns]
    return "\n".join(lines) + "\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--liberty", required=True, metavar="FILE", type=click.Path(path_type=Path),
              help="Cells: .lib or .lib.gz.")
@click.option("--config", "name", default="ecp5", show_default=True,
              help="A preset or a .json file.")
@click.option("--block", "chosen", multiple=True, type=click.Choice(list(BLOCKS)),
              help="Only this block, can be given several times; writes no page.")
@click.option("--columns/--no-columns", default=True, help="Compare columns with floating point.")
def main(liberty: Path, name: str, chosen: tuple[str, ...], columns: bool) -> None:
    """Map each block to standard cells with Yosys and write docs/asic.md.

    \b
    Examples:
      python -m synth.asic --liberty sky130hd_tt.lib.gz
      python -m synth.asic --liberty cells.lib --config core256 --block tile --no-columns
    """
    try:
        config = load_config(name)
        with tempfile.TemporaryDirectory() as folder:
            cells = Path(folder) / "cells.lib"
            try:
                data = liberty.read_bytes()
                cells.write_bytes(gzip.decompress(data) if liberty.suffix == ".gz" else data)
            except (OSError, EOFError) as e:
                sys.exit(f"makalu: {liberty} cannot be read ({e}); give a Liberty file")
            rows = [_row(component(config, b), config, b, cells)
                    for b in chosen or present(config, BLOCKS)]
            compared = _columns(cells) if columns else []
    except (ConfigError, SynthesisError) as e:
        sys.exit(f"makalu: {e}")
    if not chosen and columns:
        (DOCS / "asic.md").write_text(page(config, liberty.name, rows, compared))
        print("wrote docs/asic.md", file=sys.stderr)


def _columns(cells: Path) -> list[dict[str, Any]]:
    whole = load_config(COLUMN_CONFIG)
    rows = []
    for name, kind, types in (
            ("integers", "shared", ("int8",)),
            *((kind, kind, ("int8", "fp16")) for kind in COLUMNS),
            ("shared", "shared", ("int8", "fp16", "bf16"))):
        config = replace(whole, dtypes=types)
        rows.append({**_row(COLUMNS[kind](config), config, name, cells),
                     "types": ", ".join(types).upper()})
    return rows


def _row(block: wiring.Component, config: Config, name: str, cells: Path) -> dict[str, Any]:
    start = time.monotonic()
    row: dict[str, Any] = {"name": name, **synthesize(block, name, cells)}
    print(f"{config.name}: {name}: area {row['area']:,.0f}, {row['delay']:.2f} ns, "
          f"{row['memory']:,.0f} bits ({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return row


if __name__ == "__main__":
    main()
