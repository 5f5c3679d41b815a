# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the program that they lead to."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import click
import numpy as np

from isa.config import PRECISIONS
from isa.chip import CHIPS
from isa.presets import PRESETS
from isa.program import Program
import makalu
from compiler.compile import QUANTIZERS
from compiler.source.imports.foreign import Edges
from compiler.source.imports.formats import is_model
from makalu import api, models
from makalu.cli import console
from makalu.pictures import FITS, LAYOUTS, Pictures
from runtime.session import check_alone
from sim.cache import say


class DeviceName(click.ParamType):
    """A name that :func:`makalu.api.open_device` knows."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not api.is_device(value):
            self.fail(f"{value!r} is not a device: name one of {', '.join(api.DEVICES)}, or "
                      f"{api.UART}PORT, as in {api.UART}/dev/ttyUSB0", param, ctx)
        return value


device_option = click.option(
    "--device", type=DeviceName(), default="golden", show_default=True, metavar="NAME",
    help="golden (the golden model: the right bits, quickly), rtl (the simulated hardware: "
         "cycles), board (a simulated board, with its memory and its serial line), "
         f"{', '.join(CHIPS)} (a simulated chip of several cores), or uart:PORT, a board, as in "
         "uart:/dev/ttyUSB0.")
config_option = click.option(
    "--config", default="core256", show_default=True, metavar="NAME",
    help=f"The machine: {', '.join(PRESETS)}, or a .json file with the fields of a configuration.")
mhz_option = click.option(
    "--mhz", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True,
    help="Clock of the machine, for the times that are quoted.")
cores_option = click.option(
    "--cores", type=click.IntRange(1), metavar="N",
    help="Cores of a chip that run inputs at the same time; by default all.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def of_chip(cores: int | None, device: str) -> None:
    """Refuse a number of cores of what has one alone."""
    if cores and device not in CHIPS:
        raise click.ClickException(f"cores are those of a chip: add --device {' or '.join(CHIPS)}")


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in value.split(",")) if value else ()
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number, nor numbers with commas between "
                                 "them", ctx, param) from None


def picture_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """The options for pictures, which the command gets as ``pictures``."""
    @functools.wraps(f)
    def command(*, fit: str, crop: float, white: float | None, mean: tuple[float, ...],
                std: tuple[float, ...], layout: str | None, **others: Any) -> Any:
        return f(pictures=Pictures(fit, crop, white, mean, std, layout or ""), **others)

    for option in reversed((
            click.option("--fit", type=click.Choice(FITS), default="crop", show_default=True,
                         help="A picture of another shape: cut out its middle, put black around "
                              "it, or squeeze it."),
            click.option("--crop", type=click.FloatRange(0, 1, min_open=True), default=1.0,
                         show_default=True, metavar="SHARE",
                         help="Take only this share of the middle: 0.875 is 224 pixels of 256."),
            click.option("--white", type=float, metavar="VALUE",
                         help="Of a white pixel; black is 0.  [default: 1, or 255 if the input's "
                              "quantization says so; unsigned inputs take bytes as they are]"),
            click.option("--mean", callback=_numbers, metavar="M,…",
                         help="Subtract this from a pixel; one number, or one a channel."),
            click.option("--std", callback=_numbers, metavar="S,…",
                         help="Then divide by this."),
            click.option("--layout", type=click.Choice(LAYOUTS),
                         help="Where an input has its channels.  [default: by its shape]"))):
        command = option(command)
    return command


@dataclass(frozen=True)
class How:
    """What a model is to become, as the command line says it; and what its file does not say."""

    config: str
    host: tuple[str, ...]
    batch: int | None
    calibration: str | None
    precision: str
    quantizer: str
    keep: dict[str, str] | None
    sqnr: float | None
    agreement: float | None
    dram_price: float
    edges: Edges
    verify: bool

    def onnx_file(self, model: str) -> str:
        """The model as ONNX."""
        if not self.verify and Path(model).suffix != ".onnx":
            console.warn(f"{model} is not compared with the original: --no-verify")
        return str(models.onnx_file(model, self.edges, self.verify, say))

    def samples(self) -> dict[str, np.ndarray] | None:
        """The calibration data."""
        if not self.calibration:
            return None
        try:
            with np.load(self.calibration) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, BadZipFile) as e:
            what = ("there is no such file" if isinstance(e, FileNotFoundError)
                    else f"not a numpy archive ({e})")
            raise click.ClickException(f"{self.calibration}: {what}; make one with "
                                       "numpy.savez(file, input_name=array)") from None


def compile_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what a model compiles to, which the command gets as ``how``."""
    return _compile_options(f, click.option(
        "--batch", type=click.IntRange(1), metavar="N",
        help="Size of a dynamic first dimension.  [default: 1]"))


