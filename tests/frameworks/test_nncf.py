# SPDX-License-Identifier: Apache-2.0
"""Networks that NNCF quantizes."""

import numpy as np
import onnxruntime
import pytest

import makalu
from compiler.source import with_nncf
from compiler.source.frontend import load
from examples.digits import FP32, INPUT, held_out
from tests.compiler.blocks import Block
from tests.compiler.models import onnxruntime as onnxruntime_of

pytest.importorskip("nncf")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_digits_by_nncf():
    images, labels = held_out()
    program = makalu.compile(FP32, "tiny", host=("all",), quantizer="nncf",
                             calibration={INPUT: images[:64]})
    (got,) = makalu.run(program, images[64:96]).values()
    session = onnxruntime.InferenceSession(FP32)
    want = np.concatenate([session.run(None, {INPUT: x[None]})[0] for x in images[64:96]])
    assert 10 * np.log10((want ** 2).sum() / ((want - got) ** 2).sum()) > 25
    assert (got.argmax(1) == labels[64:96]).mean() > 0.9


def test_a_depthwise_network_has_one_scale_a_tensor(tmp_path):
    """NNCF would give what goes into a depthwise convolution a scale for each channel."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU6(),
                              torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.ReLU6(),
                              torch.nn.Conv2d(8, 4, 1)).eval()
    x = torch.rand(8, 3, 12, 12)
    program = makalu.compile(net, "tiny", host=("all",), quantizer="nncf", example_inputs=(x[:1],),
                             calibration={"input": x.numpy()})
    (got,) = makalu.run(program, x.numpy()).values()
    with torch.no_grad():
        want = net(x).numpy()
    assert 10 * np.log10((want ** 2).sum() / ((want - got) ** 2).sum()) > 25


def test_a_transformer_has_the_preset_for_it():
    """Little but its products is quantized, and what is not is computed in FP16."""
    block = Block(tokens=12, heads=2, size=8, inner=32)
    x, samples = block.inputs(99), [block.inputs(seed) for seed in range(8)]
    model = with_nncf.quantize(load(block.model()), samples, islands=True)
    program = makalu.compile(model, "tiny_fp")
    assert program.precision == "mixed"
    assert not [row for row in program.placement if row["engine"] == "host"]
    (got,), (want,) = makalu.run(program, x).values(), onnxruntime_of(model, x)
    assert 10 * np.log10((want ** 2).sum() / ((want - got) ** 2).sum()) > 40
    (truth,) = onnxruntime_of(block.model(), x)
    assert 10 * np.log10((truth ** 2).sum() / ((truth - got) ** 2).sum()) > 20
