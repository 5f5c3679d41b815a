# SPDX-License-Identifier: Apache-2.0
"""Writes ``docs/operators.md``: what became of the ``onnx`` package's own node tests.

Every test whose node is one of the operators offered is run: integers must be equal, numbers, which
are computed in FP16, within :data:`TOLERANCE`, relative and absolute.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from compiler.ir.errors import CompileError
from compiler.lower.operators import HANDLERS
from compiler.source.frontend import OPSET
from compiler.source.newer import functions
from makalu.backend import MACHINE, MakaluBackend, precision_of
from makalu.pages.isa_pages import DOCS, NOTE, table
from runtime.ports import InputError

TOLERANCE = 2e-3

PAGE = DOCS / "operators.md"


@dataclass
class Row:
    """The node tests of an operator: names of those that passed, reasons of those skipped, names of
    those whose results were wrong; types and attributes of what passed."""

    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    types: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)


def offered() -> set[str]:
    """ONNX operators that the compiler lowers, or that stand for such."""
    return {op for op in HANDLERS if "." not in op} | functions(OPSET)


def cases() -> Iterator[Any]:
    """Node tests of arrays and of one node that is an operator offered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    for case in found:
        graph = case.model.graph
        plain = all(isinstance(v, np.ndarray | np.generic)
                    for values in case.data_sets[0] for v in values)
        if plain and len(graph.node) == 1 and graph.node[0].op_type in offered():
            yield case


def reason(error: Exception) -> str:
    """A reason without names of nodes."""
    if isinstance(error, CompileError):
        text = "needs an opset above 20" if "from opset" in error.reason else error.reason
        return text.split(" (/")[0]
    return str(error)


def equal(got: np.ndarray, want: np.ndarray) -> bool:
    """Whether an output is right."""
    if got.shape != want.shape:
        return False
    if np.issubdtype(want.dtype, np.integer):
        return bool((got == want).all())
    return bool(np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=TOLERANCE,
                            atol=TOLERANCE, equal_nan=True))


def representable(model: onnx.ModelProto, inputs: list[np.ndarray], outputs: list[np.ndarray]
                  ) -> bool:
    """Whether the ``onnx`` package's own evaluator has these results for inputs in FP16, too."""
    rounded = [v.astype(np.float16).astype(v.dtype) if v.dtype == np.float32 else v for v in inputs]
    names = [v.name for v in model.graph.input]
    found = ReferenceEvaluator(model).run(None, dict(zip(names, rounded, strict=True)))
    return all(equal(f, w) for f, w in zip(found, outputs, strict=True))


def run() -> dict[str, Row]:
    """Run the node tests; of each operator what came of them."""
    rows = {op: Row() for op in sorted(offered())}
    for case in cases():
        node = case.model.graph.node[0]
        row = rows[node.op_type]
        inputs, outputs = case.data_sets[0]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = MakaluBackend.run_model(case.model, inputs)
        except (CompileError, InputError) as e:
            row.skipped[case.name] = reason(e)
            continue
        if not all(equal(g, w) for g, w in zip(got, outputs, strict=True)):
            if precision_of(case.model) == "fp16" and not representable(case.model, inputs,
                                                                        outputs):
                row.skipped[case.name] = "its inputs, rounded to FP16, have other results"
            else:
                row.wrong.append(case.name)
            continue
        row.passed.append(case.name)
        row.types.add("FP16" if precision_of(case.model) == "fp16" else "INT8")
        row.attributes.update(a.name for a in node.attribute)
    return rows


def page(rows: dict[str, Row]) -> str:
    """The page in Markdown."""
    cells = []
    for op, row in rows.items():
        why = Counter(row.skipped.values()).most_common()
        cells.append([op, ", ".join(sorted(row.types)), ", ".join(sorted(row.attributes)),
                      len(row.passed), len(row.skipped),
                      "; ".join(f"{text} ({n})" for text, n in why)])
    total = [sum(len(getattr(r, kind)) for r in rows.values()) for kind in ("passed", "skipped")]
    note = NOTE.replace("edit `isa/`", "edit `makalu/pages/operators.py`")
    return (f"{note}\n# Operators\n\nThe `onnx` package's own node tests of the operators that the "
            f"compiler lowers, run by `makalu.backend` on the golden model of `{MACHINE}`: "
            f"integers exact, numbers in FP16 within {TOLERANCE} relative and absolute. "
            f"{total[0]} pass, {total[1]} are skipped, none is wrong. Inputs of types that "
            "the machine does not have, masks and indices, are constants; where an operator takes "
            "its weights as constants alone, all inputs but the first are. *types* and "
            "*attributes* are those of the tests that pass; quantized operators have their tests "
            "in `tests/compiler`, since most node tests quantize a float input, which is the "
            "host's.\n\n"
            + table(("operator", "types", "attributes", "passed", "skipped", "why skipped"), cells))


def main() -> None:
    """Write the page."""
    rows = run()
    wrong = [name for row in rows.values() for name in row.wrong]
    if wrong:
        raise SystemExit(f"wrong results, docs/operators.md is not written: {', '.join(wrong)}")
    PAGE.write_text(page(rows))
    print("docs/operators.md")


if __name__ == "__main__":
    main()
