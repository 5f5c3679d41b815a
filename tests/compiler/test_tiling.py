# SPDX-License-Identifier: Apache-2.0
"""Cuts of a convolution: they fit, and they cost what the program then takes."""

import numpy as np
import pytest

from compiler import compile_model
from compiler.emit import choose
from compiler.emit.price import MARGIN, Plan, Price, Task
from compiler.emit.tiling import PLANS
from compiler.machine.place import Layout
from isa.instructions import Opcode
from isa.presets import PRESETS
from isa.program import Program
from tests.compiler.models import Net

LAYERS = [
    # channels, outputs, size, kernel, stride: weights once or again for each box
    ("tiny", 16, 16, 24, 3, 1), ("tiny", 64, 64, 20, 1, 1), ("tiny", 8, 8, 60, 3, 1),
    ("tiny", 16, 16, 24, 3, 2), ("core256", 64, 256, 60, 3, 1),
    # the reduction is cut
    ("tiny", 128, 32, 8, 3, 1), ("tiny", 512, 16, 6, 3, 1)]


def compiled(machine: str, c: int, k: int, size: int, kernel: int, stride: int,
             monkeypatch: pytest.MonkeyPatch) -> tuple[Task, list[Plan], Program]:
    """A network of one convolution: what is cut, the plans that fit, the program."""
    seen: list[tuple[Task, list[Plan]]] = []
    plans = choose.plans

    def spy(task: Task) -> list[Plan]:
        seen.append((task, plans(task)))
        return seen[-1][1]

    monkeypatch.setattr(choose, "plans", spy)
    net, rng = Net(), np.random.default_rng(0)
    x = net.dq(net.input("x", "int8", (1, c, size, size)), 0.02, 3, "int8")
    w = net.weights(rng.integers(-9, 9, (k, c, kernel, kernel)).astype(np.int8), 0.01)
    y = net.op("Conv", x, w, strides=[stride] * 2, pads=[kernel // 2] * 4,
               kernel_shape=[kernel] * 2)
    program = compile_model(net.model(net.q(y, 0.1, 0, "int8")), PRESETS[machine])
    return (*seen[-1], program)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda p: "-".join(map(str, p)))
def test_price(layer: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan fits, the cheapest first; the program of the first moves the words and takes the
    cycles that it was priced at. Boxes at an edge are smaller than the price has them."""
    task, found, program = compiled(*layer, monkeypatch)
    assert 1 <= len(found) <= PLANS
    assert [p.cost for p in found] == sorted(p.cost for p in found)
    assert all(p.weight_words + p.tile_words + MARGIN <= task.room for p in found)
    plan, op = found[0], task.shape.op
    price = Price(task, plan.cut)
    resident = sum(Layout.of(t, task.shape.lanes).words
                   for t, here in ((op.x, task.x_here), (op.y, task.y_here)) if here)
    moved = sum(i.n0 * i.n1 * i.n2 * i.n3 for i in program.instructions()
                if i.opcode in (Opcode.LOAD, Opcode.STORE))
    words = price.traffic(price.words(), plan.weights_outer) + resident
    assert moved <= words <= 1.1 * moved
    assert plan.cost == pytest.approx(sum(program.predicted_cycles), rel=0.1)


def test_both_orders_and_a_cut_reduction_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [compiled(*layer, monkeypatch)[1][0] for layer in LAYERS]
    assert {p.weights_outer for p in chosen} == {True, False}
    assert {p.cut.reduction is None for p in chosen} == {True, False}


def test_small_matrix_products_are_few_instructions() -> None:
    """An autoencoder that the bus bounds: instructions share it with the weights."""
    rng, net = np.random.default_rng(0), Net()
    sizes = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
    x = net.dq(net.input("x", "int8", (1, sizes[0])), 0.5, 0, "int8")
    for a, b in zip(sizes, sizes[1:]):
        weight = net.weights(rng.integers(-8, 8, (b, a)).astype(np.int8), 0.01)
        y = net.q(net.op("Gemm", x, weight, transB=1), 0.5, 0, "int8")
        x = net.dq(y, 0.5, 0, "int8")
    model = net.model(y)
    for machine in ("core256", "core1024"):
        program = compile_model(model, PRESETS[machine])
        fetched = sum(map(len, program.codes()))
        assert fetched <= 0.045 * program.compulsory_bytes
        assert sum(program.predicted_cycles) <= 1.1 * program.roofline_cycles


def test_weights_leave_room_for_the_largest_box() -> None:
    """The first box of a padded layer has fewer rows of input than the next one."""
    net = Net()
    weight = net.weights(np.ones((64, 1, 5, 5), np.int8), 0.01)
    y = net.op("Conv", net.dq(net.input("x", "int8", (1, 64, 57, 28)), 0.5, 0, "int8"), weight,
               pads=[2] * 4, strides=[2, 2], group=64)
    compile_model(net.model(net.q(y, 0.5, 0, "int8")), PRESETS["tiny"])
