# SPDX-License-Identifier: Apache-2.0
"""Small quantized ONNX models, an exact reference for their arithmetic, and a run on the golden
model: what the compiler's tests share."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler import compile_model
from golden.machine import Machine
from isa.config import Config
from isa.instructions import Region
from isa.layout import pack, unpack
from isa.program import Program
from makalu.measure.witness import Arithmetic, open_session

KIND = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT,
        "int64": TensorProto.INT64}
RANGE = {"int8": (-128, 127), "uint8": (0, 255)}


class Net:
    """A QDQ graph under construction; methods return value names."""

    def __init__(self, opset: int = 20):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.opset, self.count = opset, 0

    def name(self, base: str) -> str:
        self.count += 1
        return f"{base}_{self.count}"

    def constant(self, value: np.ndarray) -> str:
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def input(self, name: str, dtype: str, shape: Sequence) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, KIND[dtype], list(shape)))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes) -> str:
        names = [self.name(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0],
                                           domain=domain, **attributes))
        return names[0]

    def dq(self, x: str, scale, zero, dtype: str, axis: int | None = None) -> str:
        at = {} if axis is None else {"axis": axis}
        return self.op("DequantizeLinear", x, self.constant(np.float32(scale)),
                       self.constant(np.asarray(zero, dtype)), **at)

    def q(self, x: str, scale, zero, dtype: str) -> str:
        return self.op("QuantizeLinear", x, self.constant(np.float32(scale)),
                       self.constant(np.asarray(zero, dtype)))

    def weights(self, values: np.ndarray, scale, zero=0, axis: int | None = None) -> str:
        zero = np.broadcast_to(np.asarray(zero, values.dtype), np.shape(scale))
        return self.dq(self.constant(values), scale, zero, str(values.dtype), axis)

    def model(self, *outputs: str, kind: str = "int8", shape=None) -> onnx.ModelProto:
        out = [helper.make_tensor_value_info(o, KIND[kind], shape) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, out, self.constants)
        model = helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)])
        return onnx.shape_inference.infer_shapes(model) if shape is None else model


def execute(program: Program, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The program's outputs by the golden model, from its file."""
    program = Program.from_bytes(program.to_bytes())
    lanes = program.config.lanes
    memory = np.zeros(program.region_sizes[Region.INPUT], np.uint8)
    for b in program.inputs:
        memory[b.offset:b.offset + b.size] = pack(b, inputs[b.name], lanes)
    sizes = {Region(k): v for k, v in program.region_sizes.items()}
    out = Machine(program.config).run(program.image, memory, sizes)
    return {b.name: unpack(b, out[b.offset:b.offset + b.size], lanes) for b in program.outputs}


def run(model: onnx.ModelProto, config: Config, inputs: dict[str, np.ndarray], **options
        ) -> list[np.ndarray]:
    """Compile and execute; the outputs in order."""
    return list(execute(compile_model(model, config, **options), inputs).values())


def onnxruntime(model: onnx.ModelProto, inputs: dict[str, np.ndarray], fuse: bool = False
                ) -> list[np.ndarray]:
    """ONNX Runtime on one thread: its float chain, or with ``fuse`` its integer operators."""
    arithmetic = Arithmetic.INTEGER if fuse else Arithmetic.FLOAT
    return open_session(model, arithmetic).run(None, inputs)


def requantized(acc: np.ndarray, scale: np.ndarray, zero: int, low: int, high: int) -> np.ndarray:
    """``clip(rint(f32(f32(acc) * scale)) + zero)``: the numeric contract."""
    product = (acc.astype(np.float32) * scale.astype(np.float32)).astype(np.float64)
    return np.clip(np.rint(product) + zero, low, high).astype(np.int64)


def convolved(x: np.ndarray, w: np.ndarray, stride: Sequence[int], dilation: Sequence[int],
              pads: Sequence[int], groups: int) -> np.ndarray:
    """Exact integer convolution of zero-point-free NCHW ``x`` and ``w`` [K, C / groups, R, S]."""
    top, left, bottom, right = pads
    x = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, c, h, wd = x.shape
    k, cg, r, s = w.shape
    oh = (h - dilation[0] * (r - 1) - 1) // stride[0] + 1
    ow = (wd - dilation[1] * (s - 1) - 1) // stride[1] + 1
    out = np.zeros((n, k, oh, ow), np.int64)
    per = k // groups
    for g in range(groups):
        part = x[:, g * cg:(g + 1) * cg]
        for i in range(r):
            for j in range(s):
                y0, x0 = i * dilation[0], j * dilation[1]
                tap = part[:, :, y0:y0 + (oh - 1) * stride[0] + 1:stride[0],
                           x0:x0 + (ow - 1) * stride[1] + 1:stride[1]]
                out[:, g * per:(g + 1) * per] += np.einsum(
                    "nchw,kc->nkhw", tap, w[g * per:(g + 1) * per, :, i, j].astype(np.int64))
    return out
