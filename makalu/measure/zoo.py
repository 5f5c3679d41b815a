# SPDX-License-Identifier: Apache-2.0
"""Every network of a folder against ONNX Runtime and against the hardware, on the inputs given
beside it (:mod:`makalu.measure.samples`).

==========  ========================================================  ===========================
comparison  of what                                                   required
==========  ========================================================  ===========================
network     the machine's outputs (what is in front of a Softmax on   the same largest element,
            the host), golden model and ONNX Runtime                  2 quantization steps at most
nodes       each operator on ONNX Runtime's values                    Conv, MatMul, Gemm: the
            (:mod:`makalu.measure.nodes`)                             same bits
RTL         the bytes of region OUTPUT, golden model and simulated    the same bytes
            hardware, with memory that answers and memory that stalls
==========  ========================================================  ===========================

The witness of the network is its ONNX model cut at the machine's outputs, in ONNX Runtime's integer
arithmetic. How far ONNX Runtime as it comes is from the machine is counted as well, without a
requirement: where it computes signed models in floats it is as far from its own integer kernels.
On a processor whose kernels saturate the witness is the float chain, and nodes are only counted.

An FP32 network in a 16-bit type is compared with ONNX Runtime in FP32 as a whole alone, and has to
come as close to it as :data:`LEAST` says.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compiler.ir.errors import CompileError
from compiler.lower.hosts import SUFFIX
from isa.config import Config
from isa.presets import load_config
from isa.program import Program
from makalu import api
from makalu.measure.bench import Say
from makalu.measure.networks import labels
from makalu.measure.nodes import Tally, compare_nodes, is_exact, with_outputs
from makalu.measure.samples import Samples, samples
from makalu.measure.witness import Agreement, Arithmetic, compare, reference, saturates
from runtime.device import Device, DeviceFault, MachineError, Result
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel

STEPS = 2
"""Quantization steps that an output of the machine may be away from ONNX Runtime's."""

LEAST = {"fp16": 40.0, "bf16": 25.0}
"""Signal-to-quantization-noise ratio in dB that FP32 networks have to reach in a type. Rounding a
value to its 11 or 8 bits is 73 or 55 dB; a network's many roundings and cancellations take the
rest, and a wrong operator leaves far less."""

STALL = 0.1
"""Probability of a stall in a cycle, of the memory that stalls."""

MEMORIES = {"steady memory": DramModel(), "stalling memory": DramModel(stall=STALL)}


class Recorder(Device):
    """A device that keeps the bytes of its first executions."""

    def __init__(self, device: Device, count: int):
        self._device, self._count = device, count
        self.name, self.config = device.name, device.config
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []

    def load(self, program: Program) -> None:
        """See :meth:`runtime.device.Device.load`."""
        self._device.load(program)

    def enter(self, entry: Program, arguments: Mapping[str, int]) -> None:
        """See :meth:`runtime.device.Device.enter`."""
        self._device.enter(entry, arguments)

    def execute(self, inputs: np.ndarray) -> Result:
        """See :meth:`runtime.device.Device.execute`."""
        result = self._device.execute(inputs)
        if len(self.runs) < self._count:
            self.runs.append((inputs.copy(), result.outputs.copy()))
        return result

    def close(self) -> None:
        """Close the device."""
        self._device.close()


def zoo(paths: Sequence[Path], config: str, host: Sequence[str], rtl: int, count: int, say: Say,
        precision: str = "int8") -> list[dict[str, Any]]:
    """One row a network.

    Parameters
    ----------
    paths : sequence of Path
        Models.
    config : str
        The machine.
    host : sequence of str
        Operators that the host may run.
    rtl : int
        Inputs that the simulated hardware gets; 0: none.
    count : int
        Random inputs of a network that none are given for.
    precision : str
        ``int8``, of quantized networks; ``fp16`` or ``bf16``, of FP32 networks.

    Returns
    -------
    list of dict
        ``network`` and ``skipped`` (why, or empty). Of those that ran: ``inputs``, ``source``,
        ``host`` (nodes, operators and reasons), ``outputs`` and ``default`` (an
        :class:`makalu.measure.witness.Agreement` by output of the machine, with ONNX Runtime's
        integer arithmetic and as it comes), ``accuracy`` (of both, if there are labels), ``nodes``
        (:class:`makalu.measure.nodes.Tally` by kind), ``rtl`` (by memory, executions with the same
        bytes and all), and ``violations``: what is required and does not hold, as sentences.
    """
    machine = load_config(config)
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as opened:
        devices = {k: opened.enter_context(RtlDevice(machine, dram=d))
                   for k, d in MEMORIES.items()} if rtl else {}
        for path, label in labels(paths).items():
            row: dict[str, Any] = {"network": label, "skipped": "", "violations": []}
            say(f"{label} on {config}: compiling")
            try:
                program = api.compile(path, machine, host=host, precision=precision)
            except CompileError as e:
                row["skipped"] = str(e)
            else:
                row |= _check(path, label, program, devices, rtl, count, say)
            rows.append(row)
    return rows


