# SPDX-License-Identifier: Apache-2.0
"""How far a network is from FP32 in each precision, and what the precision costs.

The witness is ONNX Runtime in FP32. The signal-to-quantization-noise ratio (SQNR) of an output is
``10 log10(sum(y ** 2) / sum((y - y') ** 2))`` over all samples. A sample has a margin if its
largest output leads the second by more than :data:`MARGIN` of the outputs' range.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from isa.config import Config
from makalu import api, facts
from makalu.measure import witness
from runtime.session import Session

MARGIN = 0.01

CALIBRATION = 64
"""Samples that INT8 is calibrated with."""


def measure(model: str | Path | onnx.ModelProto, config: Config, inputs: Mapping[str, np.ndarray],
            labels: np.ndarray | None = None, precisions: Sequence[str] = (),
            device: str = "golden", sqnr: float | None = None,
            say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """A row for FP32, and one for each precision.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        FP32.
    inputs : mapping of arrays
        Samples by input name.
    labels : int array [samples], optional
        Right answers: the position of the largest element of the first output.
    precisions : sequence of str
        Those of the machine unless given, and ``mixed`` if it has FP16.
    sqnr : float, optional
        What the mixed network has to reach on the samples that it is calibrated with, in dB.
    device : str
        ``golden`` or ``rtl``, for cycles instead of predicted ones.

    Raises
    ------
    compiler.ir.errors.CompileError
        If the network does not compile in a precision.
    """
    wanted = witness.reference(model, inputs)
    name, truth = next(iter(wanted.items()))
    flat = truth.reshape(len(truth), -1).astype(np.float64)
    rows: list[dict[str, Any]] = [{"precision": "fp32", "accuracy": _right(flat, labels)}]
    lead = np.diff(np.sort(flat, axis=1)[:, -2:], axis=1)[:, 0] if flat.shape[1] > 1 else \
        np.full(len(flat), np.inf)
    clear = lead > MARGIN * (flat.max() - flat.min())
    mixed = ("mixed",) if "fp16" in config.dtypes else ()
    with api.open_device(device, config) as machine:
        for precision in precisions or (*config.dtypes, *mixed):
            say(f"{precision} on {config.name}")
            calibration = {k: v[:CALIBRATION] for k, v in inputs.items()}
            program = api.compile(
                model, config, host=("all",), precision=precision, say=say,
                calibration=calibration if precision in ("int8", "mixed") else None,
                sqnr=sqnr if precision == "mixed" else None)
            session = Session(program, machine)
            found = session.run(inputs)
            ours = found[name].reshape(flat.shape).astype(np.float64)
            same = ours.argmax(axis=1) == flat.argmax(axis=1)
            noise = float(((ours - flat) ** 2).sum())
            numbers = facts.measured(program, session.counters)
            rows.append({
                "precision": precision, "choices": program.choices,
                "accuracy": _right(ours, labels),
                "sqnr_db": 10 * np.log10(float((flat ** 2).sum()) / noise) if noise else None,
                "max_relative_error": float(np.abs(ours - flat).max() / np.abs(flat).max()),
                "same_top1": int(same.sum()), "same_top1_with_margin": int((same & clear).sum()),
                "with_margin": int(clear.sum()), "samples": len(flat),
                "cycles": numbers["cycles"], "predicted_cycles": sum(program.predicted_cycles),
                "roofline_cycles": program.roofline_cycles, "dram_bytes": numbers["dram_bytes"]})
    return rows


def _right(outputs: np.ndarray, labels: np.ndarray | None) -> float | None:
    return None if labels is None else float((outputs.argmax(axis=1) == labels).mean())


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A picture: SQNR and cycles of each precision."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    mine = [r for r in rows if r["precision"] != "fp32"]
    names = [r["precision"] for r in mine]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    for axis, title, values in (
            (axes[0], "SQNR against FP32, dB", [r["sqnr_db"] or 0 for r in mine]),
            (axes[1], "cycles", [r["cycles"] or r["predicted_cycles"] for r in mine])):
        bars = axis.bar(names, values, color="#4477aa", width=0.6)
        axis.bar_label(bars, fmt="{:,.0f}")
        axis.set_title(title)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
