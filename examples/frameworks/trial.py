# SPDX-License-Identifier: Apache-2.0
"""A network of a framework with the framework's own answers, and what the machine makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import makalu
from compiler.source.imports.foreign import Edges
from isa.program import Program
from makalu.measure.witness import Agreement, compare
from makalu.models import onnx_file
from runtime.session import Session

CONFIGS = {"int8": "core256", "fp16": "core256_fp"}
"""The machine by precision."""

ON_RTL = 8
"""Inputs that run on the simulated hardware; all run on the golden model."""


@dataclass(frozen=True)
class Trial:
    """What a framework has.

    Parameters
    ----------
    framework, network : str
        For people.
    model : Path
        What is imported.
    images : np.ndarray
        Held-out inputs, as the model takes them.
    labels : np.ndarray, optional
        The right classes.
    answers : np.ndarray
        What the framework itself gives for them, [N, classes].
    witness : str
        Who gave them.
    calibration : np.ndarray, optional
        Inputs to quantize an FP32 model with.
    precision : str
        Of the machine; ``int8`` or ``fp16``.
    edges : Edges
        What the file does not say of its inputs.
    on_rtl : int
        Inputs for the simulated hardware.
    """

    framework: str
    network: str
    model: Path
    images: np.ndarray
    labels: np.ndarray | None
    answers: np.ndarray
    witness: str
    calibration: np.ndarray | None = None
    precision: str = "int8"
    edges: Edges = Edges()
    on_rtl: int = ON_RTL


@dataclass(frozen=True)
class Row:
    """What was measured.

    Parameters
    ----------
    trial : Trial
    difference : float
        Largest one between the imported ONNX and the framework, relative to the largest answer.
    agreement : Agreement
        Of the golden model's answers with the framework's.
    right, right_here : float, optional
        Share that the framework and the golden model put into the right class.
    cycles : int
        Of one input on the simulated hardware, whose bits are the golden model's.
    guesses : np.ndarray
        The machine's classes.
    """

    trial: Trial
    difference: float
    agreement: Agreement
    right: float | None
    right_here: float | None
    cycles: int
    guesses: np.ndarray


def measure(trial: Trial, say: Callable[[str], None]) -> Row:
    """Import, compile, run on the golden model and on the simulated hardware.

    Raises
    ------
    RuntimeError
        If the hardware's bits are not the golden model's.
    """
    path = onnx_file(trial.model, trial.edges, say=say)
    (port,) = onnxruntime.InferenceSession(path).get_inputs()
    samples = trial.calibration
    program = makalu.compile(path, CONFIGS[trial.precision], host=("all",), name=trial.network,
                             precision=trial.precision,
                             calibration=None if samples is None else {port.name: samples})
    with makalu.open_device("golden", program.config) as machine:
        golden = _answers(Session(program, machine), trial.images)
    cycles = _on_rtl(program, trial.images[:trial.on_rtl], golden[:trial.on_rtl])
    right, right_here = (None if trial.labels is None else float(
        (answers.argmax(1) == trial.labels).mean()) for answers in (trial.answers, golden))
    wanted = trial.answers.reshape(len(golden), -1)
    return Row(trial, _difference(path, trial), compare(golden, wanted), right, right_here,
               cycles, golden.argmax(1))


def _answers(session: Session, images: np.ndarray) -> np.ndarray:
    return next(iter(session.run(images).values())).reshape(len(images), -1).astype(np.float32)


def _on_rtl(program: Program, images: np.ndarray, golden: np.ndarray) -> int:
    """Cycles of an input."""
    with makalu.open_device("rtl", program.config) as machine:
        session = Session(program, machine)
        if not np.array_equal(_answers(session, images), golden):
            raise RuntimeError(f"{program.name}: the hardware's bits are not the golden model's")
        return session.counters[-1]["CYCLES"]


def _difference(path: Path, trial: Trial) -> float:
    session = onnxruntime.InferenceSession(path)
    (port,) = session.get_inputs()
    batch = port.shape[0] if isinstance(port.shape[0], int) else len(trial.images)
    whole = len(trial.images) // batch * batch
    got = np.concatenate([session.run(None, {port.name: trial.images[k:k + batch]})[0]
                          for k in range(0, whole, batch)]).reshape(whole, -1)
    wanted = trial.answers[:whole].reshape(whole, -1)
    return float(np.abs(got.astype(np.float32) - wanted).max() / np.abs(wanted).max())
