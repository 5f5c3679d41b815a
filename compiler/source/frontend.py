# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as a static graph of named nodes in opset 20.

Order: read, check, fix the batch, name the nodes, convert the version, infer shapes, fold what is
constant. Nothing here changes a quantized value: DequantizeLinear of a constant stays, since its
integers are the weights.

Large constants wait aside meanwhile, as inputs of the graph: onnx copies the whole model at every
step, which takes minutes where they are half a gigabyte.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from compiler.ir.errors import CompileError
from compiler.source.cache import Cache, Lengths, grows
from compiler.source.check import check_names, check_sizes, check_windows
from compiler.source.newer import spelled_out

OPSET, IR_VERSION = 20, 10
"""What the compiler works with internally."""

REDEFINED = {"GroupNormalization"}
"""Operators that have another meaning behind :data:`OPSET`."""

LARGE = 1 << 16
"""Elements of a constant that is set aside."""

FLOAT, UINT8, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT8


@dataclass
class Source:
    """A loaded model: its graph, constants (by value name), the shape and type of every value, the
    nodes that were evaluated, the caches that the machine keeps, with their lengths, and by the
    name of a node what it is spelled out as."""

    name: str
    model: onnx.ModelProto
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    folded: list[onnx.NodeProto] = field(default_factory=list)
    caches: list[Cache] = field(default_factory=list)
    spelled: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    lengths: Lengths | None = None

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)


def attributes(node: onnx.NodeProto) -> dict:
    """The node's attributes by name, as Python values."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _read(model: onnx.ModelProto | str | Path) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return onnx.load(str(model))
    except FileNotFoundError:
        raise CompileError(str(model), "there is no such file", "check the path") from None
    except Exception as e:
        raise CompileError(str(model), f"not an ONNX model ({type(e).__name__})",
                           "give an .onnx file") from e


def read(model: onnx.ModelProto | str | Path, name: str | None = None
         ) -> tuple[onnx.ModelProto, str]:
    """A copy of the model, and its name: the given one, or the file's or the graph's.

    Raises
    ------
    CompileError
        If it is no ONNX model.
    """
    proto = _read(model)
    return proto, name or (Path(model).stem if isinstance(model, (str, Path))
                           else proto.graph.name or "model")


def _set_aside(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The large constants, with inputs of the graph in their places."""
    constants, inputs = list(graph.initializer), {i.name for i in graph.input}
    aside = {t.name: t for t in constants if np.prod(t.dims) >= LARGE}
    del graph.initializer[:]
    graph.initializer.extend(t for t in constants if t.name not in aside)
    graph.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
                       for t in aside.values() if t.name not in inputs)
    return aside


def _put_back(graph: onnx.GraphProto, aside: dict[str, onnx.TensorProto]) -> None:
    """Undo :func:`_set_aside`, but for what no node reads any more."""
    inputs = [i for i in graph.input if i.name not in aside]
    del graph.input[:]
    graph.input.extend(inputs)
    needed = {n for node in graph.node for n in node.input}
    graph.initializer.extend(t for name, t in aside.items() if name in needed)


def _fix_batch(model: onnx.ModelProto, batch: int | None, aside: Collection[str]) -> None:
    for value in model.graph.input:
        if value.name in aside:
            continue
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                if i == 0 and batch is not None and dim.dim_value not in (1, batch):
                    raise CompileError(f"input {value.name!r}",
                                       f"its batch is fixed to {dim.dim_value}",
                                       f"compile without a batch, or with {dim.dim_value}")
                if i or batch is None:
                    continue
            elif dim.HasField("dim_value") and i:
                raise CompileError(f"input {value.name!r}", f"it has no elements: its dimension "
                                   f"{i} is {dim.dim_value}", "remove it from the model")
            elif i:
                raise CompileError(f"input {value.name!r}", f"dimension {i} "
                                   f"({dim.dim_param or 'unknown'}) is not fixed",
                                   "export the model with a fixed shape; only the first dimension "
                                   "(the batch) may be dynamic")
            dim.ClearField("dim_param")
            dim.dim_value = batch or 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _constants_are_no_inputs(graph: onnx.GraphProto) -> None:
    """Old files list initializers among the inputs, as defaults that could be overridden."""
    constant = {i.name for i in graph.initializer}
    keep = [i for i in graph.input if i.name not in constant]
    del graph.input[:]
    graph.input.extend(keep)