def compile_options_of_batches(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that compiles for several batches, which it gets as ``batches``."""
    return _compile_options(f, click.option(
        "--batch", "batches", type=click.IntRange(1), multiple=True, metavar="N",
        help="Size of a dynamic first dimension; can be given several times.  [default: 1]"))


def _compile_options(f: Callable[..., Any], batch_option: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def command(*, config: str, host: str, batch: int | None = None, calibration: str | None,
                precision: str, quantizer: str, keep: tuple[str, ...], sqnr: float | None,
                agreement: float | None, dram_price: float, model_input: tuple[str, ...],
                model_output: tuple[str, ...], shape: tuple[str, ...], set_: tuple[str, ...],
                signature: str, verify: bool, **others: Any) -> Any:
        names = {"none": ()}.get(host, tuple(h.strip() for h in host.split(",") if h.strip()))
        if (keep or sqnr is not None or agreement is not None) and precision != "mixed":
            raise click.ClickException("--keep, --sqnr and --agreement are for mixed networks: add "
                                       "--precision mixed")
        how = How(config, names, batch, calibration, precision, quantizer, kept(keep), sqnr,
                  None if agreement is None else agreement / 100, dram_price,
                  Edges(model_input, model_output, dict(map(_shape, shape)),
                        dict(map(_number, set_)), signature), verify)
        return f(how=how, **others)

    for option in reversed((
            config_option,
            click.option("--host", default="none", show_default=True, metavar="OP,…",
                         help="ONNX operators that the host may run at the network's edges, with "
                              "the conversions and reshapes next to them; 'all': any."),
            batch_option,
            click.option("--calibration", type=click.Path(), metavar="FILE.npz",
                         help="Inputs by name to quantize an FP32 model with."),
            click.option("--precision", default="int8", show_default=True,
                         type=click.Choice((*PRECISIONS, "mixed")),
                         help="What an FP32 model becomes; the 16-bit types need a machine that "
                              "has them. w8: FP16 with INT8 weights. mixed: INT8 but for some "
                              "layers, which int8 is of a transformer where the machine has "
                              "floats."),
            click.option("--quantize", "quantizer", default="ort", show_default=True,
                         type=click.Choice(tuple(QUANTIZERS)),
                         help="Who makes INT8 of an FP32 model: ONNX Runtime, or NNCF, which "
                              "makalu[nncf] installs."),
            click.option("--keep", multiple=True, metavar="LAYER=fp16",
                         help="A layer of a mixed network that is not quantized, or a file with "
                              "such a line for each; can be given several times.  [default: the "
                              "fewest that reach --sqnr or --agreement]"),
            click.option("--sqnr", type=float, metavar="DB",
                         help="How close to FP32 a mixed network has to be on the calibration "
                              "data: its signal-to-quantization-noise ratio.  [default: 35]"),
            click.option("--agreement", type=click.FloatRange(0, 100), metavar="PERCENT",
                         help="Instead of that, the share of samples whose largest output is the "
                              "same."),
            click.option("--dram-price", type=click.FloatRange(0), default=0, show_default=True,
                         metavar="PRICE",
                         help="For a core that shares its memory: what a byte of DRAM traffic "
                              "costs, in the time that the bus takes for it, beside the cycles by "
                              "which it delays this core. 0: nothing, as for a core alone; the "
                              "program with the fewest cycles. 1: another core waits as long. The "
                              "program with the lowest sum is taken, so that more cycles buy fewer "
                              "bytes as far as the price says; compiling takes two to three times "
                              "as long."),
            click.option("--model-input", multiple=True, metavar="TENSOR",
                         help="An input of a frozen TensorFlow graph; can be given several times.  "
                              "[default: its placeholders]"),
            click.option("--model-output", multiple=True, metavar="TENSOR",
                         help="An output of one.  [default: what no node reads]"),
            click.option("--shape", multiple=True, metavar="INPUT=N,…",
                         help="Of an input whose shape the model does not fix."),
            click.option("--set", "set_", multiple=True, metavar="INPUT=NUMBER",
                         help="A number in place of a placeholder of a frozen TensorFlow graph, as "
                              "keep_prob=1 of a dropout."),
            click.option("--signature", default="", metavar="NAME",
                         help="Of a SavedModel with several.  [default: serving_default]"),
            click.option("--verify/--no-verify", default=True,
                         help="Run a model that is not ONNX in its own framework and compare."))):
        command = option(command)
    return command


def _shape(given: str) -> tuple[str, tuple[int, ...]]:
    name, _, numbers = given.rpartition("=")
    try:
        return name, tuple(int(n) for n in numbers.split(","))
    except ValueError:
        raise click.ClickException(f"--shape {given}: not INPUT=N,…, as in x=1,28,28") from None


def _number(given: str) -> tuple[str, float]:
    name, _, number = given.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.ClickException(f"--set {given}: not INPUT=NUMBER, as in keep_prob=1") from None


def kept(keep: Sequence[str]) -> dict[str, str] | None:
    """Layers and their types, as ``--keep`` and its files give them; None if there are none."""
    found: dict[str, str] = {}
    for given in keep:
        if "=" in given and not Path(given).is_file():
            lines = [given]
        else:
            try:
                lines = Path(given).read_text().splitlines()
            except (OSError, UnicodeDecodeError) as e:
                raise click.ClickException(f"--keep {given}: neither LAYER=TYPE nor a file with "
                                           f"such lines ({e})") from None
        for line in (text.split("#")[0].strip() for text in lines):
            if line:
                layer, separator, precision = line.rpartition("=")
                if not separator:
                    raise click.ClickException(f"--keep {given}: {line!r} is not LAYER=TYPE")
                found[layer.strip()] = precision.strip()
    return found if keep else None


def compile_each(model: str, how: How, counts: Iterable[int]) -> Iterator[Program]:
    """The programs that it compiles to for several numbers of cores."""
    numbers = list(counts)
    file = how.onnx_file(model)
    text = f"compiling {Path(model).name} for {how.config}"
    label = text
    status = console.err.status(text)
    programs = api.compile_each(
        file, how.config, numbers, name=Path(model).stem, host=how.host,
        calibration=how.samples(), batch=how.batch, precision=how.precision,
        quantizer=how.quantizer, keep=how.keep, sqnr=how.sqnr, agreement=how.agreement,
        dram_price=how.dram_price, say=lambda progress: status.update(f"{label}: {progress}"))
    for cores in numbers:
        if cores > 1:
            label = f"{text}, {cores} cores"
            status.update(label)
        with status:
            program = next(programs)
        if cores == numbers[0]:
            console.warn_host_alone(program)
        yield program


def load_net(net: str, how: How) -> Program:
    """The program in a .mkl file, or the one that a model compiles to."""
    if is_model(net):
        program, = compile_each(net, how, (1,))
        return program
    program = _read(net)
    console.warn_host_alone(program)
    if not given_by_default(click.get_current_context(), "config"):
        program.check(makalu.load_config(how.config))
    return program


def load_runnable(net: str, how: How) -> Program:
    """The same, of one that a single execution runs."""
    program = load_net(net, how)
    check_alone(program)
    return program


def given_by_default(ctx: click.Context, name: str) -> bool:
    """Whether nobody named a value for an option."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.DEFAULT


def _read(net: str) -> Program:
    try:
        return Program.load(net)
    except FileNotFoundError:
        raise click.ClickException(f"there is no file {net!r}; give a model (.onnx, .tflite, …), "
                                   "or a .mkl program that makalu compile made") from None
