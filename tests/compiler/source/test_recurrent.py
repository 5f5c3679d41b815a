# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and RNN step after step: in binary32 as ONNX Runtime's, and on the machine in FP16."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.source import frontend
from compiler.source.recurrent import GATES, unrolled
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime

STEPS, INPUTS, SIZE = 5, 6, 8
WAYS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def cell(kind: str, direction: str = "forward", batch: int = 1, layout: int = 0,
         initial: str = "", bias: bool = True, peepholes: bool = False, lengths: bool = False,
         outputs: int = 2, **attributes) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A network of one such node, and values of its inputs; ``initial`` states are none,
    constants, or inputs."""
    rng, net, ways = np.random.default_rng(6), Net(), WAYS[direction]
    gates = GATES[kind]
    data = {}

    def values(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    def state(name: str) -> str:
        given = values(batch, ways, SIZE) if layout else values(ways, batch, SIZE)
        if initial == "constant":
            return net.constant(given)
        data[name] = given
        return net.input(name, "float32", given.shape)
    data["x"] = values(batch, STEPS, INPUTS) if layout else values(STEPS, batch, INPUTS)
    inputs = [net.input("x", "float32", data["x"].shape),
              net.constant(values(ways, gates * SIZE, INPUTS)),
              net.constant(values(ways, gates * SIZE, SIZE)),
              net.constant(values(ways, 2 * gates * SIZE)) if bias else "",
              net.constant(np.full(batch, STEPS, np.int32)) if lengths else ""]
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    inputs += [state(name) if initial else "" for name in states]
    if peepholes:
        inputs.append(net.constant(values(ways, 3 * SIZE)))
    names = [net.name("y") for _ in range(3 if kind == "LSTM" else 2)][:outputs]
    net.nodes.append(helper.make_node(kind, inputs, names, name="cell", hidden_size=SIZE,
                                      direction=direction, layout=layout, **attributes))
    return net.model(*names, kind="float32"), data


CASES = [
    {}, {"batch": 3}, {"direction": "reverse"}, {"direction": "bidirectional", "batch": 2},
    {"initial": "constant"}, {"initial": "input", "direction": "bidirectional"}, {"bias": False},
    {"lengths": True, "batch": 2}, {"clip": 0.3, "batch": 2}]


def check(kind: str, **options) -> None:
    model, data = cell(kind, **options)
    source = unrolled(frontend.load(model), ())
    assert not any(n.op_type in GATES for n in source.nodes)
    for got, want in zip(onnxruntime(source.model, data), onnxruntime(model, data), strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() < 2e-6


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("options", CASES)
def test_as_onnx_runtime(kind: str, options: dict) -> None:
    check(kind, **options, outputs=3 if kind == "LSTM" else 2)


@pytest.mark.parametrize("options", [
    {"kind": "LSTM", "peepholes": True, "initial": "constant"},
    {"kind": "LSTM", "peepholes": True, "direction": "bidirectional"},
    {"kind": "LSTM", "input_forget": 1, "initial": "constant"},
    {"kind": "LSTM", "activations": ["HardSigmoid", "Relu", "Softsign"],
     "activation_alpha": [0.3], "activation_beta": [0.4]},
    {"kind": "GRU", "linear_before_reset": 1},
    {"kind": "GRU", "linear_before_reset": 1, "initial": "input", "direction": "bidirectional"},
    {"kind": "GRU", "linear_before_reset": 1, "bias": False},
    {"kind": "RNN", "activations": ["LeakyRelu", "Elu"], "activation_alpha": [0.1, 0.7],
     "direction": "bidirectional"}])
def test_variants(options: dict) -> None:
    check(**options)


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind: str) -> None:
    """ONNX Runtime has no such layout: against the other one."""
    for direction in WAYS:
        model, data = cell(kind, direction, batch=2, layout=1, initial="input")
        turned, others = cell(kind, direction, batch=2, initial="input")
        got = onnxruntime(unrolled(frontend.load(model), ()).model, data)
        want = onnxruntime(turned, {k: v.swapaxes(0, 1) for k, v in data.items()})
        assert others.keys() == data.keys()
        np.testing.assert_allclose(got[0], want[0].transpose(2, 0, 1, 3), atol=2e-6)
        np.testing.assert_allclose(got[1], want[1].swapaxes(0, 1), atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("options", [{"initial": "input"}, {"direction": "bidirectional"},
                                     {"batch": 3, "direction": "reverse"}])
def test_on_the_machine(kind: str, options: dict) -> None:
    model, data = cell(kind, **options)
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    assert not any(row["engine"] == "host" for row in program.placement)
    got = Session(program, GoldenDevice(program.config)).run(data).values()
    for mine, want in zip(got, onnxruntime(model, data), strict=True):
        assert np.abs(mine - want).max() < 2e-3 * np.abs(want).max()


def test_what_stays() -> None:
    model, _ = cell("LSTM")
    source = frontend.load(model)
    assert unrolled(source, ("LSTM",)) is source
    model, _ = cell("LSTM", activations=["Affine", "Tanh", "Tanh"], activation_alpha=[0.5])
    with pytest.raises(CompileError, match="'cell' .LSTM.: its weights are not constant, .* or a "
                                           "function that is no operator"):
        compile_model(model, PRESETS["tiny_fp"], precision="fp16")
