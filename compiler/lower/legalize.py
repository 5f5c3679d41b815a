# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph as quantized operators (:mod:`compiler.ir.graph`), and what is left to the host.

Nodes are read in order; :mod:`compiler.lower.values` says what becomes of their values. A node that
the machine does not run goes to the host only at an edge of the graph and only if the user allowed
its operator; QuantizeLinear, DequantizeLinear and shape operators next to such a node go with it.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import onnx

from compiler.ir.errors import CompileError, Unsupported
from compiler.ir.floats import filters
from compiler.ir.graph import DTYPE, RANGE, Clip, Conv, Graph, Op, Part, Pool, Port, Tensor
from compiler.lower import finish
from compiler.lower.values import (INF, Deq, Function, Host, Joined, Linear, Quantized, Real,
                                   Storage, Sum, Weights, as_view, canonical, identity, is_number)
from compiler.source.frontend import Source
from isa.instructions import DType

CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
"""Between numbers and integers: a network with one of them at its edge has the other as well."""

RIDE_ALONG = {*CONVERSIONS, "Reshape", "Flatten", "Transpose", "Squeeze",
              "Unsqueeze", "Identity"}
"""Operators that may follow a host operator onto the host."""

REALS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
"""Types of inputs that are numbers."""

CLIPS = {"Relu", "Clip"}
AFFINE = {"BatchNormalization", "Add", "Sub", "Mul", "Div"}
"""Operators that go on with a value in binary32: any, and a convolution's with constants."""

Value = Quantized | Real | Weights | Host | np.ndarray
Handler = Callable[["Legalizer", onnx.NodeProto, list], list]
HANDLERS: dict[tuple[str, str], Handler] = {}


def handles(*ops: str, domain: str = "") -> Callable[[Handler], Handler]:
    """Register the function that lowers these operators."""
    def register(f: Handler) -> Handler:
        for op in ops:
            HANDLERS[domain, op] = f
        return f
    return register


def _one_type(e: object) -> bool:
    """Whether an expression of numbers is computed as numbers before it is quantized: the window
    engine's results have the type of its operands, and what is moved keeps its type."""
    if isinstance(e, Joined):
        return is_number(e.parts[0])
    return isinstance(e, Linear) and e.groups == e.nchw[1] > 1 and e.tensor.floating


