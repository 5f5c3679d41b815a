# SPDX-License-Identifier: Apache-2.0
"""The ONNX models of what the host computes before and after the machine."""

import difflib
from collections.abc import Collection

import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.ir.errors import CompileError
from compiler.lower.operators import HANDLERS
from compiler.lower.values import Quantized, Storage
from compiler.source.frontend import IR_VERSION, OPSET, Source

SUFFIX = "/machine"
"""Added to the name of a machine buffer where the host model needs the plain name itself."""


def check_operators(names: Collection[str]) -> None:
    """Refuse names for ``--host`` that are no operators.

    Raises
    ------
    CompileError
        With the operator that is spelled most alike.
    """
    known = {"all", *(schema.name for schema in onnx.defs.get_all_schemas()), *(
        name.rpartition(".")[2] for name in HANDLERS)}
    for name in names:
        if name not in known:
            alike = difflib.get_close_matches(name, known, 3, 0.0)
            raise CompileError(f"--host {name}", "there is no such operator of ONNX",
                               f"use an operator's name, such as {', '.join(alike)}, or all")


def _info(source: Source, name: str, dtype: str | None = None,
          shape: tuple[int, ...] | None = None, rename: str = "") -> onnx.ValueInfoProto:
    kind = source.types.get(name, TensorProto.UNDEFINED)
    if dtype is not None:
        kind = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}.get(dtype,
                                                                         TensorProto.FLOAT)
    return helper.make_tensor_value_info(rename or name, kind,
                                         shape if shape is not None else source.shapes.get(name))


def _converted(source: Source, name: str) -> bool:
    """Whether a value that passes to the machine as binary32, or from there, is of another type."""
    return source.types.get(name, TensorProto.FLOAT) not in (
        TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8)


def _renaming(source: Source, a: str, b: str, value: str, kind: int) -> onnx.NodeProto:
    """``b`` for ``a``; a value that the host's side of the machine has as binary32 and the network
    has not is converted to ``kind``."""
    if _converted(source, value):
        return helper.make_node("Cast", [a], [b], name=f"{a} to {b}", to=kind)
    return helper.make_node("Identity", [a], [b], name=f"{a} to {b}")


def _model(source: Source, nodes: list[onnx.NodeProto], inputs: list, outputs: list,
           name: str) -> bytes:
    used = {n for node in nodes for n in node.input}
    constants = [numpy_helper.from_array(source.constants[n], n) for n in sorted(used)
                 if n in source.constants]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    domains = {n.domain for n in nodes if n.domain not in ("", "ai.onnx")}
    opsets = [helper.make_opsetid("", OPSET)] + [helper.make_opsetid(d, 1) for d in sorted(domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION,
                              producer_name="makalu")
    return model.SerializeToString(deterministic=True)


def _in_order(source: Source, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes in the graph's order, for weights come when a node asks for them; each as it was
    spelled out."""
    places = {n.name: i for i, n in enumerate(source.nodes)}
    found: dict[str, onnx.NodeProto] = {}
    for node in sorted(nodes, key=lambda n: places[n.name]):
        found |= {n.output[0]: n for n in reversed(source.spelled.get(node.name, [node]))}
    return list(found.values())


def before(source: Source, nodes: list[onnx.NodeProto], inputs: list[Storage],
           passing: Collection[str]) -> tuple[bytes, dict[str, str]]:
    """The model in front of the machine, and new names of machine inputs (none if the host has
    nothing to do). Values of ``passing`` are outputs as well."""
    given = {s.name: s for s in inputs}  # one may be given in two layouts
    whole = any(_converted(source, n) and source.types[n] != TensorProto.FLOAT16 for n in given)
    if not nodes and not whole and given.keys() >= set(passing):
        return b"", {}
    inputs = list(given.values())
    kept = source.constants.keys() | {c.past for c in source.caches}
    graph_inputs = [i for i in source.model.graph.input if i.name not in kept]
    plain = {i.name for i in graph_inputs}
    renamed = {s.name: s.name + SUFFIX for s in inputs
               if s.name in plain or _converted(source, s.name)}
    extra = [_renaming(source, a, b, a, TensorProto.FLOAT) for a, b in renamed.items()]
    outputs = [_info(source, s.name, s.dtype, s.shape, renamed.get(s.name, "")) for s in inputs]
    outputs += [_info(source, n) for n in sorted(passing)
                if n not in plain and (n in renamed or n not in given)]
    return _model(source, [*_in_order(source, nodes), *extra], graph_inputs, outputs,
                  "before"), renamed


def after(source: Source, nodes: list[onnx.NodeProto], crossing: dict[str, Quantized],
          passing: Collection[str]) -> tuple[bytes, dict[str, str]]:
    """The model behind the machine, which reads values of ``passing`` as well, and new names of
    machine outputs."""
    if not nodes:
        return b"", {}
    results = [o.name for o in source.model.graph.output]
    renamed = {n: n + SUFFIX for n in crossing
               if n in results or source.types.get(n) == TensorProto.FLOAT16}
    extra = [_renaming(source, b, a, a, TensorProto.FLOAT16) for a, b in renamed.items()]
    inputs = [_info(source, n, q.dtype, q.shape, renamed.get(n, "")) for n, q in crossing.items()]
    inputs += [_info(source, n) for n in sorted(passing) if n not in crossing]
    outputs = [_info(source, n) if n not in crossing or source.types[n] == TensorProto.FLOAT16
               else _info(source, n, crossing[n].dtype, crossing[n].shape) for n in results]
    return _model(source, [*extra, *_in_order(source, nodes)], inputs, outputs, "after"), renamed
