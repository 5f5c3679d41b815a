# SPDX-License-Identifier: Apache-2.0
"""A Caffe2 network as an ONNX model: the operators of the predict net in order, blobs of the init
net as constants.

The input is what the init net does not fill. Where it fills everything, as some exporters do, the
first external input is the input, and its fill says the shape.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from compiler.ir.errors import CompileError, Unsupported
from compiler.source.frontend import IR_VERSION, OPSET
from compiler.source.imports.caffe2 import fills
from compiler.source.imports.caffe2.files import read_net
from compiler.source.imports.caffe2.graph import Graph
from compiler.source.imports.caffe2.operator import IDLE, Operator, Row
from compiler.source.imports.caffe2.quantized import FLOATS
from compiler.source.imports.caffe2.quantized import TABLE as QUANTIZED

OPERATORS: dict[str, Row] = FLOATS | QUANTIZED | fills.TABLE
"""Every operator that is understood."""


def _argument(op: Any, argument: Any) -> Any:
    """The value of an argument; strings that are no text stay bytes."""
    if argument.HasField("i"):
        return argument.i
    if argument.HasField("f"):
        return argument.f
    if argument.HasField("s"):
        try:
            return argument.s.decode() if op.type != "Int8GivenTensorFill" else argument.s
        except UnicodeDecodeError:
            return argument.s
    for values in (argument.ints, argument.floats, argument.strings):
        if values:
            return list(values)
    return []


def _arguments(op: Any, row: Row) -> dict[str, Any]:
    unknown = [a.name for a in op.arg if a.name not in row.arguments | IDLE]
    if unknown:
        raise Unsupported(f"its argument {unknown[0]} is not understood",
                          f"understood are {', '.join(sorted(row.arguments)) or 'none'}")
    return {a.name: _argument(op, a) for a in op.arg}


def _import(graph: Graph, op: Any, read: set[str]) -> None:
    """Append one operator. ``read`` are the blobs that something reads."""
    row = OPERATORS.get(op.type)
    if row is None:
        raise Unsupported("the operator is not known", "replace it, or cut the net before it")
    if not row.least <= len(op.input) <= row.most or not op.output:
        raise Unsupported(f"it has {len(op.input)} inputs and {len(op.output)} outputs",
                          f"give {row.least} to {row.most} inputs")
    for blob in op.input:
        if blob not in graph.blobs:
            raise Unsupported(f"nothing gives its input {blob!r}",
                              "give the init net that belongs to the predict net")
    inputs = [graph.blobs[b] for b in op.input]
    if not op.type.startswith("Int8") and any(v in graph.real for v in inputs):
        raise Unsupported("its input is an Int8 blob", "put an Int8Dequantize before it")
    results = row.convert(Operator(op.type, graph, inputs, list(op.output), _arguments(op, row)))
    for blob, value in zip(op.output, results):
        graph.bind(blob, value)
    for blob in op.output[len(results):]:
        if blob in read:
            raise Unsupported(f"its output {blob!r} is read", "only its first output is supported")
        graph.blobs.pop(blob, None)


def _run(graph: Graph, net: Any, read: set[str]) -> None:
    for op in net.op:
        output = op.output[0] if op.output else "nothing"
        graph.where = output
        try:
            _import(graph, op, read)
        except Unsupported as e:
            raise CompileError(f"operator {op.type} of blob {output!r}", e.reason, e.cure) from e


def _first_reader(net: Any, blob: str, graph: Graph) -> tuple[Any, tuple[int, ...]]:
    """The operator that reads a blob first, and the shape of its second input."""
    for op in net.op:
        if blob in op.input:
            second = graph.blobs.get(op.input[1]) if len(op.input) > 1 else None
            return op, graph.shape(second) if second else ()
    return None, ()


def _shape(net: Any, blob: str, graph: Graph) -> tuple[int, ...]:
    """The shape of an input from its first reader: a fully connected layer says it whole."""
    op, weights = _first_reader(net, blob, graph)
    kind = op.type if op is not None else ""
    if kind == "FC" and len(weights) == 2 and not op.arg:
        return (1, weights[1])
    known = ""
    if kind.startswith("Conv") and weights:
        last = any(a.name == "order" and a.s == b"NHWC" for a in op.arg)
        channels = weights[-1 if last else 1] * next((a.i for a in op.arg if a.name == "group"), 1)
        known = f"; {kind} reads {channels} channels of it"
    raise CompileError(f"input {blob!r}", "its shape is not in the net" + known,
                       f"give it, such as shapes={{{blob!r}: (1, 3, 224, 224)}}")


def _read_first(net: Any) -> list[str]:
    """The blobs that are read before they are written: the inputs of a net that names none."""
    found: dict[str, None] = {}
    written: set[str] = set()
    for op in net.op:
        found |= dict.fromkeys(blob for blob in op.input if blob not in written)
        written.update(op.output)
    return list(found)


def _inputs(predict: Any, init: Any, graph: Graph, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make the inputs of the graph."""
    external = list(predict.external_input) or _read_first(predict)
    for blob in shapes:
        if blob not in external:
            raise CompileError(f"input {blob!r}", "the net has no such input",
                               f"its inputs are among {', '.join(external[:5])}")
    open_ = [b for b in external if b not in graph.blobs or b in shapes]
    if not open_ and external:
        open_ = external[:1]
    if init is None and len(open_) > 1 and not shapes:
        raise CompileError(f"input {open_[1]!r}", "the net has no weights",
                           "give the init net, which belongs beside the predict net")
    for blob in open_:
        if blob in shapes:
            shape = tuple(shapes[blob])
        elif blob in graph.blobs:
            shape = graph.shape(graph.blobs[blob])
        else:
            shape = _shape(predict, blob, graph)
        if not shape or any(n < 1 for n in shape):
            raise CompileError(f"input {blob!r}", f"its shape is {shape}",
                               "give all of it by shapes, each size 1 or more")
        graph.input(blob, shape)


def load(predict: Path, init: Path | None = None,
         shapes: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
    """The network in the front end's opset, its shapes static.

    Parameters
    ----------
    predict, init : Path
        Both nets, ``.pb`` or ``.pbtxt``.
    shapes : mapping
        Shapes of inputs by blob, where neither the init net nor a first fully connected layer
        says them.

    Raises
    ------
    CompileError
        If a file is no net, an operator or one of its arguments is not understood, or a shape is
        missing; names the operator and its first output.
    """
    net, fill, graph = read_net(predict), read_net(init) if init else None, Graph()
    read = {i for op in net.op for i in op.input} | set(net.external_output)
    if fill is not None:
        _run(graph, fill, read)
    _inputs(net, fill, graph, shapes or {})
    _run(graph, net, set().union(*(op.input for op in net.op)))
    outputs = [o for o in net.external_output
               if o in graph.blobs and graph.blobs[o] not in graph.constants]
    outputs = outputs or [net.op[-1].output[0]]
    name = net.name or predict.stem
    try:
        model = onnx.version_converter.convert_version(graph.model(outputs, name), OPSET)
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
    except Exception as e:
        raise CompileError(str(predict), f"does not become valid ONNX ({e})",
                           "report the net") from e
    return model