def _name_nodes(model: onnx.ModelProto) -> None:
    seen: set[str] = set()
    for i, node in enumerate(model.graph.node):
        base = name = node.name or f"{node.op_type}_{i}"
        while name in seen:
            name = f"{base}_{i}"
        seen.add(name)
        node.name = name


def _is_older(model: onnx.ModelProto) -> bool:
    """Whether a model of a newer opset is one of :data:`OPSET` but for its label: every operator
    exists there and has the same attributes and inputs. Opsets 21 to 26 have widened types of
    elements and added attributes; what they have redefined is :data:`REDEFINED`."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in REDEFINED or not onnx.defs.has(node.op_type, OPSET):
            return False
        schema = onnx.defs.get_schema(node.op_type, OPSET)
        if not {a.name for a in node.attribute} <= set(schema.attributes) \
                or len(node.input) > schema.max_input:
            return False
    return True


def _convert(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
                  default=0)
    others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
    names = {o: n.name for n in model.graph.node for o in n.output}
    if version < 7:
        raise CompileError(where, f"operator set {version} is too old",
                           "export the model with opset 13 or later")
    if version > OPSET:
        try:
            model = spelled_out(model, OPSET)
        except RuntimeError as e:
            raise CompileError(where, "an operator of a newer opset cannot be replaced by its "
                               f"definition ({e})", "export the model with opset 20") from e
        for node in model.graph.node:
            if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, OPSET):
                raise CompileError(f"node {node.name!r} ({node.op_type})", "it has no definition "
                                   f"by operators of opset {OPSET}", "export the model with opset "
                                   f"{OPSET}")
    if version > OPSET and _is_older(model):
        del model.opset_import[:]
        model.opset_import.extend(others)
        model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    elif version != OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as e:
            raise CompileError(where, f"cannot be converted from opset {version} to {OPSET} "
                                      f"({e})", "export the model with opset 20") from e
    for i, node in enumerate(model.graph.node):
        if node.op_type == "Sum" and len(node.input) == 2:
            node.op_type = "Add"
        node.name = node.name or names.get(node.output[0], f"{node.op_type}_{i}")
    _name_nodes(model)  # a node that became several left its name to each of them
    model.ir_version = IR_VERSION
    _constants_are_no_inputs(model.graph)
    return model


def _infer(source: Source) -> None:
    try:
        model = onnx.shape_inference.infer_shapes(source.model, strict_mode=False, data_prop=True)
    except Exception as e:
        raise CompileError(source.name, f"shapes cannot be inferred ({e})",
                           "check the model with onnx.checker") from e
    graph = model.graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        source.types[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            source.shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    source.model = model


def _casts_to_the_same(source: Source) -> None:
    """A conversion into the type that its input has is none."""
    for node in source.model.graph.node:
        if node.op_type in ("Cast", "CastLike") and node.domain in ("", "ai.onnx"):
            to = (attributes(node)["to"] if node.op_type == "Cast"
                  else source.types.get(node.input[1]))
            if to is not None and source.types.get(node.input[0]) == to:
                node.op_type = "Identity"
                del node.input[1:], node.attribute[:]


class GatherElements(OpRun):
    """As the standard says; the one of onnx 1.23 fails where data and indices differ in shape."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        cut = [slice(n) for n in indices.shape]
        cut[axis] = slice(None)
        return (np.take_along_axis(data[tuple(cut)], indices, axis),)


