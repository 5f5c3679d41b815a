# SPDX-License-Identifier: Apache-2.0
"""Area of each block, by Yosys: ``python -m synth.area --config ecp5``.

Two targets are documented of a core: ``generic`` (gates of two inputs, multiplexers and flip-flops
after ABC; memories become flip-flops, so blocks with memories look large) and ``ecp5`` (Lattice
ECP5 cells of :mod:`synth.ecp5`); :mod:`synth.report` has two of Xilinx more. Of a chip, whose hub
is half memories, ``ecp5`` and a larger family, ``xcup`` (UltraScale+); a chip with its cores is
mapped to ``xc7`` (7 series) if it is asked for. Nothing is placed or routed, so this says nothing
about timing.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from hw.chip.top import CORE, UNCORE, uncore_verilog
from hw.top import verilog as core_verilog, verilog_of
from isa.chip import CHIPS, ChipConfig
from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.blocks import BLOCKS, CHIP, CHIP_BLOCKS, CHIP_PARTS, component, present
from synth.ecp5 import synthesize as synthesize_ecp5
from synth.yosys import SynthesisError, run

DOCS = Path(__file__).resolve().parent.parent / "docs"

XILINX = "synth_xilinx -flatten -noiopad -noclkbuf -top {top} -family "

SCRIPTS = {
    "generic": ["synth -flatten -top {top}", "abc -g AND,XOR,MUX", "opt_clean"],
    "xc7": [XILINX + "xc7"],
    "xcup": [XILINX + "xcup"],
}
"""Yosys commands of each target but ECP5, which :mod:`synth.ecp5` maps to."""

GROUPS = {
    "generic": {"gates": ("$_AND_", "$_XOR_", "$_MUX_", "$_NOT_"),
                "flip-flops": ("$_DFF", "$_SDFF")},
    "ecp5": {"LUT4": ("LUT4", "CCU2C", "TRELLIS_DPR16X4"), "flip-flops": ("TRELLIS_FF",),
             "DSP": ("MULT18X18D",), "block RAM": ("DP16KD",)},
    "xc7": {"LUT": ("LUT", "INV", "RAM32", "RAM64", "RAM128", "SRL"), "flip-flops": ("FD",),
            "DSP48": ("DSP48",), "RAMB18": ("RAMB",)},
}
"""Columns of the table: cells whose names begin with one of these. A carry cell and a LUT RAM count
with the LUTs that they take."""
GROUPS["xcup"] = GROUPS["xc7"]

LUTS = {"CCU2C": 2, "TRELLIS_DPR16X4": 6,
        "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2,
        "RAM128X1D": 4, "RAMB36E1": 2, "RAMB36E2": 2}
"""What a cell counts if not 1: LUT4 of an ECP5 slice (a distributed RAM of 16 x 4: a slice and a
half), LUT6 of a Xilinx slice, block RAMs of 18 kbit."""

PAIRING = ("xc7", "xcup")
"""Targets whose LUTs have two outputs."""

DOCUMENTED, CHIP_DOCUMENTED = ("generic", "ecp5"), ("ecp5", "xcup")
"""Targets of docs/area.md, and of docs/area_chip.md."""

WHOLE = ("xc7",)
"""Those of a whole chip. Of ``xcup`` Yosys's library offers LUT RAMs with addresses of 16 bits, for
which it has no cells: it stops at a core of ``ecp5``."""

MEANS = {
    "generic": "*generic* counts two-input gates after ABC and turns memories into flip-flops",
    "ecp5": "*ecp5* counts LUT4 (carry cells as two, 16 x 4 RAMs as six), flip-flops, 18 x 18 "
            "multipliers and 18 kbit block RAMs",
    "xcup": "*xcup* counts LUT6 of UltraScale+ (*paired*: two functions in one LUT where they "
            "fit), flip-flops, DSP48 and block RAMs of 18 kbit",
}
"""What the columns of a documented target say."""


def mapped(text: str, top: str, target: str) -> dict[str, dict[str, Any]]:
    """Cells of a module's Verilog mapped to a target, by name, as Yosys writes them in JSON.

    Raises
    ------
    SynthesisError
        If Yosys fails.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if target == "ecp5":
            found: dict[str, dict[str, Any]] = synthesize_ecp5(text, top, folder / "cells.json")[
                "cells"]
            return found
        run(text, top, [*(c.format(top=top) for c in SCRIPTS[target]), "write_json cells.json"],
            folder)
        cells: dict[str, dict[str, Any]] = json.loads(
            (folder / "cells.json").read_text())["modules"][top]["cells"]
    return cells


