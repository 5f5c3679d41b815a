# SPDX-License-Identifier: Apache-2.0
"""A small residual network with its gradients, in numpy, and its export to ONNX.

    16x16x1 -conv 3x3/2-> 8x8x32 -[dw 3x3, 1x1, +]-> -conv 3x3/2-> 4x4x64 -[dw 3x3, 1x1, +]->
    -> average -> 64 -fully connected-> 10

Activations are ``[N, H, W, C]``; every layer keeps what its backward pass needs.
"""

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

KERNEL = 3


class Conv:
    """Convolution 3x3 (padding 1) or 1x1, dense or depthwise.

    Weights are ``[K, K, Cin, Cout]``, or ``[K, K, C]`` for depthwise.
    """

    def __init__(self, rng: np.random.Generator, cin: int, cout: int, kernel: int = KERNEL,
                 stride: int = 1, depthwise: bool = False):
        fan = kernel * kernel * (1 if depthwise else cin)
        shape = (kernel, kernel, cin) if depthwise else (kernel, kernel, cin, cout)
        self.weight = (rng.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)
        self.bias = np.zeros(cout, np.float32)
        self.kernel, self.stride, self.depthwise = kernel, stride, depthwise
        self.formula = ("nhwcrs,rsc->nhwc", "nhwcrs,nhwc->rsc", "nhwc,rsc->nhwcrs") if depthwise \
            else ("nhwcrs,rsco->nhwo", "nhwcrs,nhwo->rsco", "nhwo,rsco->nhwcrs")

    def forward(self, x: np.ndarray) -> np.ndarray:
        p = self.kernel // 2
        self.padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        windows = sliding_window_view(self.padded, (self.kernel, self.kernel), axis=(1, 2))
        self.windows = windows[:, ::self.stride, ::self.stride]
        return np.einsum(self.formula[0], self.windows, self.weight, optimize=True) + self.bias

    def backward(self, g: np.ndarray) -> np.ndarray:
        self.grads = (np.einsum(self.formula[1], self.windows, g, optimize=True),
                      g.sum(axis=(0, 1, 2)))
        taps = np.einsum(self.formula[2], g, self.weight, optimize=True)
        back = np.zeros_like(self.padded)
        s, (_, h, w, _) = self.stride, g.shape
        for r in range(self.kernel):
            for c in range(self.kernel):
                back[:, r:r + s * h:s, c:c + s * w:s] += taps[..., r, c]
        p = self.kernel // 2
        return back[:, p:back.shape[1] - p, p:back.shape[2] - p]


class Linear:
    """Fully connected layer; weights ``[in, out]``."""

    def __init__(self, rng: np.random.Generator, cin: int, cout: int):
        self.weight = (rng.standard_normal((cin, cout)) * np.sqrt(1 / cin)).astype(np.float32)
        self.bias = np.zeros(cout, np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, g: np.ndarray) -> np.ndarray:
        self.grads = (self.x.T @ g, g.sum(axis=0))
        return g @ self.weight.T


class Relu:
    def forward(self, x: np.ndarray) -> np.ndarray:
        self.on = x > 0
        return x * self.on

    def backward(self, g: np.ndarray) -> np.ndarray:
        return g * self.on


class Residual:
    """``relu(x + pointwise(relu(depthwise(x))))``."""

    def __init__(self, rng: np.random.Generator, channels: int):
        self.inner = [Conv(rng, channels, channels, depthwise=True), Relu(),
                      Conv(rng, channels, channels, kernel=1)]
        self.relu = Relu()

    def forward(self, x: np.ndarray) -> np.ndarray:
        y = x
        for layer in self.inner:
            y = layer.forward(y)
        return self.relu.forward(x + y)

    def backward(self, g: np.ndarray) -> np.ndarray:
        g = inner = self.relu.backward(g)
        for layer in reversed(self.inner):
            inner = layer.backward(inner)
        return g + inner


class Average:
    """Mean over the picture."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, g: np.ndarray) -> np.ndarray:
        n, h, w, c = self.shape
        return np.broadcast_to(g[:, None, None] / (h * w), self.shape).astype(np.float32)


class Network:
    """The whole network; ``channels`` of its two stages."""

    def __init__(self, rng: np.random.Generator, channels: tuple[int, int] = (32, 64),
                 classes: int = 10):
        a, b = channels
        self.layers = [Conv(rng, 1, a, stride=2), Relu(), Residual(rng, a),
                       Conv(rng, a, b, stride=2), Relu(), Residual(rng, b),
                       Average(), Linear(rng, b, classes)]

    def forward(self, images: np.ndarray) -> np.ndarray:
        """Logits [N, 10] of float32 [N, 1, H, W]."""
        x = images.transpose(0, 2, 3, 1)
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, g: np.ndarray) -> None:
        for layer in reversed(self.layers):
            g = layer.backward(g)

    def learners(self) -> list[Conv | Linear]:
        """Layers with weights."""
        flat = [inner for layer in self.layers
                for inner in (layer.inner if isinstance(layer, Residual) else [layer])]
        return [layer for layer in flat if isinstance(layer, Conv | Linear)]


class Exporter:
    """The network as an ONNX graph of standard operators."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def layer(self, layer: object, x: str, name: str) -> str:
        """Append one layer behind tensor ``x``; returns its output."""
        match layer:
            case Conv():
                w = layer.weight[..., None, :] if layer.depthwise else layer.weight
                pad = layer.kernel // 2
                return self.add("Conv", x, self.constant(f"{name}.weight", w.transpose(3, 2, 0, 1)),
                                self.constant(f"{name}.bias", layer.bias), name=name,
                                kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2,
                                pads=[pad] * 4, group=w.shape[3] if layer.depthwise else 1)
            case Relu():
                return self.add("Relu", x, name=f"{name}_relu")
            case Residual():
                y = x
                for inner, part in zip(layer.inner, ("_dw", "_dw", "_pw"), strict=True):
                    y = self.layer(inner, y, name + part)
                return self.add("Relu", self.add("Add", y, x, name=f"{name}_add"),
                                name=f"{name}_relu")
            case Average():
                pooled = self.add("GlobalAveragePool", x, name=f"{name}_pool")
                return self.add("Flatten", pooled, name=f"{name}_flat")
            case Linear():
                return self.add("Gemm", x, self.constant(f"{name}.weight", layer.weight.T),
                                self.constant(f"{name}.bias", layer.bias), name=name, transB=1)
        raise TypeError(layer)


def export(network: Network, input_name: str, output_name: str, size: int) -> onnx.ModelProto:
    """The network for any batch of ``size`` x ``size`` pictures, opset 20."""
    e = Exporter()
    x = input_name
    names = ("conv1", "conv1", "block1", "conv2", "conv2", "block2", "head", output_name)
    for layer, name in zip(network.layers, names, strict=True):
        x = e.layer(layer, x, name)
    graph = helper.make_graph(
        e.nodes, "digits",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", 10])], e.weights)
    model = helper.make_model(graph, producer_name="makalu",
                              opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