class Legalizer:
    """One run over a graph; ``graph``, ``placement`` and the host's nodes are its result.

    ``floats`` is the type of what is not quantized, empty in a network of integers.
    """

    def __init__(self, source: Source, allow_host: Collection[str], floats: str = ""):
        self.source, self.allow, self.floats = source, set(allow_host), floats
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for n in source.nodes:
            for name in n.input:
                self.readers.setdefault(name, []).append(n)
        self.graph = Graph([n.name for n in source.nodes])
        self.values: dict[str, Value] = {}
        self.inputs: list[Storage] = []
        self.pre: list[onnx.NodeProto] = []
        self.post: list[onnx.NodeProto] = []
        self.placement: list[dict[str, str]] = []
        self.crossing: dict[str, Quantized] = {}
        self.quantization: dict[str, tuple[np.float32, int]] = {}
        self.node = 0
        self.makers = {o: n for n in source.nodes for o in n.output}
        self.numbers: dict[tuple, Deq] = {}

    # -- the walk -------------------------------------------------------------------------------

    def run(self) -> None:
        """Lower every node, then bind inputs and outputs."""
        s = self.source
        for value in s.model.graph.input:
            if value.name in s.constants:
                continue
            kind = s.types[value.name]
            if kind in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
                self.values[value.name] = self.new_input(
                    value.name, s.shapes[value.name],
                    "int8" if kind == onnx.TensorProto.INT8 else "uint8")
            elif self.floats and kind in REALS and not self._quantized_before(value.name):
                q = self.new_input(value.name, s.shapes[value.name], self.floats)
                self.values[value.name] = Real(Deq(q, np.float32(1), 0))
            else:
                self.values[value.name] = Host(True)
        for self.node, node in enumerate(s.nodes):
            self._place(node)
        self._finish()

    def _quantized_before(self, name: str) -> bool:
        """Whether the host quantizes an input, perhaps moved before: it may, and nobody wants it
        otherwise."""
        return name in self.readers and all(
            {n.op_type, "all"} & self.allow and (
                n.op_type == "QuantizeLinear"
                or (n.op_type in RIDE_ALONG and self._quantized_before(n.output[0])))
            for n in self.readers[name])

    def get(self, name: str) -> Value | None:
        """The value of an input name; None for an absent optional input."""
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        return self.source.constants.get(name)

    def _place(self, node: onnx.NodeProto) -> None:
        inputs = [self.get(n) for n in node.input]
        hosts = [v for v in inputs if isinstance(v, Host)]
        late = [v for v in hosts if not v.early]
        if hosts:
            return self._to_host(node, inputs, bool(late), None)
        handler = HANDLERS.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        try:
            if handler is None:
                raise Unsupported(f"the machine does not run {node.op_type}")
            outputs = [replace(v, node=self.node) if isinstance(v, Real) and v.node < 0 else v
                       for v in handler(self, node, inputs)]
            if self.floats:
                outputs = [self._stored(name, v) for name, v in zip(node.output, outputs)]
        except Unsupported as e:
            return self._to_host(node, inputs, True, e)
        self.values.update(zip(node.output, outputs))
        self.placement.append({"node": node.name, "op": node.op_type, "engine": "none",
                               "reason": "folded into its neighbors"})

    def _stored(self, name: str, value: Value) -> Value:
        """A float value in its type, unless its only reader goes on with it in binary32."""
        if not isinstance(value, Real) or (
                isinstance(value.expr, Deq) and (value.lo, value.hi) == (-INF, INF)):
            return value
        readers = self.readers.get(name, [])
        outputs = {o.name for o in self.source.model.graph.output}
        if len(readers) == 1 and name not in outputs and (
                readers[0].op_type in {*CLIPS, "QuantizeLinear"}
                or (readers[0].op_type in AFFINE and isinstance(value.expr, Linear)
                    and (value.lo, value.hi) == (-INF, INF)
                    and any(n in self.source.constants for n in readers[0].input))):
            return value
        return Real(self.stored(value, name))

    def stored(self, value: Real, name: str, dtype: str = "") -> Deq:
        """A value rounded to the network's type of numbers, or to another."""
        return Deq(self.quantize(value, np.float32(1), 0, dtype or self.floats, name),
                   np.float32(1), 0)

    def number(self, x: Deq) -> Deq:
        """A value in the network's type of numbers, which integers are brought into once."""
        if is_number(x):
            return x
        key = (id(x.q.storage), x.q.index.tobytes(), x.scale, x.zero_point)
        if key not in self.numbers:
            self.numbers[key] = self.stored(Real(x), x.q.name + ":number")
        return self.numbers[key]

    def permission(self, op: str) -> str:
        """The cure that lets the host run an operator, with what it is allowed already."""
        more = CONVERSIONS if op in CONVERSIONS else (op,)
        names = [*sorted(self.allow - {*more}), *more]
        return f"allow it on the host: --host {','.join(names)}, or --host all"

    def _to_host(self, node: onnx.NodeProto, inputs: list, late: bool,
                 why: Unsupported | None) -> None:
        early = not late and all(v is None or isinstance(v, np.ndarray)
                                 or (isinstance(v, Host) and v.early) for v in inputs)
        along = node.op_type in RIDE_ALONG and any(
            isinstance(v, Host) and v.node not in ("", node.name) for v in inputs)
        if not (node.op_type in self.allow or "all" in self.allow or along):
            origin = next((v.node for v in inputs if isinstance(v, Host) and v.node), "")
            reason = why.reason if why else (
                f"{node.op_type} works on values that the host computes"
                + (f" (node {origin!r})" if origin else " (a float input)"))
            raise CompileError(f"node {node.name!r} ({node.op_type})", reason,
                               why.cure if why and why.cure
                               else self.permission(node.op_type))
        (self.pre if early else self.post).append(node)
        self.placement.append({
            "node": node.name, "op": node.op_type, "engine": "host",
            "reason": why.reason if why else "its input or output is the host's"})
        for name, v in zip(node.input, inputs):
            if not early and isinstance(v, Host) and v.early:
                raise CompileError(f"node {node.name!r} ({node.op_type})",
                                   "it mixes a value from before the machine with one from behind",
                                   "give that value as an output of its own")
            if not early and isinstance(v, (Quantized, Real)):
                self._leave(name, v)
        enters = early and node.op_type in ("QuantizeLinear", "Cast") and \
            self.source.types.get(node.output[0]) in (onnx.TensorProto.INT8,
                                                      onnx.TensorProto.UINT8)
        for name in node.output:
            if enters:
                kind = self.source.types[name]
                self.values[name] = self.new_input(
                    name, self.source.shapes[name],
                    "int8" if kind == onnx.TensorProto.INT8 else "uint8")
            else:
                self.values[name] = Host(early, node.name)

    def _leave(self, name: str, value: Value | None) -> None:
        """The host needs a machine value: the quantized value crosses, and what makes a real one
        of it runs on the host."""
        if isinstance(value, Quantized):
            self.crossing[name] = value
            return
        if isinstance(value, Real) and isinstance(value.expr, Deq) and is_number(value.expr):
            self.crossing[name] = value.expr.q
            return
        maker = self.makers.get(name)
        if maker is None or maker.op_type not in RIDE_ALONG or not isinstance(value, Real) \
                or not isinstance(value.expr, Deq):
            raise CompileError(f"value {name!r}", "the host needs it, but it is not quantized",
                               "quantize it (QuantizeLinear and DequantizeLinear behind it)")
        if not any(maker is n for n in self.post):
            self.post.append(maker)
            for row in self.placement:
                if row["node"] == maker.name:
                    row.update(engine="host", reason="gives the host a real value")
        self._leave(maker.input[0], self.values[maker.input[0]])

    # -- tensors --------------------------------------------------------------------------------

    def new_input(self, name: str, shape: tuple[int, ...], dtype: str) -> Quantized:
        """A graph input that the machine reads; its layout is open."""
        storage = Storage(name, tuple(shape), dtype)
        self.inputs.append(storage)
        return Quantized(name, storage, identity(shape))

    def emit(self, op: Op) -> Quantized:
        """Append an operator; its result in NCHW."""
        self.graph.ops.append(op)
        return Quantized(op.y.name, Storage(op.y.name, op.y.nchw, op.y.dtype, op.y),
                         identity(op.y.nchw))

    def bind(self, storage: Storage, order: np.ndarray) -> bool:
        """Fix the layout of a graph input: ``order`` (4-D) are the host's elements in NCHW."""
        if order.size != int(np.prod(storage.shape)) or (order < 0).any():
            return False
        found = as_view(order)
        if found is None:
            return False
        storage.view, storage.perm = found
        storage.tensor = Tensor(storage.name, tuple(order.shape), storage.dtype)
        position = np.empty(order.size, np.int32)
        position[order.ravel()] = np.arange(order.size, dtype=np.int32)
        storage.position = position
        return True

    def settle(self, q: Quantized) -> Tensor:
        """The machine tensor behind a value, in the order of its ONNX shape if that is open."""
        if q.storage.tensor is None:
            shape = canonical(q.storage.shape)
            if shape is None:
                raise Unsupported(f"it works on a graph input of {len(q.storage.shape)} dimensions",
                                  "reshape it to four or less")
            self.bind(q.storage, identity(shape))
        assert q.storage.tensor is not None
        return q.storage.tensor

    def demand(self, q: Quantized, order: np.ndarray, zero_point: int) -> Tensor:
        """A machine tensor of shape ``order.shape`` whose elements are ``order``: entries of
        ``q.index`` in the order which an operator needs. Moves bytes if there is no other way."""
        if q.storage.tensor is None and not self.bind(q.storage, order):
            self.settle(q)
        wanted = Quantized(q.name, q.storage, order).positions()
        tensor = q.storage.tensor
        assert tensor is not None
        if wanted.shape == tensor.nchw and (wanted == identity(tensor.nchw)).all():
            return tensor
        if any(s is q.storage for s in self.inputs) and (again := self._again(q, order)):
            return again
        if (order < 0).any():
            zero_point = q.fill
        return self.gather([Deq(q, np.float32(1), zero_point)], np.zeros(order.shape, np.int8),
                           wanted, np.float32(1), zero_point, q.dtype, q.name)

    def _again(self, q: Quantized, order: np.ndarray) -> Tensor | None:
        """A graph input in another order: the host gives it a second time."""
        for s in self.inputs:
            if s.name == q.storage.name and s.tensor is not None and s.position is not None and \
                    order.shape == s.tensor.nchw and (
                        s.position[order.ravel()] == np.arange(order.size)).all():
                return s.tensor
        other = Storage(q.storage.name, q.storage.shape, q.storage.dtype)
        if not self.bind(other, order):
            return None
        self.inputs.append(other)
        return other.tensor

    def gather(self, parts: list[Deq], which: np.ndarray, wanted: np.ndarray,
               scale: np.float32, zero_point: int, dtype: str, name: str,
               clip: Clip | None = None) -> Tensor:
        """A tensor whose element ``i`` is element ``wanted[i]`` of ``parts[which[i]]``,
        requantized: one-hot convolutions, each adding to the one before."""
        from compiler.lower.moves import plan_gather
        return plan_gather(self, parts, which, wanted, scale, zero_point, dtype, name, clip)

    # -- requantization -------------------------------------------------------------------------

    def clip_of(self, real: Real, scale: np.float32, zero_point: int, dtype: str) -> Clip:
        """A real clip as integers of the output: quantization is monotonic, so they commute."""
        low, high = RANGE[dtype]
        if DTYPE[dtype] is not DType.INT8:
            return Clip(0, real.lo, real.hi)

        def q(v: float) -> float:
            if np.isinf(v):
                return low if v < 0 else high
            return int(np.clip(np.rint(np.float32(v) / np.float32(scale)) + zero_point, low, high))
        return Clip(zero_point, q(real.lo), q(real.hi))

    def quantize(self, real: Real, scale: np.float32, zero_point: int, dtype: str,
                 name: str) -> Quantized:
        """The operator that computes ``real`` and quantizes it; it counts as the node that began
        the expression, not as the QuantizeLinear that ends it."""
        here = self.node
        if real.node >= 0 and not isinstance(real.expr, Deq):
            self.node = real.node
        try:
            return self._quantize(real, scale, zero_point, dtype, name)
        finally:
            self.node = here

    def _quantize(self, real: Real, scale: np.float32, zero_point: int, dtype: str,
                  name: str) -> Quantized:
        e, scale = real.expr, np.float32(scale)
        clip = self.clip_of(real, scale, zero_point, dtype)
        full = (clip.lo, clip.hi) == RANGE[dtype]
        if isinstance(e, Deq):
            if e.scale == scale and e.zero_point == zero_point and e.q.dtype == dtype and full:
                return replace(e.q, name=name)
            return finish.requantize(self, e, scale, clip, dtype, name)
        floating = DTYPE[dtype] is not DType.INT8
        if not floating and _one_type(e):
            number = self.stored(replace(real, lo=-INF, hi=INF), name + ":number")
            return finish.requantize(self, number, scale, clip, dtype, name)
        if isinstance(e, Linear):
            y = Tensor(name, e.nchw, dtype, float(scale), zero_point)
            factor = (e.x.scale * e.w_scale.astype(np.float32)).astype(np.float32)
            weight, bias = e.weight, e.bias
            if e.tensor.floating:
                weight, bias = filters(weight, e.tensor.dtype), bias / scale
            out = self.emit(Conv(
                node=self.node, x=e.tensor, y=y, weight=weight, bias=bias,
                scale=(factor / scale).astype(np.float32), a_zp=e.x.zero_point, clip=clip,
                stride=e.stride, dilation=e.dilation, pad=e.pad, groups=e.groups,
                counted=e.counted))
        elif isinstance(e, Sum):
            return finish.add(self, e, scale, clip, dtype, name)
        elif isinstance(e, Function):
            return finish.function(self, e, scale, clip, dtype, name)
        elif isinstance(e, Joined):
            shape = canonical(e.which.shape)
            if shape is None:
                raise Unsupported("it concatenates tensors of more than four dimensions")
            if floating:
                e = replace(e, parts=tuple(self.number(p) for p in e.parts))
            return finish.join(self, e, shape, scale, clip, dtype, name)
        else:
            out = finish.window(self, e, scale, clip, dtype, name)
        assert real.index is not None
        return Quantized(name, out.storage, real.index)

    # -- edges ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        for value in self.source.model.graph.output:
            v = self.get(value.name)
            if isinstance(v, Quantized):
                self.crossing[value.name] = v
            elif isinstance(v, Real):
                maker = self.makers.get(value.name)
                allowed = maker is not None and bool({maker.op_type, "all"} & self.allow)
                if self.floats and isinstance(v.expr, Deq) and not allowed:
                    v = Real(self.number(v.expr))
                number = isinstance(v.expr, Deq) and is_number(v.expr)
                if not allowed and not number:
                    op = maker.op_type if maker else "Identity"
                    where = f"node {maker.name!r} ({op})" if maker else f"output {value.name!r}"
                    raise CompileError(
                        where, f"the network's output {value.name!r} is a float value, and the "
                        "machine gives INT8", self.permission(op)
                        if isinstance(v.expr, Deq) else
                        "quantize it (QuantizeLinear and DequantizeLinear behind it)")
                self._leave(value.name, v)
            elif not isinstance(v, Host) or v.early:
                raise CompileError(f"output {value.name!r}", "the machine has nothing to compute "
                                   "for it", "remove the output from the model")
        for name, q in self.crossing.items():
            self.graph.outputs.append(self._output(name, q))
        for s in self.inputs:
            if s.tensor is not None:
                self.graph.inputs.append(Port(s.name, s.tensor, s.shape, s.view, s.perm,
                                              s.tensor.nchw))
        if not self.graph.outputs:
            raise CompileError(self.source.name, "nothing of it runs on the machine",
                               "give a quantized network")

    def _output(self, name: str, q: Quantized) -> Port:
        if not q.index.size:
            raise CompileError(f"output {name!r}", "it has no elements",
                               "remove it from the model")
        tensor = self.settle(q)
        index = q.positions()
        if any(s.tensor is tensor for s in self.inputs):
            tensor = self._copy(q, name)
        view = None
        if index.size == int(np.prod(tensor.nchw)) and (index >= 0).all():
            order = np.full(index.size, -1, np.int32)
            order[index.ravel()] = np.arange(index.size, dtype=np.int32)
            if (order >= 0).all():
                view = as_view(order.reshape(tensor.nchw))
        if view is None:
            shape = canonical(index.shape) or (1, 1, 1, index.size)
            tensor = self.demand(q, q.index.reshape(shape), tensor.zero_point)
            view = as_view(identity(tensor.nchw))
            assert view is not None
        return Port(name, tensor, tuple(index.shape), *view, tensor.nchw)

    def _copy(self, q: Quantized, name: str) -> Tensor:
        x = self.settle(q)
        y = Tensor(name, x.nchw, x.dtype, x.scale, x.zero_point)
        lo, hi = RANGE[x.dtype]
        self.emit(Pool(node=max(self.node, 0), x=x, y=y, maximum=False, a_zp=0,
                       clip=Clip(0, lo, hi),
                       parts=(Part(0, x.nchw[2], 0, x.nchw[3], np.float32(1)),)))
        return y
