# SPDX-License-Identifier: Apache-2.0
"""The command that compares precisions."""

from pathlib import Path

import click
import numpy as np

from isa.config import PRECISIONS
from isa.presets import load_config
from makalu import api
from makalu.cli import console
from makalu.cli.console import number, percent, table
from makalu.cli.options import json_option
from makalu.models import onnx_file
from sim.cache import say


@click.command()
@click.argument("model")
@click.option("--input", "samples", required=True, metavar="FILE.npz",
              help="Samples by input name, and labels.")
@click.option("--labels", metavar="NAME", help="The array of the right answers in that file.")
@click.option("--config", default="core256_fp", show_default=True, metavar="NAME",
              help="The machine.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice((*PRECISIONS, "mixed")),
              help="One to compare; can be given several times.  [default: those of the machine, "
                   "and mixed]")
@click.option("--sqnr", type=float, metavar="DB",
              help="What the mixed network has to reach.  [default: 35]")
@click.option("--samples", "count", default=100, show_default=True, type=click.IntRange(1),
              help="How many of them to take.")
@click.option("--device", type=click.Choice(api.DEVICES), default="golden", show_default=True,
              help="The golden model (predicted cycles) or the simulated hardware.")
@click.option("-o", "--output", metavar="FILE.png", help="Draw a picture.")
@json_option
def accuracy(model: str, samples: str, labels: str | None, config: str,
             precisions: tuple[str, ...], sqnr: float | None, count: int, device: str,
             output: str | None, as_json: bool) -> None:
    """Compare MODEL.onnx, an FP32 network, in each precision of a machine with ONNX Runtime: how
    close it is, how often it is right, and what it costs.

    INT8 is calibrated with the first samples, with which the layers of the mixed network are chosen
    as well.

    \b
    Examples:
      makalu accuracy examples/digits_fp32.onnx --input examples/digits_test.npz --labels labels
      makalu accuracy net.onnx --input samples.npz --precision fp16 --device rtl -o net.png
    """
    from makalu.measure.accuracy import draw, measure

    try:
        with np.load(samples) as file:
            arrays = {k: v[:count] for k, v in file.items()}
    except (OSError, ValueError) as e:
        raise click.ClickException(f"{samples}: not a numpy archive ({e})") from None
    if labels is not None and labels not in arrays:
        raise click.ClickException(f"{samples} has no array {labels!r}; it has "
                                   f"{', '.join(arrays)}")
    onnx = str(onnx_file(model, say=say))
    right = arrays.pop(labels).ravel() if labels is not None else None
    with console.err.status("comparing") as status:
        rows = measure(onnx, load_config(config), arrays, right, precisions, device, sqnr,
                       lambda text: status.update(text))
    if output:
        draw(rows, Path(output))
    if as_json:
        console.emit_json({"model": model, "config": config, "rows": rows})
        return
    console.out.print(table(
        f"{Path(model).name} on {config}, against ONNX Runtime in FP32",
        [("precision", "left"), ("accuracy", "right"), ("SQNR, dB", "right"),
         ("max. error", "right"), ("top-1 same", "right"), ("with a margin", "right"),
         ("cycles", "right"), ("roofline", "right"), ("DRAM bytes", "right")],
        [[_name(r), percent(r["accuracy"]), *_cells(r)] for r in rows]))
    if device == "golden":
        console.out.print("Cycles are the compiler's prediction; --device rtl counts them.")
    if output:
        console.out.print(f"written to {output}")


def _name(row: dict) -> str:
    """The precision; of a mixed network with the layers that are not INT8."""
    if not row.get("choices"):
        return row["precision"]
    kept = sum(c["type"] != "int8" for c in row["choices"])
    return f"mixed, {kept} of {len(row['choices'])} layers fp16"


def _cells(row: dict) -> list[str]:
    if row["precision"] == "fp32":
        return ["-"] * 7
    return ["exact" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}",
            f"{row['max_relative_error']:.1e}",
            f"{row['same_top1']} of {row['samples']}",
            f"{row['same_top1_with_margin']} of {row['with_margin']}",
            number(row["cycles"] or row["predicted_cycles"]), number(row["roofline_cycles"]),
            number(row["dram_bytes"])]
