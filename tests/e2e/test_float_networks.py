# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16 networks on the simulated hardware: the bits that they have to give, whatever the
memory does."""

import numpy as np
import pytest

from compiler import compile_model
from isa.instructions import Opcode
from isa.presets import PRESETS
from isa.registers import EXCEPTIONS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.models import Net
from tests.compiler.source.test_recurrent import cell
from tests.compiler.test_floats import TYPES, residual, separable
from tests.compiler.test_mixed import compiled, data, network, recipe


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("make", [residual, separable])
@pytest.mark.parametrize("machine", ["tiny_fp", *(
    pytest.param(name, marks=pytest.mark.long) for name in ("core256_fp", "core1024_fp"))])
def test_network(machine: str, make, precision: str) -> None:
    """The same bits on every machine, those of exact sums, rounded."""
    config = PRESETS[machine]
    n = make(precision, 1)
    program = compile_model(n.model(), config, precision=precision)
    for dram in (DramModel(), DramModel(stall=0.3, seed=3)):
        session = Session(program, RtlDevice(config, dram=dram))
        out, = session.run(n.data).values()
        np.testing.assert_array_equal(out, n.value)
        assert not any(session.counters[0][name] for name in EXCEPTIONS)


@pytest.mark.parametrize("precision", TYPES)
def test_functions_and_moves(precision: str) -> None:
    """Squeeze and excite, joined, reordered, normalized: as the golden model, with stalls and
    without."""
    shape = (1, 10, 6, 5)
    net = Net()
    x = net.input("x", "float32", shape)
    both = net.op("Concat", net.op("HardSwish", x), net.op("Tanh", x), axis=1)
    gate = net.op("Sigmoid", net.op("GlobalAveragePool", both))
    y = net.op("Transpose", net.op("LeakyRelu", net.op("Mul", both, gate)), perm=[0, 2, 3, 1])
    y = net.op("Softmax", net.op("Exp", y), axis=2)
    program = compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision=precision)
    data = {"x": np.random.default_rng(4).standard_normal(shape).astype(np.float32)}
    want = Session(program, GoldenDevice(program.config)).run(data)[y]
    assert len(np.unique(want)) > 100
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(data)[y]
        np.testing.assert_array_equal(got, want)


def test_int8_weights() -> None:
    """With kernels of several taps, strips of rows, a residual: as the golden model."""
    rng, net = np.random.default_rng(6), Net()
    x = net.input("x", "float32", (1, 8, 9, 7))

    def conv(value: str, outputs: int, kernel: int) -> str:
        weight = rng.standard_normal((outputs, 8, kernel, kernel)).astype(np.float32) / 8
        return net.op("Conv", value, net.constant(weight), pads=[kernel // 2] * 4)

    a = net.op("Relu", conv(x, 8, 3))
    y = conv(net.op("Add", conv(a, 8, 1), x), 13, 3)
    program = compile_model(net.model(y, kind="float32"), PRESETS["tiny_fp"], precision="w8")
    assert all(i.w_type for i in program.instructions() if i.opcode is Opcode.TENSOR)
    data = {"x": rng.standard_normal((1, 8, 9, 7)).astype(np.float32)}
    want = Session(program, GoldenDevice(program.config)).run(data)[y]
    assert len(np.unique(want)) > 100
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(data)[y]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("machine,precision", [("tiny", "int8"), ("tiny_fp", "fp16")])
def test_constants_beside_the_weights(machine: str, precision: str) -> None:
    """Operands that lie behind the instructions, in DRAM: as the golden model."""
    shape, rng, net = (1, 7, 9, 8), np.random.default_rng(5), Net()
    kind = "int8" if precision == "int8" else "float32"
    x = net.input("x", kind, shape)
    x = net.dq(x, 0.25, 3, "int8") if precision == "int8" else x
    y = net.op("Add", x, net.constant(rng.uniform(-40, 40, shape).astype(np.float32)))
    if precision == "int8":
        y = net.q(y, 0.5, 5, "int8")
    else:
        y = net.op("Mul", y, net.constant(rng.uniform(-4, 4, shape).astype(np.float32)))
    program = compile_model(net.model(y, kind=kind), PRESETS[machine], precision=precision)
    data = {"x": (rng.standard_normal(shape) * 50).astype(kind)}
    want = Session(program, GoldenDevice(program.config)).run(data)[y]
    assert len(np.unique(want)) > 100
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(data)[y]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("machine,precision", [("tiny", "int8"), ("tiny_fp", "fp16"),
                                               ("tiny_fp", "bf16")])
def test_products_of_activations(machine: str, precision: str) -> None:
    """Weights that the program has made itself, three matrices of them, in both orders: as the
    golden model."""
    kind = "int8" if precision == "int8" else "float32"
    shapes = {"a": (3, 6, 7), "b": (3, 7, 9), "c": (3, 5, 9)}
    rng, net = np.random.default_rng(6), Net()
    data = {n: (rng.standard_normal(s) * (40 if kind == "int8" else 1)).astype(kind)
            for n, s in shapes.items()}
    a, b, c = (net.input(n, kind, s) for n, s in shapes.items())
    if kind == "int8":
        a, b, c = (net.dq(v, 0.25, z, kind) for v, z in ((a, 3), (b, -4), (c, 5)))
    y = net.op("MatMul", a, b)
    if kind == "int8":
        y = net.dq(net.q(y, 8.0, -6, kind), 8.0, -6, kind)
    y = net.op("MatMul", y, net.op("Transpose", c, perm=[0, 2, 1]))
    y = net.q(y, 200.0, 9, kind) if kind == "int8" else net.op("Sigmoid", y)
    program = compile_model(net.model(y, kind=kind), PRESETS[machine], precision=precision)
    want = Session(program, GoldenDevice(program.config)).run(data)[y]
    assert len(np.unique(want)) > 50
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(data)[y]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_steps(kind: str) -> None:
    """A recurrent node, unrolled: as the golden model."""
    model, data = cell(kind, "bidirectional", initial="input")
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    golden = Session(program, GoldenDevice(program.config)).run(data)
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got = Session(program, RtlDevice(program.config, dram=dram)).run(data)
        for name, want in golden.items():
            np.testing.assert_array_equal(got[name], want)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_mixed(share: float) -> None:
    """INT8 and FP16 next to one another in every operator."""
    model = network(3)
    layers = list(recipe(model).layers)
    kept = [layer for k, layer in enumerate(layers) if k % 2 < 2 * share]
    program = compiled(model, "tiny_fp", kept)
    want = next(iter(Session(program, GoldenDevice(program.config)).run(data(1)).values()))
    for dram in (DramModel(), DramModel(stall=0.3, seed=6)):
        session = Session(program, RtlDevice(program.config, dram=dram))
        np.testing.assert_array_equal(next(iter(session.run(data(1)).values())), want)
