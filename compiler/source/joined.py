# SPDX-License-Identifier: Apache-2.0
"""One range for the operands of a Concat and its result, so that nothing is quantized again there.

An operand that other operators read as well keeps its own: with a coarser scale they would lose,
whereas what only the Concat reads is brought to its scale in any case.
"""

from collections import Counter
from collections.abc import Iterator

import onnx

DIRECT = {"MaxPool", "AveragePool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
"""Operators whose result has the parameters of their operand."""


def groups(graph: onnx.GraphProto) -> list[set[str]]:
    """Activations that are to be quantized alike, around each Concat."""
    makers = {o: n for n in graph.node for o in n.output}
    uses = Counter(name for n in graph.node for name in n.input)
    uses.update(o.name for o in graph.output)
    found: list[set[str]] = []
    for node in graph.node:
        if node.op_type == "Concat":
            names = {node.output[0]}
            for name in node.input:
                names.update(_alone(name, makers, uses))
            others = [g for g in found if g & names]
            found = [g for g in found if not g & names] + [names.union(*others)]
    return found


def _alone(name: str, makers: dict[str, onnx.NodeProto], uses: Counter[str]) -> Iterator[str]:
    """An operand that nobody else reads, with what it is a piece or a view of."""
    names = [name]
    while (maker := makers.get(names[-1])) is not None and maker.op_type in DIRECT:
        names.append(maker.input[0])
    if all(uses[n] == 1 for n in names):
        yield from names
