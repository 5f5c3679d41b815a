# SPDX-License-Identifier: Apache-2.0
"""What every model has to keep to before it is lowered, beyond what onnx's checker looks at: names
that are text, sizes that fit in memory, and attributes of convolutions and pools as the standard
defines them."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx

from compiler.ir.errors import CompileError

MOST_ELEMENTS = 1 << 28
"""Of a value: the compiler holds a position for each element of an activation."""

MOST = (1 << 16) - 1
"""Of a stride, dilation, padding or kernel: the machine's coordinates have 16 bits."""

WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Where the weights [K, C / group, …] are among the inputs of convolutions."""

READ = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16)
"""Types of elements that the machine computes with, numbers as its own."""

POOLS = ("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")

AUTO_PAD = (b"NOTSET", b"SAME_UPPER", b"SAME_LOWER", b"VALID")


def check_names(graph: onnx.GraphProto, where: str) -> None:
    """Refuse names that are not UTF-8, which protobuf gives as bytes.

    Raises
    ------
    CompileError
    """
    for name in _names(graph):
        if not isinstance(name, str):
            raise CompileError(where, f"the name {name!r} in it is not UTF-8", "export the model "
                               "with names of letters and digits")


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (a.name for a in node.attribute)
    for values in (graph.initializer, graph.input, graph.output, graph.value_info):
        yield from (v.name for v in values)


def check_sizes(shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse values of more than :data:`MOST_ELEMENTS` elements.

    Raises
    ------
    CompileError
    """
    for name, shape in shapes.items():
        elements = 1
        for size in shape:
            elements *= size
        if elements > MOST_ELEMENTS:
            raise CompileError(f"value {name!r}", f"it has {elements:,} elements, and "
                               f"{MOST_ELEMENTS:,} is the most", "use smaller inputs and paddings")


def check_types(model: onnx.ModelProto, constants: Collection[str]) -> None:
    """Refuse a model none of whose inputs has elements that the machine computes with.

    Raises
    ------
    CompileError
        Names the first input.
    """
    inputs = [i for i in model.graph.input if i.name not in constants]
    kinds = [i.type.tensor_type.elem_type for i in inputs]
    if inputs and not any(kind in READ for kind in kinds):
        raise CompileError(
            f"input {inputs[0].name!r}",
            f"it is {onnx.TensorProto.DataType.Name(kinds[0])}, and the machine computes with "
            "INT8, UINT8 and FLOAT", "give it as FLOAT, which --precision rounds to FP16 or BF16")


def check_windows(nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse convolutions and pools whose attributes do not agree with one another, with the
    standard, or with the shapes of what they read.

    Raises
    ------
    CompileError
        Names the node and the attribute.
    """
    for node in nodes:
        if node.op_type in (*WEIGHTS, *POOLS):
            at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            place = WEIGHTS.get(node.op_type, 0)
            weights = shapes.get(node.input[place]) if place else None
            reason = (_attributes(at) or _weights(at, shapes.get(node.input[0]), weights)
                      or _extent(at, shapes.get(node.input[0]), weights))
            if reason:
                raise CompileError(f"node {node.name!r} ({node.op_type})", reason,
                                   "export the model again: it is not valid ONNX")


def _attributes(at: Mapping[str, object]) -> str:
    """What is wrong with the attributes alone."""
    ranks = set()
    for name, low, axes in (("strides", 1, 1), ("dilations", 1, 1), ("kernel_shape", 1, 1),
                            ("pads", 0, 2)):
        values = at.get(name)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) % axes:
            return f"{name} is not a list with {axes} for each axis"
        if any(not isinstance(v, int) or not low <= v <= MOST for v in values):
            return f"{name} is {values}, and each has to be from {low} to {MOST}"
        ranks.add(len(values) // axes)
    if len(ranks) > 1:
        return "strides, dilations, kernel_shape and pads differ in their number of axes"
    group = at.get("group", 1)
    if not isinstance(group, int) or group < 1:
        return f"group is {group}, and has to be 1 or more"
    if at.get("auto_pad", b"NOTSET") not in AUTO_PAD:
        return f"auto_pad is {at['auto_pad']!r}"
    return ""


def _weights(at: Mapping[str, object], shape: Sequence[int] | None,
             weights: Sequence[int] | None) -> str:
    """What is wrong with the weights, where they and the input are known."""
    if not shape or not weights or len(weights) != len(shape) or "channels_last" in at:
        return ""
    group = at.get("group", 1)
    assert isinstance(group, int)
    if weights[0] % group or weights[1] * group != shape[1]:
        return (f"weights of {list(weights)} do not fit {shape[1]} channels in {group} groups")
    if at.get("kernel_shape", list(weights[2:])) != list(weights[2:]):
        return f"kernel_shape is {at['kernel_shape']}, and the weights are {list(weights)}"
    return ""


def _extent(at: Mapping[str, object], shape: Sequence[int] | None,
            weights: Sequence[int] | None) -> str:
    """Whether a window fits into the padded input at all."""
    kernel = list(weights[2:]) if weights else at.get("kernel_shape")
    if not shape or not isinstance(kernel, list) or "channels_last" in at:
        return ""
    rank = len(shape) - 2
    lists = {"kernel_shape": kernel, "strides": [1] * rank, "dilations": [1] * rank,
             "pads": [0] * 2 * rank}
    lists |= {name: values for name, values in at.items() if isinstance(values, list)}
    for name, values in lists.items():
        if len(values) != (2 if name == "pads" else 1) * rank:
            return f"{name} is {values}, and its input has {rank} axes behind the channels"
    if at.get("auto_pad", b"NOTSET") != b"NOTSET":
        return ""
    for n, k, d, front, back in zip(shape[2:], kernel, lists["dilations"], lists["pads"],
                                    lists["pads"][rank:]):
        if (k - 1) * d + 1 > n + front + back:
            return (f"a window of {(k - 1) * d + 1} does not fit in {n} and its padding of "
                    f"{front + back}")
    return ""
