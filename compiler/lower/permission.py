# SPDX-License-Identifier: Apache-2.0
"""What the host may run, and what to say of what it may not."""

from collections.abc import Collection, Mapping

import onnx

from compiler.ir.errors import CompileError, Unsupported
from compiler.lower.values import Host
from compiler.source.frontend import Source
from isa.errors import SUPPORTED

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
"""Between floats and integers: a network with one of them at its edge has the other as well."""

REORDERS = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
"""Operators whose result has each element of what they read once."""

RIDE_ALONG = {*CONVERSIONS, *REORDERS}
"""Operators that may follow a host operator onto the host."""


class Permission:
    """The operators that the user allows on the host.

    Parameters
    ----------
    source : Source
    allow : collection of str
        Operators; ``all`` allows any.
    """

    def __init__(self, source: Source, allow: Collection[str]):
        self._source, self._allow = source, set(allow)

    def may(self, op: str) -> bool:
        """Whether the host may run an operator."""
        return bool({op, "all"} & self._allow)

    def cure(self, op: str) -> str:
        """What lets the host run an operator, with what it is allowed already."""
        more = CONVERSIONS if op in CONVERSIONS else (op,)
        names = [*sorted(self._allow - {*more}), *more]
        return f"allow it on the host: --host {','.join(names)}, or --host all"

    def refused(self, node: onnx.NodeProto, inputs: list, why: Unsupported | None) -> CompileError:
        """A node that neither machine nor host runs."""
        origin = next((v.node for v in inputs if isinstance(v, Host) and v.node), "")
        reason = why.reason if why else (
            f"{node.op_type} works on values that the host computes"
            + (f" (node {origin!r})" if origin else " (a float input)"))
        cure = why.cure if why and why.cure else self.cure(node.op_type)
        return CompileError(f"node {node.name!r} ({node.op_type})", reason,
                            f"{cure} (what the machine runs: {SUPPORTED})")

    def nothing_for(self, name: str, value: object, values: Mapping[str, object]) -> CompileError:
        """An output that is constant, an input, or computed by the host alone."""
        where = f"output {name!r}"
        if not isinstance(value, Host) or not value.node:
            return CompileError(where, "the machine has nothing to compute for it",
                                "remove the output from the model")
        names = (i.name for i in self._source.model.graph.input
                 if isinstance(values.get(i.name), Host))
        kinds = ", ".join(f"{n!r} ({onnx.TensorProto.DataType.Name(self._source.types[n])})"
                          for n in names)
        return CompileError(
            where, f"the host computes all of it, from input {kinds} on", "cut the model behind "
            "what the host has to do, so that the machine's part has INT8, UINT8 or (--precision "
            f"fp16) FLOAT inputs ({SUPPORTED})")
