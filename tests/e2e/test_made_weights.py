# SPDX-License-Identifier: Apache-2.0
"""Weights that the machine has made itself: an instruction without ``w_ahead`` reads them when all
its waits are satisfied."""

from collections.abc import Callable

import numpy as np
import pytest

from golden.machine import Machine
from isa.instructions import Instruction, Opcode, VectorOp
from isa.presets import PRESETS
from sim.device import RtlDevice
from tests.e2e.programs import contents, program, tensor, window

CONFIG = PRESETS["tiny"]
EIGHTH = CONFIG.spm_words // 8
ONE = int(np.float32(1).view(np.uint32))


def copy(source: int, target: int, words: int) -> Instruction:
    """A VECTOR that copies so many words."""
    return Instruction(Opcode.VECTOR, dict(
        vop=VectorOp.MAX, nx=words, ny=1, ncb=1, ns=1, nr=1, iw=words, ih=1, a_base=source,
        a_x=1, ix_x=1, o_base=target, o_x=1, a_signed=1, lo=-128, hi=127, scale_a=ONE))


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("kind", [tensor, window])
def test_made_weights(kind: Callable[..., Instruction | list[Instruction]], ahead: int) -> None:
    """``ahead`` shows that the old weights would make a difference."""
    rng = np.random.default_rng(5)
    made = kind(rng, CONFIG)
    user = made if isinstance(made, Instruction) else made[0]
    user.fields.update(dict.fromkeys({"hold", "residual"} & user.fields.keys(), 0), w_ahead=ahead)
    instructions = [copy(5 * EIGHTH, 2 * EIGHTH, EIGHTH), user]
    memory = contents(rng, CONFIG, [user])
    memory[5 * EIGHTH:6 * EIGHTH] = memory[2 * EIGHTH:3 * EIGHTH]
    memory[2 * EIGHTH:3 * EIGHTH] ^= 4
    p = program(CONFIG, instructions)
    want = Machine(CONFIG).run(p.image, memory.reshape(-1), p.region_sizes)
    with RtlDevice(CONFIG) as device:
        device.load(p)
        got = device.execute(memory.reshape(-1)).outputs
    assert np.array_equal(got, want) == (not ahead)