def counts(cells: Mapping[str, dict[str, Any]]) -> Counter[str]:
    """How many there are of each type."""
    return Counter(cell["type"] for cell in cells.values())


def synthesize(config: Config | ChipConfig, block: str, target: str) -> dict[str, int]:
    """Cells of a block by column; of a whole chip those of one core, as many times as it has it,
    and those of the rest.

    Raises
    ------
    ConfigError
        If the machine does not have it.
    SynthesisError
        If Yosys fails.
    """
    if isinstance(config, ChipConfig) and block == CHIP:
        cells = counts(mapped(uncore_verilog(config), UNCORE, target))
        core = counts(mapped(core_verilog(config.core), CORE, target))
        cells.update({kind: config.cores * count for kind, count in core.items()})
    else:
        cells = counts(mapped(verilog_of(component(config, block), block), block, target))
    return columns(cells, target)


def columns(cells: Mapping[str, int], target: str) -> dict[str, int]:
    """Yosys's counts as the table's columns."""
    result: Counter[str] = Counter()
    for kind, count in cells.items():
        for name, prefixes in GROUPS[target].items():
            if kind.startswith(prefixes):
                result[name] += count * LUTS.get(kind, 1)
    found = {name: result[name] for name in GROUPS[target]}
    if target in PAIRING:
        alone = sum(count for kind, count in cells.items() if kind.startswith(("LUT", "INV")))
        found["LUT, paired"] = found["LUT"] - alone + paired(cells)
    return found


def paired(cells: Mapping[str, int]) -> int:
    """LUT6 that hold Yosys's LUTs, each of which is a cell of its own: one has two outputs, and so
    holds two functions that have five inputs in all."""
    left = {size: cells.get(f"LUT{size}", 0) for size in range(1, 7)}
    left[1] += cells.get("INV", 0)
    total = 0
    for size in sorted(left, reverse=True):
        alone = left.pop(size)
        total += alone
        for other in range(min(5 - size, size - 1), 0, -1):
            shared = min(alone, left[other])
            left[other] -= shared
            alone -= shared
        if 2 * size <= 5:
            total -= alone // 2
    return total


def documented(config: Config | ChipConfig) -> tuple[str, ...]:
    """Targets of the page of a machine or a chip."""
    return CHIP_DOCUMENTED if isinstance(config, ChipConfig) else DOCUMENTED


def page(config: Config | ChipConfig, rows: Iterable[dict[str, Any]]) -> str:
    """``docs/area.md``, or of a chip ``docs/area_chip.md``."""
    rows, targets = list(rows), documented(config)
    places = [(t, c) for t in targets for c in rows[0][t]]
    blocks = f"each block of `{config.name}`"
    if isinstance(config, ChipConfig):
        blocks += f" but its {config.cores} cores `{config.core.name}`"
    lines = ["# Area", "",
             (f"Made by `make area CONFIG={config.name}`: {blocks} synthesized alone by Yosys, not "
              f"placed. {'; '.join(MEANS[t] for t in targets)}."), "",
             "| block | " + " | ".join(f"{t}: {c}" for t, c in places) + " |",
             "|---|" + "--:|" * len(places)]
    for row in rows:
        cells = [f"{row[t][c]:,}" for t, c in places]
        lines.append(f"| {row['block']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "name", default="ecp5", show_default=True,
              help="A preset, a .json file, or a chip.")
@click.option("--block", "blocks", multiple=True, type=click.Choice([*BLOCKS, *CHIP_PARTS]),
              help="Only this block, can be given several times; writes no page.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def main(name: str, blocks: tuple[str, ...], as_json: bool) -> None:
    """Synthesize each block alone with Yosys and write docs/area.md; of a chip those besides its
    cores, and docs/area_chip.md.

    \b
    Examples:
      python -m synth.area
      python -m synth.area --config chip4
      python -m synth.area --config chip2_ecp5 --block chip --json
      python -m synth.area --config core256 --block tile --block post --json
    """
    try:
        config = CHIPS[name] if name in CHIPS else load_config(name)
        rows = []
        for block in blocks or (list(CHIP_BLOCKS) if isinstance(config, ChipConfig)
                                else present(config, BLOCKS)):
            row: dict[str, Any] = {"block": block}
            for target in WHOLE if block == CHIP else documented(config):
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
        path = DOCS / ("area_chip.md" if isinstance(config, ChipConfig) else "area.md")
        path.write_text(page(config, rows))
        print(f"wrote docs/{path.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
