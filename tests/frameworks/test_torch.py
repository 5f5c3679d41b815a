# SPDX-License-Identifier: Apache-2.0
"""PyTorch: exported programs, modules in memory, and ``torch.compile``."""

import json
import subprocess
import sys

import onnx
import pytest

import makalu
from compiler.source.imports import foreign
from compiler.source.imports.foreign import take
from compiler.source.imports.formats import Format

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    """Convolution, normalization, mean and a linear layer."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1),
                                            torch.nn.BatchNorm2d(8))
        self.head = torch.nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.features(x)).mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    for _ in range(3):      # running means
        net(torch.randn(4, 3, 8, 8))
    return net.eval()


@pytest.fixture(autouse=True)
def fresh():
    """No graph of another test."""
    torch._dynamo.reset()


def near(got, want, bound):
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= bound * float(want.abs().max())


def exported(net, path):
    torch.export.save(torch.export.export(net, (torch.randn(1, 3, 8, 8),)), path)
    return path


def test_an_exported_program_equals_the_original(net, tmp_path):
    taken = take(exported(net, tmp_path / "net.pt2"), Format.TORCH)
    assert "equals the original on seeded inputs" in taken.said


def test_what_differs_is_named_with_its_module(net, tmp_path, monkeypatch):
    """A bias that the conversion loses."""
    run = subprocess.run

    def loses(command, **options):
        done = run(command, **options)
        folder = json.loads(options["input"])["folder"]
        model = onnx.load(f"{folder}/model.onnx")
        gemm = next(n for n in model.graph.node if n.op_type == "Gemm")
        del gemm.input[2:]
        onnx.save(model, f"{folder}/model.onnx")
        return done

    monkeypatch.setattr(foreign.subprocess, "run", loses)
    with pytest.raises(makalu.CompileError, match="'linear' of module 'head'"):
        take(exported(net, tmp_path / "net.pt2"), Format.TORCH)


def test_a_module_compiles_with_example_inputs(net):
    x = torch.randn(2, 3, 8, 8)
    said = []
    program = makalu.compile(net, "tiny_fp", precision="fp16", host=("all",), say=said.append,
                             example_inputs=(x,))
    assert program.name == "Net" and "equals the original" in said[0]
    (got,) = makalu.run(program, x.numpy()).values()
    with torch.no_grad():
        near(torch.from_numpy(got), net(x), 5e-3)


@pytest.mark.parametrize("change, options, words", [
    (lambda n: n, {}, "give example_inputs"),
    (lambda n: n.train(), {"example_inputs": (torch.zeros(1, 3, 8, 8),)}, r"call module.eval\(\)"),
    (lambda n: n, {"example_inputs": (torch.zeros(1, 4, 8, 8),)}, "torch.export does not take it"),
])
def test_modules_that_are_refused(net, change, options, words):
    with pytest.raises(makalu.CompileError, match=words):
        makalu.compile(change(net), "tiny_fp", precision="fp16", **options)


OPTIONS = {"config": "tiny_fp"}


def test_torch_compile_in_fp16_for_several_batches(net):
    quick = torch.compile(net, backend="makalu", options=OPTIONS)
    with torch.no_grad():
        for batch in (2, 3, 2):
            x = torch.randn(batch, 3, 8, 8)
            near(quick(x), net(x), 5e-3)


def test_torch_compile_in_int8(net):
    samples = [(torch.randn(2, 3, 8, 8),) for _ in range(8)]
    quick = torch.compile(net, backend="makalu", options={
        "config": "tiny", "precision": "int8", "calibration": samples})
    with torch.no_grad():
        near(quick(samples[0][0]), net(samples[0][0]), 0.1)


def test_changed_weights_are_seen(net):
    quick = torch.compile(net, backend="makalu", options=OPTIONS)
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        quick(x)
        net.head.weight.mul_(-2)
        near(quick(x), net(x), 5e-3)


def test_gradients_and_unknown_options_are_refused(net):
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(Exception, match=r"under torch.no_grad\(\)"):
        torch.compile(net, backend="makalu", options=OPTIONS)(x)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="option 'device_name' is not known"), torch.no_grad():
        torch.compile(net, backend="makalu", options={"device_name": "x"})(x)


def test_the_core_does_not_import_torch():
    code = "import makalu.api, compiler, makalu.models, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
