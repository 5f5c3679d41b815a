# SPDX-License-Identifier: Apache-2.0
"""What :func:`makalu.measure.zoo.zoo` found, as tables and as JSON."""

from typing import Any

from makalu.cli import console
from makalu.cli.console import number, percent, table
from makalu.measure.witness import Agreement

Row = dict[str, Any]


def emit(rows: list[Row], config: str) -> None:
    """One JSON object."""
    def plain(row: Row) -> Row:
        named: Row = {key: {k: v.json() for k, v in row[key].items()}
                 for key in ("outputs", "default", "nodes") if key in row}
        return {**row, **named}

    console.emit_json({"config": config, "networks": [plain(row) for row in rows]})


def show(rows: list[Row], config: str) -> None:
    """Tables: whole networks, nodes, and lists of what the host ran and what did not run."""
    ran = [row for row in rows if not row["skipped"]]
    if ran:
        _networks(ran, config)
        if any(row["nodes"] for row in ran):
            _nodes(ran)
        _host(ran)
    for row in rows:
        if row["skipped"]:
            reason = row["skipped"].removeprefix(f"{row['network'].split('/')[-1]}: ")
            console.out.print(f"Skipped: {row['network']}: {reason}", markup=False)
    console.out.print(
        "A requirement does not hold." if any(row["violations"] for row in rows)
        else f"All requirements hold, of {len(ran)} of {len(rows)} networks." if ran
        else "Nothing was checked.")


def _numbers(rows: list[Row], config: str) -> None:
    """FP32 networks in a 16-bit type."""
    lines = [[row["network"], f"{a.same_top1:,} of {a.rows:,}",
              "exact" if a.sqnr_db is None else f"{a.sqnr_db:.1f}", *_common(row)]
             for row in rows for a in row["outputs"].values()]
    console.out.print(table(
        f"Golden model of {config} against ONNX Runtime in FP32, the machine's outputs; RTL "
        "against the golden model",
        [("network", "left"), ("top-1 same", "right"), ("SQNR, dB", "right"),
         ("accuracy", "right"), ("RTL same", "right")], lines))


def _common(row: Row) -> tuple[str, str]:
    """Accuracies, and executions whose bytes are the same."""
    accuracy = row["accuracy"]
    return (f"{percent(accuracy['golden'])} / {percent(accuracy['onnxruntime'])}"
            if accuracy else "-",
            ", ".join(f"{r['same']} of {r['inputs']}" for r in row["rtl"].values()) or "-")


def _integers(rows: list[Row], config: str) -> None:
    """Quantized networks."""
    lines = []
    for row in rows:
        for name, a in row["outputs"].items():
            lines.append([
                row["network"], f"{a.same_top1:,} of {a.rows:,}",
                *_difference(a), *_difference(row["default"][name]), *_common(row)])
    console.out.print(table(
        f"Golden model of {config} against ONNX Runtime, the machine's outputs; RTL against the "
        "golden model",
        [("network", "left"), ("top-1 same", "right"),
         ("differ", "right"), ("LSB", "right"), ("default: differ", "right"), ("LSB", "right"),
         ("accuracy", "right"), ("RTL same", "right")], lines))
    console.out.print("differ: elements that are not those of ONNX Runtime's integer arithmetic; "
                      "LSB: by how much at most.\n"
                      "default: ONNX Runtime as it comes; nothing is required of it.")


def _networks(rows: list[Row], config: str) -> None:
    (_integers if rows[0]["precision"] == "int8" else _numbers)(rows, config)
    console.out.print("accuracy: golden model / ONNX Runtime.")
    memories = ", with ".join(rows[0]["rtl"])
    if memories:
        console.out.print(f"RTL same: executions with the golden model's bytes, with {memories}.")
    for row in rows:
        console.out.print(f"  {row['network']}: {row['inputs']} inputs: {row['source']}",
                          markup=False)


def _difference(a: Agreement) -> tuple[str, str]:
    return f"{a.different:,} of {a.elements:,}", f"{a.largest:.0f}"


def _nodes(rows: list[Row]) -> None:
    lines = [[row["network"], kind, number(t.elements), number(t.different),
              f"{t.different / t.elements:.2e}" if t.different else "0" if t.elements else "-",
              number(t.largest) if t.elements else "-", "the host's" if t.reason else ""]
             for row in rows for kind, t in row["nodes"].items()]
    console.out.print()
    console.out.print(table(
        "Node by node, on the same values", [
            ("network", "left"), ("operators", "left"), ("elements", "right"),
            ("differ", "right"), ("rate", "right"), ("LSB", "right"), ("", "left")], lines))
    console.out.print()


def _host(rows: list[Row]) -> None:
    for row in rows:
        for p in row["host"]:
            console.out.print(f"On the host: {row['network']}: {p['node']} ({p['op']}): "
                              f"{p['reason']}", markup=False)
