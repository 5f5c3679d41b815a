# SPDX-License-Identifier: Apache-2.0
"""Fields that are others in each execution."""

import pytest

from isa.instructions import Instruction, Opcode, assembled
from isa.presets import PRESETS
from isa.program import Patch, Program, ProgramError

STORE = Instruction(Opcode.STORE, dict(region=1, dram=64, n0=1, n1=1, n2=1, n3=1, spm=5))


def program(*patches: Patch) -> Program:
    """Behind another entry's instruction: a STORE and END."""
    front = assembled([Instruction(Opcode.END)])
    image = front + assembled([STORE, Instruction(Opcode.END)])
    return Program(name="p", config=PRESETS["tiny"], image=image, start=len(front),
                   instruction_count=2, inputs=[], outputs=[], region_sizes={},
                   patches=list(patches))


@pytest.mark.parametrize(("shift", "mask", "argument", "grows"), [
    (0, 0xFFFF_FFFF, 13, 13 * 48), (3, 0xFFFF_FFFF, 13, 1 * 48), (0, 7, 13, 5 * 48)])
def test_a_field_grows_with_an_argument(shift: int, mask: int, argument: int, grows: int) -> None:
    p = program(Patch(0, "dram", "slot", 48, shift, mask))
    ((at, word),) = p.patched({"slot": argument}).items()
    assert at == p.start == len(p.image) // 2
    assert Instruction.decode(word) == Instruction(Opcode.STORE, {
        **Instruction.decode(STORE.encode()).fields, "dram": 64 + grows})
    assert p.image == program().image, "the program itself is as it was"


def test_two_fields_of_one_instruction() -> None:
    p = program(Patch(0, "dram", "slot", 16), Patch(0, "spm", "other", 2))
    (word,) = p.patched({"slot": 1, "other": 3}).values()
    found = Instruction.decode(word)
    assert (found.dram, found.spm) == (80, 11)


def test_refused() -> None:
    p = program(Patch(0, "dram", "slot", 1 << 20))
    with pytest.raises(ProgramError, match="needs the argument 'slot'"):
        p.patched({})
    with pytest.raises(ProgramError, match=r"STORE.dram = \d+ does not fit"):
        p.patched({"slot": 4096})
    with pytest.raises(ProgramError, match="END has no field dram"):
        program(Patch(1, "dram", "slot", 1)).patched({"slot": 1})
