# SPDX-License-Identifier: Apache-2.0
"""``makalu run``: a network on a device, its outputs, and what they agree with."""

import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import numpy as np

from makalu import api, facts
from makalu import classes as naming
from makalu.cli import console
from makalu.cli.options import (How, compile_options, cores_option, device_option, json_option,
                                load_runnable, of_chip, picture_options)
from makalu.inputs import read_inputs, unusual
from makalu.pictures import Pictures
from makalu.text import percent
from compiler.source.imports.formats import is_model
from runtime.session import Session
from sim.build import WAVES


@click.command()
@click.argument("net")
@device_option
@click.option("--input", "inputs", multiple=True, required=True, metavar="FILE",
              help="A .npz with arrays named like the inputs, a .npy, a .pb (an ONNX tensor), or "
                   "pictures; NAME=FILE says for which input, FILE.npz:KEY which array. Can be "
                   "given several times.")
@picture_options
@click.option("--classes", metavar="FILE.txt",
              help="Names of the classes, one a line: show the five most likely of each input.")
@compile_options
@click.option("--output", metavar="FILE.npz", help="Write the outputs to a file.")
@click.option("--check", is_flag=True, help="Compare with ONNX Runtime.")
@click.option("--model", metavar="MODEL", help="What --check compares a .mkl program with.")
@cores_option
@click.option("--waves", metavar="FILE", help="Write waves of the hardware: .vcd or .fst.")
@json_option
def run(net: str, device: str, inputs: tuple[str, ...], pictures: Pictures, classes: str | None,
        how: How, output: str | None, check: bool, model: str | None, cores: int | None,
        waves: str | None, as_json: bool) -> None:
    """Run NET, a program (.mkl) or a model (.onnx, .tflite, .pb, .keras, .pt2, a SavedModel
    folder), on a device.

    The first run on a configuration's hardware builds its simulation, which takes a minute or two;
    it is kept.

    \b
    Examples:
      makalu run examples/digits_int8.onnx --host all --input examples/digits_test.npz --check
      makalu run net.mkl --device rtl --input cat.jpg --input dog.jpg --classes names.txt
      makalu run net.mkl --input cat.jpg --crop 0.875 --mean 0.485,0.456,0.406
        --std 0.229,0.224,0.225
      makalu run net.mkl --device rtl --input x.npy --waves net.vcd
      makalu run net.mkl --device chip4_small --cores 3 --input x.npy
      makalu run net.mkl --device uart:/dev/ttyUSB0 --input cat.jpg
      makalu run net.onnx --input a=left.npy --input b=arrays.npz:right --json
      makalu run net.onnx --input test_data_set_0/input_0.pb
    """
    reference = model or net
    if check and not is_model(reference):
        raise click.ClickException("--check compares with ONNX Runtime and needs the model: add "
                                   "--model MODEL")
    if waves and device != "rtl":
        raise click.ClickException("waves come from the hardware: add --device rtl")
    of_chip(cores, device)
    if waves and Path(waves).suffix[1:] not in WAVES:
        raise click.ClickException(f"--waves {waves}: name a file that ends in ."
                                   f"{' or .'.join(WAVES)}, which says the format")
    names = naming.class_names(classes)
    program = load_runnable(net, how)
    options = {"waves": waves} if waves else {"cores": cores} if cores else {}
    with api.open_device(device, program.config, **options) as machine:
        session = Session(program, machine)
        naming.check(names, session.outputs)
        values = read_inputs(inputs, session.inputs, pictures, console.warn)
        for sentence in unusual(values):
            console.warn(sentence)
        start = time.monotonic()
        results = _run(session, values)
        seconds = time.monotonic() - start
    agreement = {}
    if check:
        from makalu.measure.witness import compare, reference as witness
        theirs = witness(how.onnx_file(reference), values)
        agreement = {name: compare(results[name], theirs[name]) for name in results}
    likely = {name: naming.best(value, names) for name, value in results.items()} if names else {}
    if output:
        np.savez(output, **results)  # type: ignore[arg-type]
    numbers = {"device": device, "config": program.config.name, "precision": program.precision,
               **facts.measured(program, session.counters), "wall_seconds": round(seconds, 3)}
    if as_json:
        console.emit_json({
            "outputs": {name: value.tolist() for name, value in results.items()}, **numbers,
            **({"best": likely} if names else {}),
            **({"check": {k: a.json() for k, a in agreement.items()}} if check else {})})
        return
    _show(results, numbers, agreement, likely)


def _run(session: Session, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    program = session.program
    batches = {len(v) for v in values.values() if v.ndim}
    several = max(batches, default=1) > session.batch
    if several:
        with console.progress(f"running {program.name}", "inputs") as update:
            return session.run(values, progress=update)
    with console.progress(f"running {program.name}", "cycles") as update:
        total = sum(program.predicted_cycles) or None
        session.device.progress = lambda n: update(n, total)
        return session.run(values)


def _show(results: dict[str, np.ndarray], numbers: dict[str, Any], agreement: dict[str, Any],
          likely: dict[str, list[list[dict[str, Any]]]]) -> None:
    for name, value in results.items():
        console.out.print(f"{name}: {value.dtype} {list(value.shape)}", style="bold")
        rows = value.reshape(len(value), -1) if value.ndim > 1 else value.reshape(1, -1)
        for row, named in zip_longest(rows[:8], likely.get(name, [])[:8]):
            text = " ".join(f"{v:.4g}" for v in row[:10]) + (" …" if row.size > 10 else "")
            at = int(row.argmax())
            told = f"{text}   largest: [{at}] {row[at]:.4g}" if named is None else ", ".join(
                f"{c['class']} {c['value']:.4g}" for c in named)
            console.out.print(f"  {told}", markup=False)
        if len(rows) > 8:
            console.out.print(f"  … {len(rows) - 8} more rows")
        if name in agreement:
            console.out.print(f"  against ONNX Runtime: {agreement[name]}")
    n = numbers
    times = f" in each of {n['executions']} executions" if n["executions"] > 1 else ""
    if n["cycles"] is None:
        console.out.print(f"golden model of {n['config']}: {n['macs']:,} MACs{times}, "
                          f"{n['wall_seconds']:.2f} s")
        return
    where = "simulated" if n["device"] in api.DEVICES else f"on {n['device']}"
    console.out.print(
        f"{n['config']}, {where}: {n['cycles']:,} cycles{times}, roofline "
        f"{n['roofline_cycles']:,} ({percent(n['roofline_share'])} reached), "
        f"{percent(n['mac_utilization'])} of the multipliers' capacity, "
        f"{n['dram_bytes']:,} DRAM bytes ({n['dram_bytes_ahead']:,} of them instructions that were "
        f"fetched ahead), {n['wall_seconds']:.2f} s")
