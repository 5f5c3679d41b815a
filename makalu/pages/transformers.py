# SPDX-License-Identifier: Apache-2.0
"""Writes the table of ``docs/transformers.md``: ``python -m makalu.pages.transformers [NAME…]``.

Each network of :mod:`makalu.measure.transformers` is compiled for each machine; without names, all.
``--rtl`` runs them on the simulated hardware as well and compares every bit with the golden model;
``--layers 1`` takes so many layers of each, ``--precision int8`` quantizes the products with random
inputs. What was measured before stays in the table; it is kept beside the page as JSON.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import onnx

from isa.presets import load_config
from isa.program import Program
from compiler.lower.permission import CONVERSIONS
from makalu import api, facts
from makalu.measure.samples import random_inputs
from makalu.measure.transformers import CONTEXT, TRANSFORMERS
from makalu.pages.isa_pages import DOCS, table
from runtime.device import Device
from runtime.generator import Generator
from runtime.ports import Port
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.cache import say
from sim.device import RtlDevice

PAGE, FIGURES = DOCS / "transformers.md", DOCS / "transformers.json"
MACHINES = ("core256_fp", "core1024_fp")
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->"
TITLES = ("network", "layers", "machine", "precision", "instructions", "roofline, cycles",
          "predicted", "of the roofline", "RTL", "of the roofline", "prediction")

CALIBRATION = 2
"""Random inputs that a quantization sees."""

TOKEN = 5
"""What a decoder is given; the program reads all slots of its cache."""

KEY = ("network", "layers", "machine", "precision")
"""Of these there is one row."""

Row = dict[str, Any]


def _compiled(model: onnx.ModelProto, machine: str, precision: str) -> Program:
    """A program; of a decoder with caches of any length one that keeps them, for a token."""
    ports = [Port(i.name, np.dtype(np.float32),
                  tuple(d.dim_value for d in i.type.tensor_type.shape.dim))
             for i in model.graph.input]
    if not all(all(p.shape) for p in ports):
        return api.decoder(model, machine, context=CONTEXT, precision=precision, host=["all"])
    if precision != "int8":
        return api.compile(model, machine, precision=precision)
    return api.compile(model, machine, host=CONVERSIONS, calibration=[
        random_inputs(ports, 1 + n) for n in range(CALIBRATION)])


def _run(program: Program, device: Device) -> tuple[list[np.ndarray], list[dict[str, int]]]:
    """Outputs and counters of an execution."""
    if program.entries:
        generator = Generator(program, device)
        return [generator.decode(TOKEN)], [run.counters for run in generator.runs]
    session = Session(program, device)
    return list(session.run(random_inputs(session.inputs, 1)).values()), session.counters


def measured(name: str, layers: int | None, machine: str, precision: str, rtl: bool) -> Row:
    """A row: what the compiler predicts, and with ``rtl`` what the simulated hardware takes.

    Raises
    ------
    AssertionError
        If the hardware's outputs are not the golden model's, bit for bit.
    """
    model = TRANSFORMERS[name]() if layers is None else TRANSFORMERS[name](layers)
    program = _compiled(model, machine, precision)
    row = {"network": name, "layers": model.graph.name.rsplit("_", 1)[1], "machine": machine,
           "precision": precision, "instructions": program.instruction_count,
           "roofline": program.roofline_cycles, "predicted": sum(program.predicted_cycles)}
    if rtl:
        want, _ = _run(program, GoldenDevice(program.config))
        got, counters = _run(program, RtlDevice(load_config(machine)))
        assert all(map(np.array_equal, got, want)), f"{name} on {machine}: bits"
        row["rtl"] = facts.measured(program, counters)["cycles"]
    return row


def _cells(row: Row) -> list[str]:
    predicted, roofline = row["predicted"], row["roofline"]
    cells = [*(row[k] for k in KEY), f"{row['instructions']:,}",
             f"{roofline:,}", f"{predicted:,}", f"{roofline / predicted:.1%}"]
    if "rtl" not in row:
        return [*cells, "", "", ""]
    return [*cells, f"{row['rtl']:,}", f"{roofline / row['rtl']:.1%}",
            f"{predicted / row['rtl'] - 1:+.1%}"]


def write(rows: list[Row]) -> None:
    """The table into the page, the rows into the file beside it."""
    order = list(TRANSFORMERS)
    rows = sorted(rows, key=lambda r: (order.index(r["network"]), int(r["layers"]), r["machine"],
                                       r["precision"]))
    text = PAGE.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(head + BEGIN + "\n" + table(TITLES, map(_cells, rows)) + "\n" + END + tail)
    FIGURES.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TRANSFORMERS), metavar="NAME",
                        help=f"of {', '.join(TRANSFORMERS)}")
    parser.add_argument("--layers", type=int, help="layers of each; by default all")
    parser.add_argument("--machine", nargs="+", default=MACHINES)
    parser.add_argument("--precision", default="fp16", choices=("fp16", "bf16", "int8", "w8"))
    parser.add_argument("--rtl", action="store_true", help="run on the simulated hardware")
    args = parser.parse_args()
    for name in args.names:
        if name not in TRANSFORMERS:
            parser.error(f"there is no network {name!r}; name some of {', '.join(TRANSFORMERS)}")
    rows = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    for name in args.names:
        for machine in args.machine:
            start = time.monotonic()
            row = measured(name, args.layers, machine, args.precision, args.rtl)
            rows = [r for r in rows if [r[k] for k in KEY] != [row[k] for k in KEY]] + [row]
            write(rows)
            say(f"{name} on {machine}: {row} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    main()
