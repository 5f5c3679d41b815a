# SPDX-License-Identifier: Apache-2.0
"""Operators of newer opsets that the specification defines by others: Attention,
RMSNormalization, RotaryEmbedding and the like become the nodes that they stand for."""

import functools

import onnx
import onnx.inliner


@functools.cache
def functions(opset: int) -> frozenset[str]:
    """Operators that an opset does not have, and that newer ones define by others."""
    return frozenset(
        s.name for s in onnx.defs.get_all_schemas()
        if s.domain == "" and not onnx.defs.has(s.name, opset)
        and (s.has_function or s.has_context_dependent_function))


def _complete(node: onnx.NodeProto) -> None:
    """Give a node the attributes that it leaves to their defaults, which its definition refers to
    (:mod:`onnx.inliner` does not)."""
    given = {a.name for a in node.attribute}
    node.attribute.extend(a.default_value for a in onnx.defs.get_schema(
        node.op_type).attributes.values() if a.default_value.name and a.name not in given)


def spelled_out(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model with the definitions of such operators in their place, the nodes named after the
    one that they make up."""
    newer = {n.op_type for n in model.graph.node if n.domain in ("", "ai.onnx")} & functions(opset)
    if not newer:
        return model
    for node in model.graph.node:
        if node.op_type in newer:
            _complete(node)
    before = {n.name for n in model.graph.node}
    whose = {o: n.name for n in model.graph.node if n.op_type in newer for o in n.output}
    model = onnx.shape_inference.infer_shapes(model)
    # the inliner looks for all types among the inner values
    model.graph.value_info.extend(model.graph.input)
    model.graph.value_info.extend(onnx.helper.make_tensor_value_info(
        i.name, i.data_type, i.dims) for i in model.graph.initializer)
    if any("" in n.input for n in model.graph.node if n.op_type in newer):
        model.graph.value_info.append(onnx.helper.make_empty_tensor_value_info(""))
    model = onnx.inliner.inline_selected_functions(
        model, [("", name) for name in sorted(newer)], inline_schema_functions=True)
    name = ""
    for node in reversed(model.graph.node):     # what makes a result up stands in front of it
        name = next((whose[o] for o in node.output if o in whose), name)
        if node.name not in before:
            node.name = f"{name}/{node.op_type}"
    return model
