# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the program that they lead to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

import makalu
from isa.config import DTYPES
from isa.presets import PRESETS
from isa.program import Program
from makalu import api, console

config_option = click.option(
    "--config", default="core256", show_default=True, metavar="NAME",
    help=f"The machine: {', '.join(PRESETS)}, or a .json file with the fields of a configuration.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def compile_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide what an .onnx file compiles to."""
    for option in reversed((
            config_option,
            click.option("--host", default="none", show_default=True, metavar="OP,…",
                         help="ONNX operators that the host may run at the network's edges, with "
                              "the conversions and reshapes next to them; 'all': any."),
            click.option("--batch", type=click.IntRange(1), metavar="N",
                         help="Size of a dynamic first dimension.  [default: 1]"),
            click.option("--calibration", type=click.Path(), metavar="FILE.npz",
                         help="Inputs by name to quantize an FP32 model with."),
            click.option("--precision", default="int8", show_default=True,
                         type=click.Choice(DTYPES),
                         help="What an FP32 model becomes; the 16-bit types need a machine that "
                              "has them."))):
        f = option(f)
    return f


def compile_net(model: str, config: str, host: str, batch: int | None,
                calibration: str | None, precision: str) -> Program:
    """The program that an .onnx file compiles to."""
    names = {"none": ()}.get(host, tuple(h.strip() for h in host.split(",") if h.strip()))
    data = None
    if calibration:
        try:
            with np.load(calibration) as file:
                data = dict(file)
        except (OSError, ValueError) as e:
            raise click.ClickException(f"{calibration}: not a numpy archive ({e}); make one with "
                                       "numpy.savez(file, input_name=array)") from None
    with console.err.status(f"compiling {Path(model).name} for {config}"):
        return api.compile(model, config, host=names, calibration=data, batch=batch,
                           precision=precision)


def load_net(net: str, config: str, host: str, batch: int | None,
             calibration: str | None, precision: str) -> Program:
    """The program in a .mkl file, or the one that an .onnx file compiles to."""
    if Path(net).suffix == ".onnx":
        return compile_net(net, config, host, batch, calibration, precision)
    program = _read(net)
    given = click.get_current_context().get_parameter_source("config")
    if given is not click.core.ParameterSource.DEFAULT:
        program.check(makalu.load_config(config))
    return program


def _read(net: str) -> Program:
    try:
        return Program.load(net)
    except FileNotFoundError:
        raise click.ClickException(f"there is no file {net!r}; give an .onnx model, or a .mkl "
                                   "program that makalu compile made") from None
