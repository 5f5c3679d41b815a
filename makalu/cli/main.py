# SPDX-License-Identifier: Apache-2.0
"""The command line. Results go to standard output, progress and errors to standard error; an error
is one sentence with its cause and its cure, and exit code 1."""

import os
import sys
from pathlib import Path

import click

from isa.chip import CHIPS
from isa.errors import UserError
import makalu
from makalu import facts
from makalu.cli import console
from makalu.cli.account_commands import bisect, profile
from makalu.cli.accuracy_command import accuracy
from makalu.cli.cores_options import as_data, compile_best, cores_options, show
from makalu.cli.decoder_options import compile_decoder, decoder_options
from makalu.cli.examples_command import examples
from makalu.cli.generate_command import generate
from makalu.cli.lease_commands import lease
from makalu.cli.measure_commands import bench, zoo
from makalu.cli.options import (How, compile_each, compile_options, config_option, json_option,
                                load_net)
from makalu.cli.plan_command import plan
from makalu.cli.quote_command import quote
from makalu.cli.run_command import run
from makalu.cli.serve_command import fleet, serve, token
from makalu.cli.watch_commands import ls, monitor, top
from makalu.cores import Aim
from makalu.text import plain


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


@click.command("compile")
@click.argument("model")
@click.option("-o", "--output", metavar="FILE.mkl",
              help="[default: the model's name with .mkl, in the current folder]")
@compile_options
@decoder_options(None)
@cores_options
@click.option("--report", is_flag=True, help="Show node by node where it runs and why.")
@json_option
def compile_command(model: str, output: str | None, how: How, context: tuple[int, ...],
                    prefill: int, cores: int | Aim, report: bool, as_json: bool) -> None:
    """Compile MODEL into a program file.

    MODEL is an ONNX file; a TensorFlow SavedModel folder or frozen GraphDef (.pb), Keras (.keras,
    .h5) or TensorFlow Lite (.tflite), with the extra makalu[tf]; a PyTorch ExportedProgram (.pt2),
    with makalu[torch]; or a Caffe2 net (predict_net.pb with init_net.pb beside it). What comes of
    TensorFlow and PyTorch is converted by their libraries, once, and compared with the original.

    It is quantized (QDQ or QOperator), or FP32 with calibration data. What the machine does not run
    is an error that names the node, unless --host allows its operator on the host.

    With --context it is a decoder in FP32 with a key-value cache, whose program makalu generate
    runs; for core256_fp and fp16 unless told otherwise.

    \b
    Examples:
      makalu compile net.onnx
      makalu compile net.tflite --host all
      makalu compile frozen.pb --model-input x:0 --shape x:0=1,28,28 --model-output logits:0
      makalu compile examples/digits_int8.onnx --host QuantizeLinear,DequantizeLinear
      makalu compile examples/digits_int8.onnx --host all -o net.mkl --config core1024 --report
      makalu compile net_fp32.onnx --host all --calibration samples.npz
      makalu compile net_fp32.onnx --host all --config core256_fp --precision fp16
      makalu compile net_fp32.onnx --host all --config core256_fp --precision mixed --sqnr 40
        --calibration samples.npz --report
      makalu compile net.onnx --config core1024 --dram-price 0.25 --report
      makalu compile examples/topics.onnx --context 64,128 --host all -o topics.mkl
      makalu compile examples/digits_int8.onnx --host all --config tiny --cores 4 -o digits4.mkl
      makalu compile net.onnx --config core1024 --cores auto
      makalu compile net.onnx --config core1024 --cores auto --objective throughput --max-cores 16
      makalu compile net.onnx --cores auto --objective fewest --latency-bound 200000
    """
    if context and cores != 1:
        raise click.ClickException("--context is for one core: leave --cores out")
    chosen = None
    if isinstance(cores, Aim):
        chosen = compile_best(model, how, cores)
        program = chosen.best.program
    elif context:
        program = compile_decoder(model, how, context, prefill)
    else:
        program, = compile_each(model, how, (cores,))
    path = Path(output) if output else Path(Path(model).stem + ".mkl")
    program.save(path)
    if as_json:
        console.emit_json({**facts.summary(program), "file": str(path),
                           **(as_data(chosen) if chosen else {})})
        return
    if report:
        console.report(program)
    if chosen:
        show(chosen)
    s = facts.summary(program)
    console.out.print(f"{path}: {s['instructions']:,} instructions, program of "
                      f"{s['image_bytes']:,} bytes, file of {path.stat().st_size:,} bytes, for "
                      f"{s['config']}"
                      + (f", {program.ranks} cores together" if program.streams else ""))


@click.command()
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


@click.command()
@click.argument("net")
@compile_options
def disassemble(net: str, how: How) -> None:
    """Print the instructions of NET (.mkl or .onnx), one a line, under the node that they are for.

    \b
    Example:
      makalu disassemble net.mkl | less
    """
    click.echo(plain(load_net(net, how).disassemble()))


@click.command()
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
    AXI4-Lite ports; of a chip (chip4, …) all its cores, top module `chip`.

    \b
    Examples:
      makalu verilog --config ecp5 -o makalu.v
      makalu verilog --config mine.json | wc -l
      makalu verilog --config ecp5 --package build/ecp5
      makalu verilog --config chip4 -o chip.v
    """
    from makalu import package

    if config in CHIPS and folder is not None:
        raise click.ClickException("there are packages of machines, not of chips: leave out "
                                   "--package")
    if folder is not None:
        for path in package.write(makalu.load_config(config), folder):
            console.out.print(f"wrote {path}")
        if output is None:
            return
    text = (package.chip_source(CHIPS[config], gated) if config in CHIPS
            else package.source(makalu.load_config(config), gated))
    if output is None:
        click.echo(text, nl=False)
        return
    Path(output).write_text(text)
    console.out.print(f"{output}: {len(text.splitlines()):,} lines of Verilog")


for command in (compile_command, run, generate, report, quote, plan, disassemble, verilog, bench,
                zoo, accuracy, profile, bisect, examples, serve, fleet, token, lease, ls, top,
                monitor):
    cli.add_command(command)


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
    except MemoryError as e:
        _fail(f"this computer has not enough memory ({e}): use smaller inputs or a smaller network")


def _fail(text: str) -> None:
    click.echo(f"makalu: {plain(text)}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
