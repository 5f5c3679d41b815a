# SPDX-License-Identifier: Apache-2.0
"""Models that are not valid are refused with the node's name, before they cost memory or time."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.presets import PRESETS

TINY = PRESETS["tiny_fp"]


def model(op: str = "Conv", size: int = 8, **attributes: object) -> onnx.ModelProto:
    """One operator with a 3 x 3 window on three channels."""
    inputs = ["x", "weights"] if op == "Conv" else ["x"]
    if op != "Conv":
        attributes = {"kernel_shape": [3, 3], **attributes}
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], name="bad", **attributes)], "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [weights] if op == "Conv" else [])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("attributes,says", [
    ({"strides": [0, 1]}, r"strides is \[0, 1\], and each has to be from 1 to 65535"),
    ({"strides": [1, 1 << 40]}, "strides is"),
    ({"strides": [1, 1, 1]}, "number of axes|and its input has 2 axes"),
    ({"dilations": [1, 0]}, r"dilations is \[1, 0\], and each has to be from 1"),
    ({"dilations": [10**6, 10**6]}, "dilations is"),
    ({"dilations": [1000, 1]}, "a window of 2001 does not fit in 8 and its padding of 0"),
    ({"pads": [-1, 0, 0, 0]}, r"pads is \[-1, 0, 0, 0\], and each has to be from 0 to 65535"),
    ({"pads": [1 << 30] * 4}, "pads is"), ({"pads": [1, 1, 1]}, "pads is not a list with 2"),
    ({"kernel_shape": [0, 3]}, "kernel_shape is"), ({"kernel_shape": [1 << 30] * 2}, "kernel_shap"),
    ({"auto_pad": "WRONG"}, "auto_pad is"), ({"kernel_shape": [9, 9]}, "kernel_shape is|does not")])
def test_windows(op: str, attributes: dict[str, object], says: str) -> None:
    with pytest.raises(CompileError, match=rf"node 'bad' \({op}\): .*({says}).*; export the model"):
        compile_model(model(op, **attributes), TINY, precision="fp16", allow_host=("all",))


@pytest.mark.parametrize("attributes,says", [
    ({"group": 0}, "group is 0, and has to be 1 or more"),
    ({"group": -1}, "group is -1, and has to be 1 or more"),
    ({"group": 2}, r"weights of \[4, 3, 3, 3\] do not fit 3 channels in 2 groups"),
    ({"kernel_shape": [2, 2]}, r"kernel_shape is \[2, 2\], and the weights are \[4, 3, 3, 3\]")])
def test_weights(attributes: dict[str, object], says: str) -> None:
    with pytest.raises(CompileError, match=rf"node 'bad' \(Conv\): {says}; export the model again"):
        compile_model(model(**attributes), TINY, precision="fp16")


@pytest.mark.parametrize("size", [1 << 20, 1 << 40])
def test_values_that_fit_in_no_memory(size: int) -> None:
    with pytest.raises(CompileError, match="value '[xy]': it has [0-9,]* elements, and 268"):
        compile_model(model(size=size), TINY, precision="fp16")


@pytest.mark.parametrize("old,new", [(b"bad", b"\xff\xfe\x80"), (b"weights", b"weight\xff"),
                                     (b"\x01x", b"\x01\xff"), (b"net", b"n\xfft")])
def test_names_that_are_no_text(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model().SerializeToString().replace(old, new))
    with pytest.raises(CompileError, match="net: the name .* in it is not UTF-8; export the model"):
        compile_model(path, TINY, precision="fp16")


def test_what_is_valid_compiles() -> None:
    for attributes in ({}, {"strides": [2, 1], "pads": [1, 0, 2, 0], "dilations": [2, 1]},
                       {"auto_pad": "SAME_UPPER"}, {"kernel_shape": [3, 3], "group": 1}):
        compile_model(model(**attributes), TINY, precision="fp16")
