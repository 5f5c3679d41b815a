# SPDX-License-Identifier: Apache-2.0
"""An operator of a net while it is imported: its inputs as values of the graph, its arguments,
and the form of a row in the tables of operators."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from compiler.ir.errors import Unsupported
from compiler.source.imports.caffe2.graph import Graph

IDLE = frozenset(("exhaustive_search", "cudnn_exhaustive_search", "ws_nbytes_limit", "use_cudnn",
                  "shared_buffer", "float16_compute", "init_params", "algo", "net_pos", "order"))
"""Arguments that choose an implementation and change no value, on any operator. Caffe2's model
helpers write ``order`` on every one; those whose result depends on it read it."""


@dataclass(frozen=True)
class Operator:
    """``inputs`` are values of ``graph``; ``outputs`` names blobs."""

    kind: str
    graph: Graph
    inputs: list[str]
    outputs: list[str]
    arguments: dict[str, Any]

    def get(self, name: str, default: Any) -> Any:
        """The argument as a value of the default's type.

        Raises
        ------
        Unsupported
            If it is given as another type.
        """
        value = self.arguments.get(name, default)
        kind = type(default)
        if kind in (bool, int) and isinstance(value, int):
            return kind(value)
        if kind is float and isinstance(value, (int, float)):
            return float(value)
        if not isinstance(value, kind):
            raise Unsupported(f"its argument {name} is {value!r} and not of type {kind.__name__}",
                              "correct the net")
        return value

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """An axis, counted from the front."""
        axis = self.get(name, default)
        if not -rank <= axis < rank:
            raise Unsupported(f"its {name} is {axis}, and there are {rank} axes", "correct the net")
        return axis % rank

    @property
    def channels_last(self) -> bool:
        order = self.get("order", "NCHW")
        if order not in ("NCHW", "NHWC"):
            raise Unsupported(f"its order is {order!r}", "use NCHW or NHWC")
        return order == "NHWC"

    def image(self, place: int = 0) -> str:
        """An input as [N, C, …]."""
        value = self.inputs[place]
        return self.graph.channels_first(value) if self.channels_last else value

    def out(self, value: str) -> list[str]:
        """A result [N, C, …] in the operator's order."""
        return [self.graph.channels_last(value) if self.channels_last else value]

    def but(self, **changes: Any) -> "Operator":
        return replace(self, **changes)


@dataclass(frozen=True)
class Row:
    """How an operator is imported, the arguments that are understood, and its number of inputs.

    The function returns values for the operator's outputs; outputs behind them (masks, former
    shapes) must have no reader.
    """

    convert: Callable[[Operator], list[str]]
    arguments: frozenset[str] = frozenset()
    least: int = 1
    most: int = 1


def row(convert: Callable[[Operator], list[str]], arguments: str = "", least: int = 1,
        most: int | None = None) -> Row:
    return Row(convert, frozenset(arguments.split()), least, most or least)
