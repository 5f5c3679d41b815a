# SPDX-License-Identifier: Apache-2.0
"""Networks on the golden model against ONNX Runtime: what compiles, and how the outputs compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from makalu.bench import Say, compiled, random_inputs
from makalu.witness import Agreement, compare, reference
from runtime.golden_device import GoldenDevice
from runtime.session import Session


def zoo(paths: Sequence[Path], config: str, host: Sequence[str], samples: int, say: Say
        ) -> list[dict[str, Any]]:
    """One row a network.

    Parameters
    ----------
    paths : sequence of Path
        Models.
    config : str
        The machine.
    host : sequence of str
        Operators that the host may run.
    samples : int
        Random inputs that each network gets.

    Returns
    -------
    list of dict
        ``network``, ``error`` (a sentence, or empty), and for those that ran ``host_nodes``,
        ``nodes`` and ``agreement``: an :class:`makalu.witness.Agreement` for each output.
    """
    rows: list[dict[str, Any]] = []
    for path, label, program, reason in compiled(paths, config, host, say):
        if program is None:
            rows.append({"network": label, "error": reason})
            continue
        say(f"{label}: golden model and ONNX Runtime, {samples} inputs")
        session = Session(program, GoldenDevice(program.config))
        agreement: dict[str, list[Agreement]] = {}
        for seed in range(samples):
            inputs = random_inputs(session.inputs, seed)
            ours, theirs = session.run(inputs), reference(path, inputs)
            for name in ours:
                agreement.setdefault(name, []).append(compare(ours[name], theirs[name]))
        rows.append({
            "network": label, "error": "", "nodes": len(program.placement),
            "host_nodes": sum(p["engine"] == "host" for p in program.placement),
            "agreement": {name: _together(parts) for name, parts in agreement.items()}})
    return rows


def _together(parts: list[Agreement]) -> Agreement:
    return Agreement(
        elements=sum(p.elements for p in parts), different=sum(p.different for p in parts),
        largest=max(p.largest for p in parts),
        step=float(np.min([p.step for p in parts])), rows=sum(p.rows for p in parts),
        same_top1=sum(p.same_top1 for p in parts))
