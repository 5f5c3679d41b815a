# SPDX-License-Identifier: Apache-2.0
"""Writes ``docs/supported.md``, "can my model run?", from the compiler: ``python -m
makalu.pages.supported``.

Operators and their limits are those of :data:`compiler.lower.operators.HANDLERS` and their
docstrings. What is refused, and what to do about it, are the errors that the source text of the
compiler has: each ``Unsupported`` that a handler's functions can raise, and each ``CompileError``.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from compiler.ir.errors import Unsupported
from compiler.lower.builder import Builder
from compiler.lower.operators import HANDLERS
from compiler.lower.permission import CONVERSIONS, RIDE_ALONG
from compiler.source.frontend import OPSET
from isa.config import DTYPES
from makalu.pages.isa_pages import DOCS, NOTE, table

PAGE = DOCS / "supported.md"
SOURCE = Path(inspect.getfile(Builder)).parents[1]

MANY = 12
"""Operators that have a refusal in common from which on they are not listed."""

FLOATS_ALONE = "on integers, only on floats"
"""Part of the refusal that says so."""

OURS = "this is an error of the compiler"
"""Part of the cure of errors that no model should cause."""

Refusal = tuple[str, str]
"""Reason and cure; what a message fills in is an ellipsis."""


def _tree(thing: object) -> ast.Module:
    """The syntax of a function or a file."""
    text = thing.read_text() if isinstance(thing, Path) else inspect.getsource(thing)  # type: ignore
    return ast.parse(textwrap.dedent(text))


def _text(node: ast.expr | None) -> str:
    """What a message says, as far as the source text has it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return _text(node.orelse) or _text(node.body)
    return "…"


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _called(call: ast.Call, function: Callable) -> object:
    """The function that is called, where it is one of a module or the builder's."""
    at = call.func
    if isinstance(at, ast.Name):
        return function.__globals__.get(at.id)
    if isinstance(at, ast.Attribute) and isinstance(at.value, ast.Name) and at.value.id == "build":
        return getattr(Builder, at.attr, None)
    return None


def refusals(handler: Callable) -> list[Refusal]:
    """What a handler and the functions that it calls refuse."""
    found: dict[Refusal, None] = {}
    seen: set[Callable] = set()
    todo = [handler]
    while todo:
        function = todo.pop()
        if function in seen:
            continue
        seen.add(function)
        for call in _calls(_tree(function)):
            called = _called(call, function)
            if called is Unsupported:
                texts = [_text(a) for a in call.args]
                found[texts[0], texts[1] if len(texts) > 1 else ""] = None
            elif inspect.isfunction(called) and called.__module__.startswith("compiler."):
                todo.append(called)
    return list(found)


def errors() -> list[Refusal]:
    """What the compiler refuses of a whole model."""
    found: dict[Refusal, None] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for call in _calls(_tree(path)):
            if isinstance(call.func, ast.Name) and call.func.id == "CompileError" and \
                    len(call.args) == 3:
                reason, cure = (_text(a) for a in call.args[1:])
                if reason != "…" and not cure.startswith(OURS):
                    found[reason, cure] = None
    return sorted(found)


def _types(name: str, refused: Iterable[Refusal]) -> tuple[str, str]:
    """Whether an operator works on integers, and on floats."""
    plain = name.rpartition(".")[2]
    integers = not any(FLOATS_ALONE in reason for reason, _ in refused)
    if plain in CONVERSIONS:
        return "yes", "mixed"
    return "yes" if integers else "", "" if plain.startswith(("QLinear", "QGemm")) else "yes"


def _sentences(text: str) -> str:
    """A docstring in one line of Markdown."""
    return " ".join(inspect.cleandoc(text).replace("``", "`").split())


def operators() -> str:
    """The table of operators."""
    rows = []
    for name, handler in sorted(HANDLERS.items()):
        rows.append((name, *_types(name, refusals(handler)),
                     _sentences(handler.__doc__ or "")))
    return table(("operator", "INT8, UINT8", "FP16, BF16", "limits"), rows)


def refused() -> str:
    """The tables of what is refused."""
    by: dict[Refusal, list[str]] = {}
    for name, handler in sorted(HANDLERS.items()):
        for refusal in refusals(handler):
            by.setdefault(refusal, []).append(name.rpartition(".")[2])
    rows = sorted(("any" if len(names) > MANY else ", ".join(dict.fromkeys(names)), reason, cure)
                  for (reason, cure), names in by.items())
    return (table(("operator", "refused because", "what to do"), rows) + "\n"
            + "Of a model as a whole, or of its edges:\n\n"
            + table(("refused because", "what to do"), errors()))


def page() -> str:
    """The page in Markdown."""
    note = NOTE.replace("edit `isa/`", "edit `compiler/` or `makalu/pages/supported.py`")
    along, both = ", ".join(sorted(RIDE_ALONG)), ",".join(CONVERSIONS)
    types = " or ".join(d.upper() for d in DTYPES[1:])
    return f"""{note}
# Can my model run?

Ask the compiler; it names each node, where it runs, and why. Of a quantized model, of an FP32 model
that is to be quantized, and of one that stays FP32:

```
makalu report model.onnx --host all
makalu report model.onnx --host all --calibration samples.npz
makalu report model.onnx --host all --config core256_fp --precision fp16
```

A model is ONNX, of operator set 7 to {OPSET} (or another that `onnx` converts to it), with fixed
shapes but for the batch. It is quantized (QDQ or QOperator, INT8 or UINT8, activations with one
scale each) or FP32. An FP32 model is quantized with samples of its inputs, or computed in {types}
on a machine that has the type, or mixed. Weights are constants. Branches and residual additions are
fine; loops, conditions, strings and dynamic shapes are not. How close the results come is told by
`makalu run --check` and `makalu accuracy`.

## Operators

*FP16, BF16*: in a network of floats (`--precision fp16`, `bf16`, `mixed`), on configurations whose
`dtypes` have them. `com.microsoft` is ONNX Runtime's domain. What the `onnx` package's own tests of
these operators give is in [operators.md](operators.md).

{operators()}
Nodes whose inputs are constants are computed when the model is compiled, whatever their operator.

## On the host

Data go from the host to the machine and back once. What the machine does not run ONNX Runtime
computes on the host, in front of the machine or behind it, if `--host` allows its operator:
`--host Softmax`, `--host {both}`, or `--host all`.
Next to such a node these go with it: {along}.
Where the network can be cut in several ways, for a node in its middle for instance, the machine
gets the piece with the most multiply-accumulates, and the host the rest as far as `--host` allows
it. A float input of a quantized network is always quantized on the host. `makalu report` lists the
host's nodes; that 0 multiply-accumulates are left for the machine is a warning.

## Refused

The ellipses stand for what the message fills in. Where nothing else is to be done, the node can run
on the host, if it is at an edge of the network.

{refused()}"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print("docs/supported.md")


if __name__ == "__main__":
    main()
