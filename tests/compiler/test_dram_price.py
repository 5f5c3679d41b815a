# SPDX-License-Identifier: Apache-2.0
"""A price on DRAM bytes: fewer of them, the same bits, never a dearer program."""

import math

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler import compile_model
from compiler.attempts import Attempts
from compiler.ir.errors import CompileError
from isa.config import Config
from isa.instructions import Opcode
from isa.presets import PRESETS
from isa.program import Program
from makalu.facts import dram_bytes, spilled_bytes
from tests.compiler.models import Net, execute, onnxruntime
from tests.compiler.test_hazards import check
from tests.compiler.test_random_networks import MACHINES, grown

DEAR = 4.0


def conv(net: Net, rng: np.random.Generator, x: str, k: int, c: int, kernel: int) -> str:
    w = rng.integers(-128, 128, (k, c, kernel, kernel)).astype(np.int8)
    y = net.op("Conv", net.dq(x, 0.5, 0, "int8"), net.weights(w, 0.25), pads=[kernel // 2] * 4)
    size = 2.0 ** np.round(np.log2(w[0].size ** 0.5 * 8))
    return net.q(net.op("Div", y, net.constant(np.float32(size))), 0.5, 0, "int8")


def added(net: Net, x: str, y: str) -> str:
    return net.q(net.op("Add", net.dq(x, 0.5, 0, "int8"), net.dq(y, 0.5, 0, "int8")),
                 0.5, 0, "int8")


def bottlenecks(count: int, behind: str = "") -> tuple[onnx.ModelProto, np.ndarray]:
    """Residual blocks on a map of which ``tiny`` holds one and not two; ``behind`` ``again``: the
    last addition's operand is read once more, ``wide``: by a kernel of 3 x 3 in the block."""
    rng = np.random.default_rng(7)
    net, shape = Net(), (1, 16, 18, 18)
    net.input("x", "int8", shape)
    y = conv(net, rng, "x", 16, 16, 1)
    for _ in range(count):
        x = y
        y = conv(net, rng, x, 4, 16, 3 if behind == "wide" else 1)
        y = added(net, conv(net, rng, conv(net, rng, y, 4, 4, 3), 16, 4, 1), x)
    outputs = [y, added(net, y, x)] if behind == "again" else [y]
    return net.model(*outputs), rng.integers(-128, 128, shape).astype(np.int8)


def right(program: Program, model: onnx.ModelProto, x: np.ndarray) -> None:
    for got, want in zip(execute(program, {"x": x}).values(), onnxruntime(model, {"x": x}),
                         strict=True):
        assert np.array_equal(got, want)
    check(program)


def cost(program: Program, price: float) -> float:
    return (sum(program.predicted_cycles)
            + price * dram_bytes(program) / program.config.bus_bytes)


def in_place(program: Program) -> int:
    """Convolutions that write where their residual is."""
    return sum(i.opcode is Opcode.TENSOR and i.residual and (i.r_base, i.r_row) == (
        i.o_base, i.o_row) for i in program.instructions())


@pytest.mark.parametrize("behind", ["", "again", "wide"])
def test_price_buys_bytes(behind: str) -> None:
    model, x = bottlenecks(2, behind)
    free, dear = (compile_model(model, PRESETS["tiny"], dram_price=p) for p in (0, DEAR))
    right(dear, model, x)
    assert spilled_bytes(dear) < spilled_bytes(free) and dram_bytes(dear) < dram_bytes(free)
    assert in_place(dear) and not in_place(free)


def test_nothing_is_dearer_and_no_price_is_no_change() -> None:
    model, _ = bottlenecks(1, "again")
    default = compile_model(model, PRESETS["tiny"])
    assert compile_model(model, PRESETS["tiny"], dram_price=0).to_bytes() == default.to_bytes()
    for price in (0.01, 1):
        program = compile_model(model, PRESETS["tiny"], dram_price=price)
        assert cost(program, price) <= 1.02 * cost(default, price)  # predicted before the waits


@pytest.mark.parametrize("price", [-1, math.inf, math.nan])
def test_what_is_no_price(price: float) -> None:
    model, _ = bottlenecks(1)
    with pytest.raises(CompileError, match="no price of a byte; use a number from 0 on"):
        compile_model(model, PRESETS["tiny"], dram_price=price)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.lists(st.sampled_from(
    ["conv", "conv", "add", "residual", "residual", "pool", "concat", "turn"]), min_size=2,
    max_size=9), st.sampled_from(MACHINES), st.sampled_from([0.75, 0.95]))
def test_random_network(seed: int, steps: list[str], machine: Config, share: float) -> None:
    network = grown(seed, steps)
    if network is None:
        return
    model, _, x = network

    class Thrifty(Attempts):
        """Takes a program that the emitters made with the price in mind."""

        def best(self):
            return self._best_with(share, self.price, "dear")[:2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compiler.backend.Attempts", Thrifty)
        program = compile_model(model, machine, dram_price=DEAR)
    right(program, model, x)
