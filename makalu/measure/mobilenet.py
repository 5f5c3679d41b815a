# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 of true structure with seeded weights, in FP32.

Weights are normal with variance 2 / fan-in, biases small, as in :mod:`makalu.measure.light`; each
value comes from a generator seeded by its name. Normalizations are folded.
"""

import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.ports import Port

OPSET, IR_VERSION = 13, 8
INPUT, CLASSES = Port("x", np.dtype(np.float32), (1, 3, 224, 224)), 1000
STEM, HEAD = 32, 1280
"""Channels of the first convolution and of the last one."""

BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and first stride of each stage."""


class _Net:
    """Nodes and weights while the network is written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def parameters(self, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
        """Weights and biases of a layer."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        weight = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return (self.constant(f"{name}.weight", weight),
                self.constant(f"{name}.bias", rng.uniform(-0.1, 0.1, shape[0])))

    def conv(self, x: str, given: int, made: int, name: str, *, kernel: int = 1, stride: int = 1,
             groups: int = 1, clip: bool = True) -> str:
        """A convolution, and the clip behind it."""
        shape = made, given // groups, kernel, kernel
        y = self.node("Conv", x, *self.parameters(name, shape), name=name, group=groups,
                      kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        return self.node("Clip", y, "zero", "six", name=f"{name}.clip") if clip else y

    def block(self, x: str, given: int, made: int, wider: int, stride: int, name: str) -> str:
        """An inverted residual."""
        wide, y = given * wider, x
        if wider > 1:
            y = self.conv(y, given, wide, f"{name}.expand")
        y = self.conv(y, wide, wide, f"{name}.depthwise", kernel=3, stride=stride, groups=wide)
        y = self.conv(y, wide, made, f"{name}.project", clip=False)
        return self.node("Add", x, y, name=f"{name}.add") if stride == 1 and given == made else y


def mobilenet_v2() -> onnx.ModelProto:
    """The network: ``x`` float32 [1, 3, 224, 224] to ``logits`` float32 [1, 1000]."""
    net = _Net()
    net.constant("zero", np.zeros(()))
    net.constant("six", np.full((), 6))
    y, channels = net.conv(INPUT.name, 3, STEM, "stem", kernel=3, stride=2), STEM
    for stage, (wider, made, count, stride) in enumerate(BLOCKS):
        for k in range(count):
            y = net.block(y, channels, made, wider, stride if k == 0 else 1, f"stage{stage}.{k}")
            channels = made
    y = net.node("GlobalAveragePool", net.conv(y, channels, HEAD, "head"), name="pool")
    y = net.node("Flatten", y, name="flat")
    net.node("Gemm", y, *net.parameters("classes", (CLASSES, HEAD)), name="logits", transB=1)
    graph = helper.make_graph(
        net.nodes, "mobilenet_v2",
        [helper.make_tensor_value_info(INPUT.name, TensorProto.FLOAT, INPUT.shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, CLASSES))], net.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR_VERSION)
