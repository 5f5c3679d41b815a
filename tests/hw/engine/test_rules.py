# SPDX-License-Identifier: Apache-2.0
"""Each rule of each instruction on the engines."""

import functools

import numpy as np
import pytest

from hw.tensor.engine import TensorEngine
from hw.vector.engine import VectorEngine
from hw.window.engine import WindowEngine
from isa.config import Config
from isa.instructions import Fault, Opcode
from tests.bad_instructions import FLOATS, INTEGERS, RULES, scratchpad
from tests.hw.engine.engine_bench import EngineBench


@functools.cache
def bench(config: Config, opcode: Opcode) -> EngineBench:
    if opcode is Opcode.TENSOR:
        return EngineBench(config, "tensor", TensorEngine(config), lambda e: (
            [*e.act, *e.weights, *e.residual], [*e.out]))
    if opcode is Opcode.WINDOW:
        return EngineBench(config, "window", WindowEngine(config),
                           lambda e: ([*e.act, e.weights], [*e.out]))
    return EngineBench(config, "vector", VectorEngine(config), lambda e: ([e.a, e.b], [e.out]))


@pytest.mark.parametrize("config", [INTEGERS, FLOATS], ids=lambda c: c.name)
@pytest.mark.parametrize("opcode", [Opcode.TENSOR, Opcode.WINDOW, Opcode.VECTOR],
                         ids=lambda o: o.name)
def test_rules(config: Config, opcode: Opcode) -> None:
    spm, wrong = scratchpad(config), []
    rules = [r for r in RULES if (r.config, r.opcode) == (config, opcode)]
    assert rules
    for rule in rules:
        _, _, fault = bench(config, opcode).run(spm, rule.program(rule.legal))
        if fault:
            wrong.append(f"{rule}: refused what is legal")
        program = rule.program(rule.bad)
        after, _, fault = bench(config, opcode).run(spm, program)
        if fault != (Fault.BAD_FIELD, len(program) - 1):
            wrong.append(f"{rule}: not refused but {fault}")
        elif len(program) == 1 and not np.array_equal(after, spm):
            wrong.append(f"{rule}: refused, but the scratchpad has changed")
    assert not wrong, "\n".join(wrong)
