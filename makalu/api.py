# SPDX-License-Identifier: Apache-2.0
"""The Python interface: what a few lines need.

Compiler, golden model and simulator are imported where they are used, so that ``import makalu`` and
``makalu --help`` stay quick.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from isa.chip import CHIPS, ChipConfig, load_chip
from isa.config import Config
from isa.presets import load_config
from isa.program import Program, ProgramError
from makalu import facts
from runtime.device import Device
from runtime.session import Session

if TYPE_CHECKING:
    from sim.chip_device import LeasedCores

DEVICES = ("golden", "rtl", "board", *CHIPS)
"""Names of devices: the golden model, the simulated hardware, a whole simulated board, and
simulated chips of several cores."""

UART = "uart:"
"""What the name of a board on a serial line begins with: ``uart:/dev/ttyUSB0``, or with another
baud rate than a million ``uart:/dev/ttyUSB0@2000000``."""


class HostAloneWarning(UserWarning):
    """A program of which the machine computes nothing that counts."""


def is_device(name: str) -> bool:
    """Whether :func:`open_device` knows the name."""
    return name in DEVICES or name.startswith(UART) and len(name) > len(UART)


def _config(config: Config | str) -> Config:
    return config if isinstance(config, Config) else load_config(config)


def compile(model: onnx.ModelProto | str | Path | Any, config: Config | str = "core256", *,
            host: Collection[str] = (), calibration: Any = None, batch: int | None = None,
            name: str | None = None, precision: str = "int8", quantizer: str = "ort",
            keep: Mapping[str, str] | None = None, sqnr: float | None = None,
            agreement: float | None = None, dram_price: float = 0, cores: int = 1,
            example_inputs: Sequence[Any] | None = None,
            say: Callable[[str], None] = lambda text: None) -> Program:
    """A network as a program for a machine.

    Parameters
    ----------
    model : onnx.ModelProto, str, Path or torch.nn.Module
        Quantized (QDQ or QOperator), or FP32 with calibration data; a file or folder of any format
        that :func:`makalu.models.onnx_file` takes.
    config : Config or str
        A configuration, the name of a preset, or a ``.json`` file.
    host : collection of str
        ONNX operators that the host may run at the network's edges; ``("all",)`` allows any, and
        unless told so it runs none, not even the QuantizeLinear of a float input.
    calibration : dict of arrays, or list of them
        Inputs by name to quantize an FP32 model with.
    batch : int, optional
        Size of a dynamic first dimension.
    name : str, optional
        The program's name; the file's or the graph's unless given.
    precision : str
        ``int8``; ``fp16`` or ``bf16`` for an FP32 model on a machine that has the type; ``mixed``.
    quantizer : str
        Who quantizes an FP32 model to ``int8``: ``ort``, or ``nncf`` (``makalu[nncf]``).
    keep : dict of str to str, optional
        Of a mixed network: layers that are not quantized, and their type. Unless given, the fewest
        that are close enough on the calibration data.
    sqnr, agreement : float, optional
        What is close enough: a ratio in dB, 35 unless given; or the share of samples whose largest
        output is the one of FP32.
    dram_price : float
        Where cores share the memory: what a byte between it and this one costs beside the cycles
        that it delays something, in the time that the bus takes for it. With 0, for a core alone,
        nothing but cycles counts.
    cores : int
        That run the network together, each input on all of them: from 1 to 16 of a machine like
        ``config`` that has ``exchange``.
    example_inputs : sequence of torch.Tensor, optional
        Of a module: what its ``forward`` takes, in the shapes of the program.
    say : function of str
        Called with progress.

    Warns
    -----
    HostAloneWarning
        If the host runs all that multiplies.

    Raises
    ------
    compiler.ir.errors.CompileError
        If the model cannot run on the machine; names the node, the reason and the cure.
    """
    program, = compile_each(
        model, config, (cores,), host=host, calibration=calibration, batch=batch, name=name,
        precision=precision, quantizer=quantizer, keep=keep, sqnr=sqnr, agreement=agreement,
        dram_price=dram_price, example_inputs=example_inputs, say=say)
    if facts.host_alone(program):
        warnings.warn(facts.host_alone_warning(program), HostAloneWarning, stacklevel=2)
    return program


def compile_each(model: onnx.ModelProto | str | Path | Any, config: Config | str,
                 counts: Iterable[int], *, host: Collection[str] = (), calibration: Any = None,
                 batch: int | None = None, name: str | None = None, precision: str = "int8",
                 quantizer: str = "ort", keep: Mapping[str, str] | None = None,
                 sqnr: float | None = None, agreement: float | None = None, dram_price: float = 0,
                 example_inputs: Sequence[Any] | None = None,
                 say: Callable[[str], None] = lambda text: None) -> Iterator[Program]:
    """The programs of a network for several numbers of cores, each compiled when it is asked for;
    :func:`makalu.cores.choose` takes the best of them. Parameters and errors are those of
    :func:`compile`, ``counts`` are numbers of cores."""
    from compiler.compile import compile_each as each
    from compiler.source.imports.torch_module import from_module, is_module
    from compiler.source.sensitivity import GOAL, Goal
    from makalu import models

    if isinstance(model, str | Path):
        name = name or Path(model).stem
        model = models.onnx_file(model, say=say)
    elif is_module(model):
        taken = from_module(model, example_inputs)
        say(taken.said)
        name, model = name or type(model).__name__, taken.model
    return each(
        model, _config(config), counts, allow_host=tuple(host), calibration=calibration,
        batch=batch, name=name, precision=precision, quantizer=quantizer, keep=keep,
        goal=Goal(GOAL.sqnr if sqnr is None else sqnr, agreement), dram_price=dram_price, say=say)


def decoder(model: onnx.ModelProto | str | Path, config: Config | str = "core256_fp", *,
            context: int | Sequence[int] = 128, prefill: int = 16, host: Collection[str] = (),
            name: str | None = None, precision: str = "fp16", dram_price: float = 0) -> Program:
    """A decoder with a key-value cache as a program for a :class:`runtime.generator.Generator`.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        In FP32, with its cache as inputs and outputs, ``past`` and ``present``.
    config, host, name, precision, dram_price
        As for :func:`compile`.
    context : int or sequence of int
        Tokens that the cache holds; of several numbers each is read as long as it is enough.
    prefill : int
        Tokens of a prompt that one execution takes.

    Raises
    ------
    compiler.ir.errors.CompileError
        If the model is no such decoder, or cannot run on the machine.
    """
    from compiler.compile import compile_decoder
    return compile_decoder(model, _config(config), context=context, prefill=prefill,
                           allow_host=tuple(host), name=name, precision=precision,
                           dram_price=dram_price)


def load(path: str | Path, config: Config | str = "core256", **options: Any) -> Program:
    """The program in a ``.mkl`` file, or the one that a model compiles to with the options of
    :func:`compile`."""
    from compiler.source.imports.formats import is_model
    if is_model(path):
        return compile(path, config, **options)
    return Program.load(path)


def open_device(name: str, config: Config | str, **options: Any) -> Device:
    """A device by its name.

    Parameters
    ----------
    name : str
        One of :data:`DEVICES`, or :data:`UART` and a port.
    config : Config or str
        The machine.
    options
        Of :class:`sim.device.RtlDevice`: ``dram``, ``waves``, ``watchdog``, ``progress``; of
        :class:`runtime.golden_device.GoldenDevice`: ``watch``, ``cores``; of a chip ``cores``,
        ``dram``, ``watchdog``, ``progress``; of a board ``watchdog`` and
        ``patience`` (:class:`runtime.uart_device.UartDevice`).

    Raises
    ------
    ValueError
        If there is no such device, or a chip has fewer cores.
    isa.program.ProgramError
        If a chip's cores are other machines.
    runtime.device.MachineError
        If a board's port does not open, the board does not answer, or it is another machine.
    """
    if name == "golden":
        from runtime.golden_device import GoldenDevice
        return GoldenDevice(_config(config), **options)
    if name == "rtl":
        from sim.device import RtlDevice
        return RtlDevice(_config(config), **options)
    if name == "board":
        from sim.board import BoardDevice
        return BoardDevice(_config(config), **options)
    if name in CHIPS:
        from sim.chip_device import RtlChip
        return RtlChip(chip_of(name, config), **options)
    if is_device(name):
        from runtime.uart_device import SerialPort, UartDevice
        return UartDevice(_config(config), SerialPort(name[len(UART):]), name=name, **options)
    raise ValueError(f"no device {name!r}: one of {', '.join(DEVICES)}, or {UART}PORT")


def open_queues(name: str, config: Config | str, **options: Any) -> "list[LeasedCores]":
    """The job queues of a chip, each a device of its own as soon as cores are assigned to it; they
    may be used at the same time, from a thread each.

    Parameters
    ----------
    name : str
        The chip's.
    config : Config or str
        What its cores are.
    options
        Of :class:`sim.shared_chip.SharedChip`.

    Raises
    ------
    isa.config.ConfigError
        If there is no such chip.
    isa.program.ProgramError
        If its cores are other machines.
    """
    from sim.chip_device import LeasedCores
    from sim.shared_chip import SharedChip
    chip = SharedChip(chip_of(name, config), **options)
    return [LeasedCores(chip, k) for k in range(chip.config.queues)]


def chip_of(name: str, config: Config | str) -> ChipConfig:
    """The chip of a name, if its cores are what is expected.

    Raises
    ------
    isa.config.ConfigError
        If there is no such chip.
    isa.program.ProgramError
        If its cores are other machines.
    """
    chip, wanted = load_chip(name), _config(config)
    if not chip.core.runs(wanted):
        raise ProgramError(f"the cores of {name!r} are {chip.core.name!r}, not {wanted.name!r}: "
                           f"add --config {chip.core.name}")
    return chip


def run(program: Program | str | Path, inputs: Mapping[str, np.ndarray] | np.ndarray, *,
        device: str = "golden") -> dict[str, np.ndarray]:
    """Run a program once and give its outputs by name; a :class:`runtime.session.Session` is
    quicker for the second time."""
    loaded = program if isinstance(program, Program) else load(program)
    with open_device(device, loaded.config) as machine:
        return Session(loaded, machine).run(inputs)
