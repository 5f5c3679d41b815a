# SPDX-License-Identifier: Apache-2.0
"""Precision w8: the bits of INT8 weights with FP16 activations, their bytes, what keeps FP16."""

import numpy as np
import pytest

from compiler import compile_model
from compiler.ir.errors import CompileError
from isa.instructions import DType, Opcode, Region
from isa.presets import PRESETS
from isa.program import Program
from tests.compiler.models import Net, execute, onnxruntime


def halves(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Binary32 numbers that FP16 has."""
    return (rng.standard_normal(shape) / 4).astype(np.float16).astype(np.float32)


def linear(inputs: int, outputs: int, rows: int = 1) -> tuple[Net, dict[str, np.ndarray], str]:
    """``x @ w + b``; one output has no weight."""
    net, rng = Net(), np.random.default_rng(inputs)
    x = net.input("x", "float32", (rows, inputs))
    weight = halves(rng, inputs, outputs)
    weight[:, 3] = 0
    y = net.op("Gemm", x, net.constant(weight), net.constant(halves(rng, outputs)))
    return net, {"x": halves(rng, rows, inputs)}, y


def weight_bytes(program: Program) -> int:
    return sum(i.n0 * i.n1 * i.n2 * i.n3 for i in program.instructions()
               if i.opcode is Opcode.LOAD and i.region == Region.PROGRAM) * program.config.lanes


@pytest.mark.parametrize("machine", ["tiny_fp", "core256_fp", "core1024_fp"])
@pytest.mark.parametrize("inputs,outputs,rows", [(64, 40, 1), (32, 130, 5)])
def test_bits(machine: str, inputs: int, outputs: int, rows: int) -> None:
    """Products with integers, summed exactly, rounded after the scale and after the bias."""
    net, data, y = linear(inputs, outputs, rows)
    program = compile_model(net.model(y, kind="float32"), PRESETS[machine], precision="w8")
    weight, bias = (np.frombuffer(c.raw_data, np.float32) for c in net.constants)
    weight = weight.reshape(inputs, outputs).astype(np.float64)
    step = np.abs(weight).max(0) / 127
    step[step == 0] = 1
    sums = data["x"].astype(np.float64) @ np.rint(weight / step)
    value = sums.astype(np.float32) * step.astype(np.float32) + bias
    got, = execute(program, data).values()
    assert np.array_equal(np.ravel(got), value.astype(np.float16).ravel())


def test_bytes_and_accuracy() -> None:
    """Half of the bytes of FP16, and what rounding to 8 bits a channel leaves of the network."""
    net, rng = Net(), np.random.default_rng(1)
    y = net.input("x", "float32", (1, 16, 12, 12))
    for inputs, outputs, kernel in ((16, 64, 3), (64, 48, 1), (48, 64, 3)):
        weight = net.constant(halves(rng, outputs, inputs, kernel, kernel))
        y = net.op("Relu", net.op("Conv", y, weight, pads=[kernel // 2] * 4))
    y = net.op("MatMul", net.op("Flatten", net.op("GlobalAveragePool", y)),
               net.constant(halves(rng, 64, 100)))
    model, data = net.model(y, kind="float32"), {"x": halves(rng, 1, 16, 12, 12)}
    want, = onnxruntime(model, data)
    found = {}
    for precision in ("fp16", "w8"):
        program = compile_model(model, PRESETS["core256_fp"], precision=precision)
        got, = execute(program, data).values()
        error = np.square(got.astype(np.float64).ravel() - want.ravel()).sum()
        found[precision] = (weight_bytes(program), program.compulsory_bytes,
                            10 * np.log10(np.square(want.astype(np.float64)).sum() / error))
    assert found["w8"][0] < 0.54 * found["fp16"][0]
    weights = sum(np.frombuffer(c.raw_data, np.float32).size for c in net.constants)
    assert found["fp16"][1] - found["w8"][1] == weights
    assert found["fp16"][2] > 55 and found["w8"][2] > 30


def test_what_keeps_fp16() -> None:
    """Channels that fill no word, and depthwise convolutions."""
    net, rng = Net(), np.random.default_rng(2)
    x = net.input("x", "float32", (1, 3, 10, 10))
    y = net.op("Conv", x, net.constant(halves(rng, 16, 3, 3, 3)))
    y = net.op("Conv", y, net.constant(halves(rng, 16, 1, 3, 3)), group=16)
    y = net.op("Conv", y, net.constant(halves(rng, 12, 16, 1, 1)))
    y = net.op("Conv", y, net.constant(halves(rng, 20, 12, 1, 1)))
    model = net.model(y, kind="float32")
    program = compile_model(model, PRESETS["core256_fp"], precision="w8")
    types = {program.node_name(k): i.w_type for k, i in enumerate(program.instructions())
             if i.opcode is Opcode.TENSOR and i.dtype == DType.FP16}
    assert list(types.values()) == [0, 1, 0]


def test_machines_without_floats() -> None:
    net, _, y = linear(64, 40)
    with pytest.raises(CompileError, match="precision w8: .*--config core256_fp"):
        compile_model(net.model(y, kind="float32"), PRESETS["core256"], precision="w8")
