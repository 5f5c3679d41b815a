# SPDX-License-Identifier: Apache-2.0
"""What :mod:`makalu.measure.bench` measured, as a page of the documentation and as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from makalu.measure.bench import Result
from makalu.text import number, percent

HEADING = "<!-- SPDX-License-Identifier: Apache-2.0 -->\n# Benchmarks"

ABOUT = """\
Made by `makalu bench`: batch 1, cycles counted by the simulated RTL. *error* is how far the
compiler's prediction is off. The roofline is max(MACs / peak, compulsory DRAM bytes / bus width);
*share* is roofline / cycles. *DRAM share* is the part of the bus's bytes that are used, where
memory is the bound; *array active* is the share of cycles in which the array takes an activation
vector; *golden* says whether the outputs are the golden model's, bit for bit.

The networks named as in the [`onnx`](https://github.com/onnx/onnx) package's light models have
their true structures and synthetic weights, quantized by the compiler; of VGG-19 the convolutions
and the fully connected layers are measured apart as well."""

ABOUT_FLOATS = """\
Made by `makalu bench --precision {precision}`: FP32 networks in this precision, as in
[benchmarks.md](benchmarks.md). The peak is half of that of INT8. The networks named as in the
[`onnx`](https://github.com/onnx/onnx) package's light models have their true structures and
synthetic weights."""

COLUMNS = ("network", "machine", "MACs", "cycles", "predicted", "error", "roofline", "share",
           "DRAM bytes", "DRAM share", "array active", "golden")
MACHINE_COLUMNS = ("machine", "lines of Verilog", "simulation build, s",
                   "simulated cycles/s of a CPU core")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row's cells, as :data:`COLUMNS` name them."""
    predicted, cycles = row["predicted_cycles"], row["cycles"]
    error = f"{100 * (predicted / cycles - 1):+.1f} %" if predicted else "-"
    return [row["network"], row["config"], number(row["macs"]), number(cycles), number(predicted),
            error, number(row["roofline_cycles"]), percent(row["share"]),
            number(row["dram_bytes"]), percent(row["dram_share"] if row["memory_bound"] else None),
            percent(row["array_active_share"]), "same" if row["golden"] else "DIFFERENT"]


def markdown(result: Result, left: Mapping[str, str], precision: str = "int8") -> str:
    """The page; ``left`` are networks by label that nobody tried, and why."""
    rows = result.sorted_rows()
    lines = [HEADING + ("" if precision == "int8" else f" in {precision.upper()}"), "",
             ABOUT if precision == "int8" else ABOUT_FLOATS.format(precision=precision), "",
             *_table(COLUMNS, 2, [cells(r) for r in rows])]
    lines += ["", *_table(MACHINE_COLUMNS, 1, [
        [name, number(m["verilog_lines"]), number(m["build_seconds"]),
         number(m["cycles_per_second"])]
        for name, m in sorted(result.machines.items(), key=lambda m: result.configs.index(m[0]))])]
    host = {r["network"]: r["host"] for r in rows if r["host"]}
    if host:
        lines += ["", "Run by the host:", ""]
        lines += [f"- {name}: {node}" for name, nodes in host.items() for node in nodes]
    reasons: dict[tuple[str, str], list[str]] = {}
    for s in result.skipped:
        reasons.setdefault((s["network"], s["reason"]), []).append(s["config"])
    if reasons or left:
        lines += ["", "Not run:", ""]
        lines += [f"- {name} on {' and '.join(configs)}: {reason}"
                  for (name, reason), configs in reasons.items()]
        lines += [f"- {name}: {reason}" for name, reason in left.items()]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], text: int, rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; the columns after the first ``text`` are numbers."""
    rules = ["---" if i < text else "--:" for i in range(len(columns))]
    return [f"| {' | '.join(columns)} |", f"|{'|'.join(rules)}|",
            *(f"| {' | '.join(row)} |" for row in rows)]


def write(result: Result, left: Mapping[str, str], folder: Path, precision: str = "int8"
          ) -> tuple[Path, Path]:
    """``benchmarks.md``, and ``benchmarks.json`` with a list of the rows, in a folder; of another
    precision than INT8 with its name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "benchmarks" + ("" if precision == "int8" else f"_{precision}")
    page, data = folder / f"{name}.md", folder / f"{name}.json"
    for path, text in ((page, markdown(result, left, precision)),
                       (data, json.dumps(result.sorted_rows(), indent=1) + "\n")):
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(text)
        temporary.replace(path)
    return page, data
