# SPDX-License-Identifier: Apache-2.0
"""Each rule of each instruction on the golden model."""

import numpy as np
import pytest

from golden import vector, window
from golden.fault import MachineFault
from golden.tensor import Tensor
from isa.instructions import Fault, Instruction, Opcode
from tests.bad_instructions import RULES, Rule, scratchpad


def run(rule: Rule, program: list[Instruction], spm: np.ndarray) -> None:
    """Execute a program of one opcode."""
    tensor = Tensor(rule.config)
    for index, i in enumerate(program):
        if rule.opcode is Opcode.TENSOR:
            tensor.execute(i, index, spm)
        else:
            (window if rule.opcode is Opcode.WINDOW else vector).execute(
                i, index, spm, rule.config)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rule(rule: Rule) -> None:
    spm = scratchpad(rule.config)
    run(rule, rule.program(rule.legal), spm)
    program = rule.program(rule.bad)
    with pytest.raises(MachineFault) as e:
        run(rule, program, spm)
    assert (e.value.code, e.value.index) == (Fault.BAD_FIELD, len(program) - 1)