def _check(path: Path, label: str, program: Program, devices: Mapping[str, RtlDevice], rtl: int,
           count: int, say: Say) -> dict[str, Any]:
    violations: list[str] = []
    machine = Recorder(GoldenDevice(program.config), rtl)
    # without the host's last part, the program's outputs are the machine's
    session = Session(replace(program, host_post=b""), machine)
    given = samples(path, session.inputs, count)
    inputs = f"{len(given)} inputs ({given.source})"
    say(f"{label}: golden model and ONNX Runtime, {inputs}")
    ours = session.run(given.inputs)
    names = {name: name.removesuffix(SUFFIX) for name in ours}
    cut = with_outputs(onnx.load(path), names.values())
    quantized = program.precision == "int8"
    integer = Arithmetic.FLOAT if saturates() or not quantized else Arithmetic.INTEGER
    row: dict[str, Any] = {
        "precision": program.precision, "inputs": len(given), "source": given.source,
        "given": given.given,
        "host": [{k: p[k] for k in ("node", "op", "reason")} for p in program.placement
                 if p["engine"] == "host"]}
    theirs = reference(cut, given.inputs, integer)
    as_it_comes = reference(cut, given.inputs)
    row["outputs"] = {k: compare(v, theirs[names[k]]) for k, v in ours.items()}
    row["default"] = {k: compare(v, as_it_comes[names[k]]) for k, v in ours.items()}
    for name, agreement in row["outputs"].items():
        violations += _required(f"{label}, output {names[name]!r}", agreement, program.precision)
    row["accuracy"] = _accuracy(given, ours, {k: theirs[n] for k, n in names.items()})
    row["nodes"] = {}
    if quantized:
        say(f"{label}: node by node, {inputs}")
        row["nodes"] = _nodes(path, given, session.batch, program.config)
    for kind, tally in row["nodes"].items():
        if is_exact(kind) and tally.different and integer is Arithmetic.INTEGER:
            violations.append(f"{label}, nodes of the kind {kind}: {tally.different} of "
                              f"{tally.elements} elements are not ONNX Runtime's, by "
                              f"{tally.largest} at most, the first in {tally.first!r}; none may "
                              "differ")
    row["rtl"] = {}
    for memory, device in devices.items():
        say(f"{label}: simulated hardware, {memory}, {len(machine.runs)} inputs")
        same, problem = _simulate(program, machine, device)
        row["rtl"][memory] = {"same": same, "inputs": len(machine.runs)}
        if problem or same < len(machine.runs):
            violations.append(f"{label}, simulated hardware, {memory}: " + (problem or (
                f"{same} of {len(machine.runs)} outputs are the golden model's bytes; all have to "
                "be")))
    return {**row, "violations": violations}


def _required(where: str, agreement: Agreement, precision: str) -> list[str]:
    if precision in LEAST:
        return [] if agreement.reaches(LEAST[precision]) else [
            f"{where}: {agreement}; {LEAST[precision]:g} dB are required of {precision}"]
    out = []
    if agreement.same_top1 < agreement.rows:
        out.append(f"{where}: the largest element is ONNX Runtime's in {agreement.same_top1} of "
                   f"{agreement.rows}; it has to be in all")
    if agreement.largest > STEPS:
        out.append(f"{where}: an element is {agreement.largest:.0f} steps from ONNX Runtime's; "
                   f"{STEPS} are allowed")
    return out


def _accuracy(given: Samples, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
              ) -> dict[str, float] | None:
    """Of the golden model and of ONNX Runtime, for networks that classify."""
    if given.labels is None or len(ours) != 1:
        return None
    name, = ours
    return {who: float((logits[name].reshape(len(given), -1).argmax(axis=1)
                        == given.labels).mean())
            for who, logits in (("golden", ours), ("onnxruntime", theirs))}


def _nodes(path: Path, given: Samples, batch: int, config: Config) -> dict[str, Tally]:
    whole = len(given) - len(given) % batch
    feeds = ({k: v[at:at + batch] for k, v in given.inputs.items()}
             for at in range(0, whole, batch))
    return compare_nodes(onnx.load(path), feeds, config)


def _simulate(program: Program, golden: Recorder, device: RtlDevice) -> tuple[int, str]:
    """Executions with the golden model's bytes, and why it stopped, if it did."""
    same = 0
    try:
        device.load(program)
        for inputs, outputs in golden.runs:
            same += bool(np.array_equal(device.execute(inputs).outputs, outputs))
    except (DeviceFault, MachineError) as e:
        return same, str(e)
    finally:
        device.close()
    return same, ""
