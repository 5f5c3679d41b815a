# SPDX-License-Identifier: Apache-2.0
"""Signatures against a loop over the formula, and the observer against memory before and after."""

import numpy as np
import pytest

from golden.machine import Machine
from golden.signature import SigningMachine, signature, watched
from isa.instructions import Instruction, Opcode, Region
from isa.presets import PRESETS
from tests.e2e.programs import contents, program, tensor, vector

BASES = {region: 0x4000_0000 + 0x10_0000 * region for region in Region}


def naive(writes: dict[int, bytes]) -> int:
    """``writes``: byte address to bytes."""
    total = 0
    for address, data in writes.items():
        for k in range(0, len(data), 4):
            at = (address + k) // 4
            x = int.from_bytes(data[k:k + 4], "little") ^ ((at + 1) * 0x9E3779B1 % 2**32)
            x = x * 0x85EBCA6B % 2**32
            total += x ^ (x >> 16)
    return total % 2**32


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("base", [0, 0x3_8000_0040])
def test_against_a_loop(lanes, base):
    rng = np.random.default_rng(lanes)
    at = rng.permutation(1 << 18)[:60].reshape(3, 20)
    data = rng.integers(0, 256, (3, 20, lanes), np.uint8)
    want = naive({base + int(a) * lanes: data[k].tobytes() for k, a in np.ndenumerate(at)})
    assert signature(at, data, base) == want
    shuffled = rng.permutation(at.size)
    assert signature(at.reshape(-1)[shuffled], data.reshape(-1, lanes)[shuffled], base) == want
    swapped = data.copy()
    swapped[0, [0, 1]] = data[0, [1, 0]]
    assert signature(at, swapped, base) != want
    flipped = data.copy()
    flipped[2, 7, lanes - 1] ^= 0x80
    assert signature(at, flipped, base) != want
    assert signature(at, data, base + lanes) != want


def test_what_reports():
    seen = []
    memory = watched(np.zeros((8, 4), np.uint8), lambda at, data: seen.append((at, data)))
    memory[np.array([5, 2, 5])] = 7
    memory.reshape(-1)[:16].reshape(-1, 4)[1] = np.arange(4)
    (memory + 1)[3] = 1
    memory[np.array([1, 2])][0] = 1
    assert [at.tolist() for at, _ in seen] == [[5, 2, 5], 1]
    assert seen[0][1].tolist() == [[7] * 4] * 3 and seen[1][1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["tiny", "core256"])
def test_every_instruction_of_a_program(name):
    """The memory before and after an instruction tells what it wrote, where it changed a byte."""
    config = PRESETS[name]
    rng = np.random.default_rng(7)
    instructions: list[Instruction] = []
    while len(instructions) < 8:
        instructions += tensor(rng, config) if rng.random() < 0.6 else [vector(rng, config)]
    p = program(config, instructions)
    inputs = contents(rng, config, instructions).reshape(-1)
    machine = SigningMachine(config, BASES)
    before, checked = np.array(machine.spm), 0

    def watch(index: int, i: Instruction) -> None:
        nonlocal before, checked
        after = np.array(machine.spm)
        if i.opcode is Opcode.LOAD:
            words = range(i.spm, i.spm + i.n0)
            want = naive({w * config.lanes: after[w].tobytes() for w in words})
            assert machine.signatures[index] == want
        elif i.opcode is Opcode.STORE:
            want = naive({BASES[Region.OUTPUT] + i.dram: after[i.spm:i.spm + i.n0].tobytes()})
            assert machine.signatures[index] == want
        elif i.opcode is not Opcode.TENSOR or not i.hold:
            changed = np.flatnonzero((before != after).any(axis=1))
            assert (machine.signatures[index] != 0) and changed.size
        else:
            assert machine.signatures[index] == 0
        before, checked = after, checked + 1

    out = machine.run(p.image, inputs, p.region_sizes, watch=watch)
    assert checked == p.instruction_count - 1 == len(machine.signatures)
    assert np.array_equal(out, Machine(config).run(p.image, inputs, p.region_sizes))