def _evaluate(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """Its outputs; None if onnx's evaluator, which does not have every operator, fails."""
    inputs = [n for n in dict.fromkeys(node.input) if n]
    graph = onnx.helper.make_graph(
        [node], "fold",
        [onnx.helper.make_tensor_value_info(
            n, onnx.helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape)
         for n in inputs],
        [onnx.ValueInfoProto(name=o) for o in node.output if o])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
                                   ir_version=IR_VERSION)
    try:
        return ReferenceEvaluator(model, new_ops=[GatherElements]).run(
            None, {n: values[n] for n in inputs})
    except Exception:  # of any class
        return None


def _fold(source: Source, aside: dict[str, np.ndarray]) -> None:
    """Evaluate nodes whose inputs are all constant, and Shape of a known shape."""
    graph = source.model.graph
    source.constants = aside | {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    keep = []
    for node in graph.node:
        out = node.output[0]
        if node.op_type == "Shape" and node.input[0] in source.shapes:
            at = attributes(node)
            shape = source.shapes[node.input[0]][at.get("start", 0):at.get("end")]
            source.constants[out] = np.array(shape, np.int64)
            source.folded.append(node)
        elif (node.domain in ("", "ai.onnx") and node.op_type != "DequantizeLinear"
              and all(not n or n in source.constants for n in node.input)
              and (results := _evaluate(node, source.constants)) is not None):
            for name, value in zip((o for o in node.output if o), results):
                source.constants[name] = np.asarray(value)
            source.folded.append(node)
        else:
            keep.append(node)
    del graph.node[:]
    graph.node.extend(keep)
    # of what is constant now inference would believe the shape that it did not know before
    del graph.value_info[:]


def _prune(graph: onnx.GraphProto) -> None:
    """Remove nodes that no output depends on."""
    needed = {o.name for o in graph.output}
    keep = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            keep.append(node)
    del graph.node[:]
    graph.node.extend(reversed(keep))
    values = [i for i in graph.initializer if i.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(values)


def _check_numbers(source: Source) -> None:
    """Refuse NaN among the constants; infinities may be the masks of an attention."""
    used = {n for node in source.model.graph.node for n in node.input}
    for name, value in source.constants.items():
        if name in used and value.dtype.kind == "f" and np.isnan(value).any():
            raise CompileError(source.name, f"constant {name!r} holds NaN",
                               "export the model again: its weights are damaged")


def load(model: onnx.ModelProto | str | Path, batch: int | None = None,
         name: str | None = None) -> Source:
    """The model with fixed shapes, named nodes, opset 20 and folded constants.

    Raises
    ------
    CompileError
        If it is no valid ONNX model, a decoder whose cache grows, or a shape is not fixed.
    """
    proto, where = read(model, name)
    if grows(proto):
        raise CompileError(where, "it is a decoder, whose key-value cache grows",
                           "makalu compile --context N makes a program of it, which makalu "
                           "generate runs")
    check_names(proto.graph, where)
    aside = _set_aside(proto.graph)
    try:
        onnx.checker.check_model(proto)
        large = {name: numpy_helper.to_array(t) for name, t in aside.items()}
    except Exception as e:
        raise CompileError(where, f"not a valid ONNX model ({e})",
                           "check it with onnx.checker") from e
    _name_nodes(proto)
    proto = _convert(proto, where)
    _fix_batch(proto, batch, aside)
    source = Source(where, proto)
    before = -1
    while len(source.model.graph.node) != before:  # a folded shape lets inference see further
        _infer(source)
        _casts_to_the_same(source)
        constants = {i.name: tuple(i.dims) for i in source.model.graph.initializer}
        check_windows(source.nodes, source.shapes | constants)
        check_sizes(source.shapes)
        before = len(source.model.graph.node)
        _fold(source, large)
        have = {i.name for i in source.model.graph.initializer} | aside.keys()
        used = {n for node in source.model.graph.node for n in node.input}
        source.model.graph.initializer.extend(
            numpy_helper.from_array(v, k) for k, v in sorted(source.constants.items())
            if k in used and k not in have)
    _prune(source.model.graph)
    _check_numbers(source)
    _put_back(source.model.graph, aside)
    return source
