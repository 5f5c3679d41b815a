# SPDX-License-Identifier: Apache-2.0
"""Placeholders of a frozen GraphDef that are given as numbers, and the random numbers that cannot
matter then: a dropout whose probability to keep is 1.

Imported by :mod:`compiler.source.imports.tensorflow_worker` alone, beside it in its process.
"""

from collections.abc import Mapping
from typing import Any

Interval = tuple[float, float, bool]
"""Smallest number, largest one, and whether that one is none of them."""

RANDOM = {"RandomUniform", "RandomStandardNormal", "TruncatedNormal", "Multinomial",
          "StatelessRandomUniform"}


def number_of(node: Any) -> float | None:
    """A constant of one element."""
    from tensorflow import make_ndarray
    if node.op != "Const":
        return None
    value = make_ndarray(node.attr["value"].tensor)
    return float(value) if value.size == 1 and value.dtype.kind in "fiub" else None


def set_numbers(definition: Any, values: Mapping[str, float]) -> list[str]:
    """Constants in place of placeholders; the names that are no placeholder."""
    from tensorflow import dtypes, make_tensor_proto
    nodes = {n.name: n for n in definition.node if n.op == "Placeholder"}
    for name, value in values.items():
        node = nodes.get(name.split(":")[0])
        if node is not None:
            kind = dtypes.as_dtype(node.attr["dtype"].type)
            node.op = "Const"
            del node.attr["shape"]
            node.attr["value"].tensor.CopyFrom(make_tensor_proto(kind.as_numpy_dtype(value)))
    return [name for name in values if name.split(":")[0] not in nodes]


def fold_random(definition: Any) -> None:
    """Constants in place of what is made of random numbers and is the same whichever they are:
    ``floor`` of a range within one step, and a comparison that always holds."""
    from tensorflow import bool as boolean
    from tensorflow import make_tensor_proto
    nodes = {n.name: n for n in definition.node}
    for node in definition.node:
        if node.op not in ("Floor", "GreaterEqual"):
            continue
        given = [_interval(nodes, name) for name in node.input]
        if any(i is None for i in given) or not any(_random(nodes, n) for n in node.input):
            continue
        low, high, below = given[0]     # type: ignore[misc]
        if node.op == "Floor":
            one = low // 1
            if high > one + 1 or (high == one + 1 and not below):
                continue
            value = make_tensor_proto(one, dtype=node.attr["T"].type)
        else:
            if low < given[1][1]:       # type: ignore[index]
                continue
            value = make_tensor_proto(True)
        kind = boolean.as_datatype_enum if node.op == "GreaterEqual" else node.attr["T"].type
        node.op = "Const"
        del node.input[:]
        node.attr.clear()
        node.attr["dtype"].type = kind
        node.attr["value"].tensor.CopyFrom(value)


def random_nodes(definition: Any, outputs: list[str]) -> list[str]:
    """Nodes that draw random numbers which an output depends on."""
    nodes = {n.name: n for n in definition.node}
    left, seen = [_name(o) for o in outputs], set[str]()
    while left:
        name = left.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            left += map(_name, nodes[name].input)
    return [n.name for n in definition.node if n.name in seen and n.op in RANDOM]


def _name(value: str) -> str:
    return value.lstrip("^").split(":")[0]


def _random(nodes: dict[str, Any], value: str) -> bool:
    """Whether a value is made of random numbers, constants and the operators of a range."""
    node = nodes[_name(value)]
    return node.op == "RandomUniform" or (node.op in ("Add", "AddV2", "Sub", "Mul", "Identity")
                                          and any(_random(nodes, i) for i in node.input))


def _interval(nodes: dict[str, Any], value: str) -> Interval | None:
    """What a value can be, if it is a constant or made of those and uniform random numbers."""
    node = nodes[_name(value)]
    constant = number_of(node)
    if constant is not None:
        return constant, constant, False
    if node.op == "RandomUniform":
        return 0.0, 1.0, True
    if node.op not in ("Add", "AddV2", "Sub", "Mul", "Identity"):
        return None
    given = [_interval(nodes, i) for i in node.input]
    if node.op == "Identity":
        return given[0]
    a, b = given
    if a is None or b is None:
        return None
    if node.op in ("Add", "AddV2"):
        return a[0] + b[0], a[1] + b[1], a[2] or b[2]
    if node.op == "Sub":
        return a[0] - b[1], a[1] - b[0], a[2]
    if min(a[0], b[0]) < 0:
        return None
    return a[0] * b[0], a[1] * b[1], a[2] or b[2]
