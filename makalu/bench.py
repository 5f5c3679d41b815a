# SPDX-License-Identifier: Apache-2.0
"""Networks on the simulated hardware, and what came out as a page of the documentation.

Memory as in :class:`sim.harness.DramModel` unless told otherwise. Inputs are random: no engine's
cycles depend on data. Every run is compared with the golden model, bit for bit.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isa.presets import load_config
from isa.program import Program
from makalu import api, facts
from makalu.console import number, on_host, percent
from makalu.samples import random_inputs
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice

SHIPPED = Path(__file__).resolve().parent.parent / "examples" / "digits_int8.onnx"
CONFIGS = ("core256", "core1024")
MODELS = "MAKALU_MODELS"
"""Environment variable that names a folder with more networks."""

HEADING = "<!-- SPDX-License-Identifier: Apache-2.0 -->\n# Benchmarks"

ABOUT = """\
Made by `make bench`: batch 1, cycles counted by the simulated RTL. The roofline is
max(MACs / peak, compulsory DRAM bytes / bus width); *share* is roofline / cycles; *array active* is
the share of cycles in which the array takes an activation vector; *golden* says whether the outputs
are the golden model's, bit for bit."""

COLUMNS = ("network", "machine", "MACs", "cycles", "predicted", "roofline", "share", "DRAM bytes",
           "array active", "golden")
MACHINE_COLUMNS = ("machine", "lines of Verilog", "simulation build, s",
                   "simulated cycles/s of a CPU core")

Say = Callable[[str], None]


def networks(folder: str | Path | None = None) -> list[Path]:
    """The shipped network and those of :func:`networks_in`, if a folder is named."""
    return [SHIPPED, *(networks_in(folder) if folder or os.environ.get(MODELS) else ())]


def networks_in(folder: str | Path | None = None) -> list[Path]:
    """The ``.onnx`` files in and below ``folder``, or the folder that ``MAKALU_MODELS`` names.

    Raises
    ------
    FileNotFoundError
        If no folder is named, there is no such folder, or it has no networks.
    """
    where = folder or os.environ.get(MODELS)
    if not where:
        raise FileNotFoundError("no folder of networks is named; give one, or set "
                                f"{MODELS}=FOLDER")
    if not Path(where).is_dir():
        raise FileNotFoundError(f"there is no folder {str(where)!r} with networks; name one with "
                                f"{MODELS}=FOLDER")
    found = sorted(Path(where).rglob("*.onnx"))
    if not found:
        raise FileNotFoundError(f"there is no .onnx file in or below {str(where)!r}; name another "
                                f"folder with {MODELS}=FOLDER")
    return found


def labels(paths: Sequence[Path]) -> dict[Path, str]:
    """What to call each network: its file's name, with its folder's where two are called alike."""
    stems = Counter(p.stem for p in paths)
    return {p: p.stem if stems[p.stem] == 1 else f"{p.parent.name}/{p.stem}" for p in paths}


def compiled(paths: Sequence[Path], config: str, host: Sequence[str], say: Say
             ) -> Iterator[tuple[Path, str, Program | None, str]]:
    """Each network's file, label and program, or None and the reason."""
    from compiler import CompileError

    for path, label in labels(paths).items():
        say(f"{label} on {config}: compiling")
        try:
            yield path, label, api.compile(path, config, host=host), ""
        except CompileError as e:
            yield path, label, None, str(e)


def bench(paths: Sequence[Path], configs: Sequence[str], host: Sequence[str], say: Say
          ) -> dict[str, Any]:
    """Run every network on every configuration; see :func:`markdown` for the result's fields."""
    rows: list[dict[str, Any]] = []
    machines: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for config in configs:
        device = RtlDevice(load_config(config))
        for _, label, program, reason in compiled(paths, config, host, say):
            if program is None:
                skipped.append({"network": label, "config": config, "reason": reason})
                continue
            say(f"{label} on {config}: simulating about "
                f"{number(sum(program.predicted_cycles))} cycles")
            rows.append(_measure(program, label, device))
        rate = device.simulated_cycles / device.simulated_seconds if rows else None
        machines.append({"config": config, "verilog_lines": device.library.verilog_lines,
                         "build_seconds": device.library.build_seconds,
                         "cycles_per_second": rate and round(rate)})
    return {"networks": rows, "machines": machines, "skipped": skipped}


def _measure(program: Program, name: str, device: RtlDevice) -> dict[str, Any]:
    session = Session(program, device)
    inputs = random_inputs(session.inputs)
    outputs = session.run(inputs)
    golden = Session(program, GoldenDevice(program.config)).run(inputs)
    numbers = facts.measured(program, session.counters)
    predicted = sum(program.predicted_cycles)
    return {"network": name, "config": program.config.name,
            **{k: numbers[k] for k in ("macs", "cycles", "roofline_cycles", "roofline_share",
                                       "dram_bytes", "array_active_share")},
            "predicted_cycles": predicted or None, "host": on_host(program),
            "golden": all(np.array_equal(outputs[k], golden[k]) for k in golden)}


def markdown(result: dict[str, Any]) -> str:
    """The result of :func:`bench` as a page."""
    lines = [HEADING, "", ABOUT, "", *_head(COLUMNS, text=2)]
    for r in result["networks"]:
        lines.append("| " + " | ".join([
            r["network"], r["config"], number(r["macs"]), number(r["cycles"]),
            number(r["predicted_cycles"]), number(r["roofline_cycles"]),
            percent(r["roofline_share"]), number(r["dram_bytes"]),
            percent(r["array_active_share"]), "same" if r["golden"] else "DIFFERENT"]) + " |")
    host = {r["network"]: r["host"] for r in result["networks"] if r["host"]}
    if host:
        lines += ["", "Run by the host:", ""]
        lines += [f"- {name}: {node}" for name, nodes in host.items() for node in nodes]
    lines += ["", *_head(MACHINE_COLUMNS, text=1)]
    for m in result["machines"]:
        lines.append(f"| {m['config']} | {number(m['verilog_lines'])} | "
                     f"{number(m['build_seconds'], 0)} | {number(m['cycles_per_second'])} |")
    if result["skipped"]:
        lines += ["", "Not run:", ""]
        lines += [f"- {s['network']} on {s['config']}: {s['reason']}" for s in result["skipped"]]
    return "\n".join(lines) + "\n"


def _head(columns: Sequence[str], text: int) -> list[str]:
    """A table's heading; the columns after the first ``text`` are numbers."""
    rules = ["---" if i < text else "--:" for i in range(len(columns))]
    return [f"| {' | '.join(columns)} |", f"|{'|'.join(rules)}|"]


def write(result: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """``benchmarks.md`` and ``benchmarks.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "benchmarks.md", folder / "benchmarks.json"
    page.write_text(markdown(result))
    data.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return page, data
