# SPDX-License-Identifier: Apache-2.0
"""The command line. Results go to standard output, progress and errors to standard error; an error
is one sentence with its cause and its cure, and exit code 1."""

import os
import sys
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import numpy as np

from isa.config import DTYPES
from isa.errors import UserError
import makalu
from makalu import api, facts
from makalu import classes as naming
from makalu.cli import console
from makalu.cli.account_commands import bisect, profile
from makalu.cli.accuracy_command import accuracy
from makalu.cli.examples_command import examples
from makalu.cli.options import (How, compile_net, compile_options, config_option, device_option,
                                given_by_default, json_option, load_net, picture_options)
from makalu.inputs import read_inputs, unusual
from makalu.pictures import Pictures
from makalu.text import percent
from runtime.session import Session
from sim.build import WAVES


class Group(click.Group):
    """Commands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(makalu.__version__)
def cli() -> None:
    """Compile neural networks for the Makalu accelerator and run them on its simulated hardware.

    \b
    Try:
      makalu run examples/digits_int8.onnx --host all --input examples/digits_test.npz --check
      makalu compile examples/digits_int8.onnx --host all -o digits.mkl --report
      makalu run digits.mkl --device rtl --input examples/digits_test.npz --json
      makalu verilog --config ecp5 -o makalu.v
    """


@cli.command("compile")
@click.argument("model")
@click.option("-o", "--output", metavar="FILE.mkl",
              help="[default: the model's name with .mkl, in the current folder]")
@compile_options
@click.option("--report", is_flag=True, help="Show node by node where it runs and why.")
@json_option
def compile_command(model: str, output: str | None, how: How, report: bool, as_json: bool) -> None:
    """Compile MODEL.onnx into a program file.

    MODEL is quantized (QDQ or QOperator), or FP32 with calibration data. What the machine does not
    run is an error that names the node, unless --host allows its operator on the host.

    \b
    Examples:
      makalu compile net.onnx
      makalu compile examples/digits_int8.onnx --host QuantizeLinear,DequantizeLinear
      makalu compile examples/digits_int8.onnx --host all -o net.mkl --config core1024 --report
      makalu compile net_fp32.onnx --host all --calibration samples.npz
      makalu compile net_fp32.onnx --host all --config core256_fp --precision fp16
      makalu compile net_fp32.onnx --host all --config core256_fp --precision mixed --sqnr 40
        --calibration samples.npz --report
    """
    program = compile_net(model, how)
    path = Path(output) if output else Path(Path(model).stem + ".mkl")
    program.save(path)
    if as_json:
        console.emit_json({**facts.summary(program), "file": str(path)})
        return
    if report:
        console.report(program)
    s = facts.summary(program)
    console.out.print(f"{path}: {s['instructions']:,} instructions, program of "
                      f"{s['image_bytes']:,} bytes, file of {path.stat().st_size:,} bytes, for "
                      f"{s['config']}")


@cli.command()
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
@click.option("--model", metavar="MODEL.onnx", help="What --check compares a .mkl program with.")
@click.option("--waves", metavar="FILE", help="Write waves of the hardware: .vcd or .fst.")
@json_option
def run(net: str, device: str, inputs: tuple[str, ...], pictures: Pictures, classes: str | None,
        how: How, output: str | None, check: bool, model: str | None, waves: str | None,
        as_json: bool) -> None:
    """Run NET, a program (.mkl) or a model (.onnx), on a device.

    The first run on a configuration's hardware builds its simulation, which takes a minute or two;
    it is kept.

    \b
    Examples:
      makalu run examples/digits_int8.onnx --host all --input examples/digits_test.npz --check
      makalu run net.mkl --device rtl --input cat.jpg --input dog.jpg --classes names.txt
      makalu run net.mkl --input cat.jpg --crop 0.875 --mean 0.485,0.456,0.406
        --std 0.229,0.224,0.225
      makalu run net.mkl --device rtl --input x.npy --waves net.vcd
      makalu run net.mkl --device uart:/dev/ttyUSB0 --input cat.jpg
      makalu run net.onnx --input a=left.npy --input b=arrays.npz:right --json
      makalu run net.onnx --input test_data_set_0/input_0.pb
    """
    reference = model or net
    if check and Path(reference).suffix != ".onnx":
        raise click.ClickException("--check compares with ONNX Runtime and needs the model: add "
                                   "--model MODEL.onnx")
    if waves and device != "rtl":
        raise click.ClickException("waves come from the hardware: add --device rtl")
    if waves and Path(waves).suffix[1:] not in WAVES:
        raise click.ClickException(f"--waves {waves}: name a file that ends in ."
                                   f"{' or .'.join(WAVES)}, which says the format")
    names = naming.class_names(classes)
    program = load_net(net, how)
    options = {"waves": waves} if device == "rtl" else {}
    machine = api.open_device(device, program.config, **options)
    session = Session(program, machine)
    naming.check(names, session.outputs)
    values = read_inputs(inputs, session.inputs, pictures, console.warn)
    for sentence in unusual(values):
        console.warn(sentence)
    start = time.monotonic()
    results = _run(session, values)
    seconds = time.monotonic() - start
    if waves:
        machine.close()  # type: ignore[attr-defined]
    agreement = {}
    if check:
        from makalu.measure.witness import compare, reference as witness
        theirs = witness(reference, values)
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
        if session.device.name == "rtl":
            total = sum(program.predicted_cycles) or None
            session.device.progress = lambda n: update(n, total)  # type: ignore[attr-defined]
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


@cli.command()
@click.argument("net")
@compile_options
@json_option
def report(net: str, how: How, as_json: bool) -> None:
    """Show where each node of NET (.mkl or .onnx) runs, and the cycles that the compiler predicts.

    \b
    Examples:
      makalu report net.mkl
      makalu report examples/digits_int8.onnx --config core1024 --host all
    """
    program = load_net(net, how)
    if as_json:
        console.emit_json({**facts.summary(program), "placement": program.placement,
                           "node_cycles": facts.node_cycles(program)})
    else:
        console.report(program)


@cli.command()
@click.argument("net")
@compile_options
def disassemble(net: str, how: How) -> None:
    """Print the instructions of NET (.mkl or .onnx), one a line, under the node that they are for.

    \b
    Example:
      makalu disassemble net.mkl | less
    """
    click.echo(load_net(net, how).disassemble())


@cli.command()
@config_option
@click.option("-o", "--output", metavar="FILE.v", help="[default: standard output]")
@click.option("--package", "folder", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Write makalu.v with a C header and a JSON of the registers, a table of the "
                   "ports, a FuseSoC core and a script that packages a Vivado IP.")
@click.option("--gated", is_flag=True,
              help="For an ASIC: parts that rest get no clock. Replace the model of the cell, "
                   "makalu_clock_gate, by that of your library.")
def verilog(config: str, output: str | None, folder: Path | None, gated: bool) -> None:
    """Write the machine's Verilog: one file of Verilog-2001, top module `makalu`, AXI4 and
    AXI4-Lite ports.

    \b
    Examples:
      makalu verilog --config ecp5 -o makalu.v
      makalu verilog --config mine.json | wc -l
      makalu verilog --config ecp5 --package build/ecp5
    """
    from makalu import package

    if folder is not None:
        for path in package.write(makalu.load_config(config), folder):
            console.out.print(f"wrote {path}")
        if output is None:
            return
    text = package.source(makalu.load_config(config), gated)
    if output is None:
        click.echo(text, nl=False)
        return
    Path(output).write_text(text)
    console.out.print(f"{output}: {len(text.splitlines()):,} lines of Verilog")


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE.onnx]…")
@click.option("--models", metavar="FOLDER", help="A folder with more networks (.onnx), also below "
              "it.  [default: MAKALU_MODELS]")
@click.option("--config", "configs", multiple=True, metavar="NAME",
              help="A machine; can be given several times.  [default: core256 and core1024, for "
                   "fp16 core256_fp and core1024_fp]")
@click.option("--precision", type=click.Choice(["int8", "fp16"]), default="int8",
              show_default=True, help="Measure quantized networks, or FP32 networks in FP16.")
@click.option("--quick", is_flag=True, help="Only networks that are simulated in seconds.")
@click.option("--docs", metavar="FOLDER", type=click.Path(path_type=Path),
              help="Where benchmarks.md and benchmarks.json go.  [default: docs; build/bench for "
                   "files and --quick]")
@json_option
def bench(files: tuple[Path, ...], models: str | None, configs: tuple[str, ...], precision: str,
          quick: bool, docs: Path | None, as_json: bool) -> None:
    """Measure networks on the simulated hardware: FILES, or the table of the documentation.

    That table has the shipped network, those of the models' folder, and light models of the onnx
    package, VGG-19 among them: half an hour. It is written anew after each row.

    \b
    Examples:
      makalu bench
      makalu bench --quick --config core256
      makalu bench net.onnx other.onnx
      makalu bench --precision fp16 --quick
    """
    from makalu.measure import bench as benches
    from makalu.measure import bench_page as page
    from makalu.measure import networks
    from sim.build import say

    for file in files:
        if not file.is_file():
            raise click.ClickException(f"there is no file {str(file)!r}; name .onnx files")
    folder = docs or Path("build/bench" if files or quick else "docs")
    if files and precision == "int8":
        given, left = networks.quantized(files)
        chosen = networks.of_files(given)
    elif files:
        chosen, left = networks.of_files(files), {}
    else:
        chosen, left = networks.networks(models, precision)
    for label, reason in left.items():
        say(f"{label} is left out: {reason}")
    if not as_json:
        console.out.print(" | ".join(page.COLUMNS), markup=False)

    def found(result: benches.Result, row: dict[str, Any]) -> None:
        page.write(result, left, folder, precision)
        if not as_json:
            console.out.print(" | ".join(page.cells(row)), markup=False)

    result = benches.Bench([n for n in chosen if not (quick and n.large)],
                           configs or benches.CONFIGS[precision], say, found, precision).run()
    paths = page.write(result, left, folder, precision)
    if as_json:
        console.emit_json({"networks": result.sorted_rows(), "machines": result.machines,
                           "skipped": result.skipped, "left_out": left})
        return
    console.out.print(f"written to {' and '.join(map(str, paths))}")


@cli.command()
@click.argument("folder", required=False)
@click.option("--rtl", default=2, show_default=True, type=click.IntRange(0), metavar="N",
              help="Inputs of each network that the simulated hardware gets; 0: none.")
@click.option("--samples", default=8, show_default=True, type=click.IntRange(1), metavar="N",
              help="Random inputs of a network that has none beside it.")
@config_option
@click.option("--precision", type=click.Choice(DTYPES), default="int8", show_default=True,
              help="Check quantized networks, or FP32 networks in a 16-bit type, on core256_fp "
                   "unless told otherwise.")
@json_option
@click.pass_context
def zoo(ctx: click.Context, folder: str | None, rtl: int, samples: int, config: str,
        precision: str, as_json: bool) -> None:
    """Check every network in FOLDER (or MAKALU_MODELS): golden model against ONNX Runtime, as a
    whole and node by node, and simulated hardware against the golden model.

    Inputs lie beside a network: .npz files with an array that fits, pictures in photos/.
    The exit code is 1 if a requirement does not hold, or if no network could be checked.

    \b
    Examples:
      makalu zoo ~/networks
      makalu zoo ~/networks --precision fp16
      makalu zoo ~/networks --config core1024 --rtl 4 --json
    """
    from makalu.measure import zoo as networks
    from makalu.measure.networks import networks_in
    from makalu.cli.zoo_table import emit, show
    from sim.build import say

    if precision != "int8" and given_by_default(ctx, "config"):
        config = f"{config}_fp"
    rows = networks.zoo(networks_in(folder), config, ("all",), rtl, samples, say, precision)
    (emit if as_json else show)(rows, config)
    violations = [v for row in rows for v in row["violations"]]
    for violation in violations:
        click.echo(f"makalu: {violation}", err=True)
    nothing = all(row["skipped"] for row in rows)
    if nothing:
        click.echo("makalu: no network was checked", err=True)
    if violations or nothing:
        ctx.exit(1)


cli.add_command(accuracy)
cli.add_command(profile)
cli.add_command(bisect)
cli.add_command(examples)


def main() -> None:
    """The entry point of the console script."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as e:
        _fail(e.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("makalu: interrupted", err=True)
        sys.stdout.flush()
        # without what Amaranth says of hardware that is half built, and without waiting for threads
        os._exit(130)
    except OSError as e:
        _fail(console.sentence(e))
    except UserError as e:
        _fail(str(e))


def _fail(text: str) -> None:
    click.echo(f"makalu: {text}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
