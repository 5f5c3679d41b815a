# SPDX-License-Identifier: Apache-2.0
"""Whole networks against ONNX Runtime, as a whole and node by node on the same inputs.

The models are not part of the project: ``MAKALU_MODELS`` names their folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import compile_model
from isa.presets import INTEGER, PRESETS
from makalu.measure.nodes import compare_nodes, is_exact, with_outputs
from tests.compiler.models import execute, onnxruntime

FOLDER = os.environ.get("MAKALU_MODELS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="MAKALU_MODELS names no folder of models")

FILES = {"resnet8": "ic_resnet8/ic_resnet8_int8_qdq.onnx",
         "dscnn": "kws_dscnn/kws_dscnn_int8_qdq.onnx",
         "mobilenet": "mobilenet_v1_025_128/mobilenet_v1_025_128_uint8_qdq.onnx"}


def load(name: str) -> onnx.ModelProto:
    model = onnx.load(Path(FOLDER) / FILES[name])
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def samples(name: str, model: onnx.ModelProto, count: int) -> Iterator[np.ndarray]:
    """Real features for the keyword network, smooth random images for the others."""
    tensor = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in tensor.shape.dim]
    rng = np.random.default_rng(0)
    for i in range(count):
        if name == "dscnn":
            yield np.load(Path(FOLDER) / "kws_dscnn/mfcc_400.npz")["mfcc"][i:i + 1]
            continue
        step = shape[1] // 8
        coarse = rng.integers(0, 256, (1, 8, 8, 3)).repeat(step, 1).repeat(step, 2)
        image = (coarse + rng.integers(-20, 20, shape)).clip(0, 255)
        yield image.astype(np.uint8) if tensor.elem_type == 2 else (image - 128).astype(np.int8)


@pytest.mark.parametrize("machine", [c.name for c in INTEGER])
@pytest.mark.parametrize("name", list(FILES))
def test_network(name: str, machine: str) -> None:
    model = load(name)
    program = compile_model(model, PRESETS[machine], allow_host={"Softmax"})
    # with its edges on the host the program's output are the logits
    witness = with_outputs(model, [b.name for b in program.outputs])
    for x in samples(name, model, 1 if machine == "tiny" else 2):
        got, = execute(program, {program.inputs[0].name: x}).values()
        want, = onnxruntime(witness, {model.graph.input[0].name: x})
        assert got.argmax() == want.argmax()
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 2


def test_conv_and_matmul_nodes_equal_qlinear() -> None:
    """Convolutions of the networks as ONNX Runtime's fused integer operators: no mismatch."""
    for name in FILES:
        model = load(name)
        feeds = ({model.graph.input[0].name: x} for x in samples(name, model, 1))
        found = compare_nodes(model, feeds, PRESETS["core256"])
        assert found["Softmax"].reason and not found["Softmax"].elements
        for kind, tally in found.items():
            assert kind == "Softmax" or tally.elements, (name, kind, tally)
            assert tally.largest <= 1, (name, kind, tally)
            if is_exact(kind):
                assert tally.different == 0, (name, kind, tally)
            elif kind.startswith("Add"):
                assert tally.different <= tally.elements / 1000, (name, kind, tally)
            # a mean over 2**k elements of equal scale ties in one element of 2**k, and ONNX
            # Runtime's float sum then falls on either side
