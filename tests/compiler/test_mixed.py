# SPDX-License-Identifier: Apache-2.0
"""Mixed networks against ONNX Runtime, which computes the kept layers in FP32; and the choice of
the layers."""

from collections.abc import Collection

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from compiler.source import frontend
from compiler.source.mixed import Recipe
from compiler.source.quantize import quantize, samples
from compiler.source.sensitivity import Goal, Meter, choose
from isa.presets import PRESETS
from isa.program import Program
from makalu.measure.witness import open_session
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net

MACHINES = [name for name, config in PRESETS.items() if config.floats]
SHAPE = (1, 5, 12, 11)


def network(seed: int = 0) -> onnx.ModelProto:
    """Every operator that can be a layer, with a value that is read twice, and moves between."""
    rng, net = np.random.default_rng(seed), Net()

    def conv(x: str, k: int, c: int, r: int, groups: int = 1) -> str:
        w = rng.standard_normal((k, c // groups, r, r)) / (r * (c / groups) ** 0.5)
        return net.op("Conv", x, net.constant(w.astype(np.float32)),
                      net.constant(rng.standard_normal(k).astype(np.float32)),
                      pads=[r // 2] * 4, group=groups)

    a = net.op("Relu", conv(net.input("x", "float32", SHAPE), 20, 5, 3))
    b = net.op("Relu", conv(a, 20, 20, 3, groups=20))
    c = net.op("Relu", net.op("Add", conv(b, 20, 20, 1), a))
    d = net.op("MaxPool", c, kernel_shape=[2, 2], strides=[2, 2])
    e = net.op("Concat", net.op("Clip", conv(d, 12, 20, 3), net.constant(np.float32(0)),
                                net.constant(np.float32(2))), d, axis=1)
    f = net.op("AveragePool", e, kernel_shape=[2, 2], strides=[2, 2])
    g = net.op("Flatten", f)
    w = rng.standard_normal((32 * 3 * 2, 10)).astype(np.float32) / 14
    y = net.op("Gemm", g, net.constant(w), net.constant(rng.standard_normal(10).astype(np.float32)))
    return net.model(y, kind="float32")


def data(count: int = 12) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(9).standard_normal((count, *SHAPE[1:])).astype(np.float32)}


def recipe(model: onnx.ModelProto) -> Recipe:
    return Recipe.of(*quantize(frontend.load(model), data()))


def compiled(model: onnx.ModelProto, machine: str, kept: Collection[str]) -> Program:
    return compile_model(model, PRESETS[machine], precision="mixed", calibration=data(),
                         allow_host={"QuantizeLinear"}, keep=dict.fromkeys(kept, "fp16"))


def outputs(program: Program, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(Session(program, GoldenDevice(program.config)).run(inputs).values()))


def variants(layers: list[str]) -> list[list[str]]:
    """None kept, each alone, all but one (every second one), all, and every second one."""
    return [[], *([layer] for layer in layers), *([k for k in layers if k != layer]
                                                 for layer in layers[::2]), layers, layers[::2]]


def test_any_layers() -> None:
    """As ONNX Runtime has it, but for the rounding to 16 bits, which now and then moves a value
    that is quantized later by a step."""
    model = network()
    made = recipe(model)
    assert sorted(made.layers.values()) == ["Add", "AveragePool", "Concat", *["Conv"] * 4, "Gemm",
                                            "MaxPool"]
    for kept in variants(list(made.layers)):
        program = compiled(model, "core256_fp", kept)
        assert program.precision == "mixed"
        assert [c["type"] for c in program.choices] == [
            "fp16" if layer in kept else "int8" for layer in made.layers]
        session = open_session(made.compose(kept))
        want = np.concatenate([session.run(None, {"x": x[None]})[0] for x in data()["x"]])
        got = outputs(program, data())
        noise = 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum())
        assert noise > (60 if len(kept) == len(made.layers) else 38), (kept, noise)


@pytest.mark.parametrize("seed", range(2))
def test_same_bits_on_every_machine(seed: int) -> None:
    model = network(seed)
    layers = list(recipe(model).layers)
    kept = [k for k in layers if np.random.default_rng(seed).random() < 0.5] + layers[1:2]
    results = [outputs(compiled(model, machine, kept), data(2)) for machine in MACHINES]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_a_value_that_is_moved_and_read_in_second_place() -> None:
    """It is quantized once, in front of what moves it; every reader keeps its other operands."""
    rng, net = np.random.default_rng(5), Net()
    weights = [net.constant(rng.standard_normal((8, c, 1, 1)).astype(np.float32) / 2)
               for c in (5, 8, 16)]
    a = net.op("Relu", net.op("Conv", net.input("x", "float32", (1, 5, 6, 6)), weights[0]))
    b = net.op("Conv", net.op("Transpose", a, perm=[0, 1, 3, 2]), weights[1])
    model = net.model(net.op("Conv", net.op("Concat", b, a, axis=1), weights[2]), kind="float32")
    x = {"x": rng.standard_normal((4, 5, 6, 6)).astype(np.float32)}
    made = Recipe.of(*quantize(frontend.load(model), x))
    composed = made.compose([])
    assert sum(n.op_type == "QuantizeLinear" for n in composed.graph.node) == 4
    program = compile_model(model, PRESETS["core256_fp"], precision="mixed", calibration=x,
                            allow_host={"QuantizeLinear"}, keep={})
    want = np.concatenate([open_session(composed).run(None, {"x": v[None]})[0] for v in x["x"]])
    got = outputs(program, x)
    # an operand that is lost or another one's would leave no signal; some integers differ by one
    assert 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum()) > 30


def test_types_of_layers_are_in_the_program() -> None:
    """A layer of numbers counts twice in the roofline; the table survives the file."""
    model = network()
    layers = list(recipe(model).layers)
    none, every = (compiled(model, "core256_fp", kept) for kept in ([], layers))
    assert (none.multiplications, every.multiplications) == (none.macs, 2 * none.macs)
    assert Program.from_bytes(every.to_bytes()).choices == every.choices


def test_the_fewest_layers_that_meet_the_goal() -> None:
    model = network()
    made, inputs = recipe(model), list(samples(frontend.load(model), data()))
    meter = Meter(made, inputs)
    nothing, least = meter([]), meter(list(made.layers)[:1])
    said: list[str] = []
    assert all(c["type"] == "int8" for c in choose(made, inputs, Goal(nothing.sqnr - 1)))
    goal = Goal(max(nothing.sqnr, least.sqnr) + 3)
    rows = choose(made, inputs, goal, said.append)
    kept = [r["layer"] for r in rows if r["type"] == "fp16"]
    assert [r["layer"] for r in rows] == list(made.layers) and 0 < len(kept) < len(rows)
    assert meter(kept).sqnr >= goal.sqnr
    for layer in kept:
        assert meter([k for k in kept if k != layer]).sqnr < goal.sqnr
    assert len(said) > len(rows)
    for row in rows:
        alone = meter([other for other in made.layers if other != row["layer"]])
        assert float(row["sqnr_alone"]) == pytest.approx(alone.sqnr, abs=0.06)
    program = compile_model(model, PRESETS["core256_fp"], precision="mixed", calibration=data(),
                            allow_host={"QuantizeLinear"}, goal=goal)
    assert program.choices == rows


def test_a_goal_that_fp16_misses() -> None:
    """Said with what is reached, which is what the golden model has within a dB."""
    model = network()
    made, inputs = recipe(model), list(samples(frontend.load(model), data()))
    every = list(made.layers)
    measured = Meter(made, inputs)(every).sqnr
    want = np.concatenate([open_session(model).run(None, {"x": x[None]})[0] for x in data()["x"]])
    got = outputs(compiled(model, "core256_fp", every), data())
    reached = 10 * np.log10((want ** 2).sum() / ((got - want) ** 2).sum())
    assert abs(measured - reached) < 1
    with pytest.raises(CompileError, match=rf"it reaches {measured:.1f} dB, .*"
                                           r"the goal, 120 dB, is missed"):
        choose(made, inputs, Goal(120))


def test_agreement() -> None:
    model = network()
    made, inputs = recipe(model), list(samples(frontend.load(model), data()))
    rows = choose(made, inputs, Goal(agreement=1.0))
    assert Meter(made, inputs)([r["layer"] for r in rows if r["type"] != "int8"]).agreement == 1


def test_quantized_models_with_layers_that_are_not() -> None:
    """What is not quantized is computed in FP16."""
    model = network()
    made = recipe(model)
    composed = made.compose(list(made.layers)[:3])
    with pytest.raises(CompileError):
        compile_model(composed, PRESETS["core256_fp"], allow_host={"QuantizeLinear"})
    program = compile_model(composed, PRESETS["core256_fp"], precision="mixed",
                            allow_host={"QuantizeLinear"})
    by_hand = compiled(model, "core256_fp", list(made.layers)[:3])
    np.testing.assert_array_equal(outputs(program, data(2)), outputs(by_hand, data(2)))


@pytest.mark.parametrize("keep,machine,text", [
    ({"nobody": "fp16"}, "core256_fp", "no such layer"),
    ({"conv_3": "fp32"}, "core256_fp", "no such type"),
    ({"conv_3": "fp16"}, "core256", "has no fp16"),
    (None, "core256", "has no fp16")])
def test_refused(keep: dict[str, str] | None, machine: str, text: str) -> None:
    with pytest.raises(CompileError, match=text):
        compile_model(network(), PRESETS[machine], precision="mixed", calibration=data(),
                      allow_host={"all"}, keep=keep)


def test_one_type_of_floats() -> None:
    layers = list(recipe(network()).layers)
    with pytest.raises(CompileError, match="one type of floats"):
        compile_model(network(), PRESETS["core256_fp"], precision="mixed", calibration=data(),
                      keep={layers[0]: "fp16", layers[1]: "bf16"})
    program = compile_model(network(), PRESETS["core256_fp"], precision="mixed",
                            calibration=data(), allow_host={"all"}, keep={layers[0]: "bf16"})
    assert {c["type"] for c in program.choices} == {"int8", "bf16"}
