# SPDX-License-Identifier: Apache-2.0
"""Writes the table of ``docs/compiler.md``: ``python -m makalu.pages.dram_price``.

What networks take, as the compiler predicts it, without a price on DRAM bytes and with one. Their
weights are synthetic; cycles and bytes do not depend on them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx

from isa.program import Program
from makalu import api, facts
from makalu.measure import light
from makalu.measure.mobilenet import INPUT, mobilenet_v2
from makalu.measure.samples import random_inputs
from makalu.pages.isa_pages import DOCS, put, table
from sim.cache import say

PAGE = DOCS / "compiler.md"
BEGIN, END = "<!-- DRAM price -->\n", "<!-- end of DRAM price -->"
MACHINES, PRICE = ("core1024", "core256"), 0.25
TITLES = ("network", "machine", "cycles", f"at price {PRICE}", "", "spilled, MB",
          f"at price {PRICE}", "DRAM traffic, MB", f"at price {PRICE}")

NETWORKS: dict[str, Callable[[], onnx.ModelProto | Path]] = {
    "ResNet-50": partial(light.quantized, "resnet50"), "MobileNetV2": mobilenet_v2,
    "SqueezeNet": partial(light.quantized, "squeezenet"),
    "ShuffleNet": partial(light.quantized, "shufflenet")}


def _compiled(model: onnx.ModelProto | Path, machine: str, price: float) -> Program:
    samples = [random_inputs([INPUT], 1 + n) for n in range(light.CALIBRATION)]
    return api.compile(model, machine, host=["all"], calibration=samples, dram_price=price)


def _row(name: str, machine: str) -> list[str]:
    model = NETWORKS[name]()
    free, dear = (_compiled(model, machine, price) for price in (0, PRICE))
    cycles = [sum(p.predicted_cycles) for p in (free, dear)]
    return [name, machine, *(f"{n:,}" for n in cycles), f"{cycles[1] / cycles[0] - 1:+.1%}",
            *(f"{facts.spilled_bytes(p) / 1e6:.2f}" for p in (free, dear)),
            *(f"{facts.dram_bytes(p) / 1e6:.2f}" for p in (free, dear))]


def main() -> None:
    rows = []
    for machine in MACHINES:
        for name in NETWORKS:
            say(f"{name} on {machine}")
            rows.append(_row(name, machine))
    put(PAGE, BEGIN, END, table(TITLES, rows))


if __name__ == "__main__":
    main()
