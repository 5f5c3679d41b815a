# SPDX-License-Identifier: Apache-2.0
"""Encoding: every field goes in where the table says, and comes back."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.instructions import COMMON, FIELDS, INSTRUCTION_BYTES, Instruction, Opcode, width


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    opcode = draw(st.sampled_from(list(Opcode)))
    fields = {f.name: draw(st.integers(f.low, f.high)) for f in COMMON[1:] + FIELDS[opcode]}
    return Instruction(opcode, fields)


@settings(max_examples=60, deadline=None)
@given(instructions())
def test_round_trip(i: Instruction) -> None:
    data = i.encode()
    assert len(data) == INSTRUCTION_BYTES
    back = Instruction.decode(data)
    assert back.opcode is i.opcode
    assert all(back.fields.get(k, 0) == getattr(back, k) == v for k, v in i.fields.items())


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_are_packed_from_bit_zero(opcode: Opcode) -> None:
    """Setting one field to all ones sets just its bits."""
    at = 0
    for f in COMMON + FIELDS[opcode]:
        if f.name != "opcode":
            ones = {f.name: -1 if f.signed else f.high}
            word = int.from_bytes(Instruction(opcode, ones).encode(), "little")
            assert word == int(opcode) | ((1 << f.width) - 1) << at, f.name
        at += f.width
    assert at == width(COMMON) + width(FIELDS[opcode]) <= 8 * INSTRUCTION_BYTES


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="TENSOR.nx = 512 does not fit: 0 … 511"):
        Instruction(Opcode.TENSOR, {"nx": 512}).encode()
    with pytest.raises(ValueError, match="LOAD has no field nx"):
        Instruction(Opcode.LOAD, {"nx": 1}).encode()
    with pytest.raises(ValueError, match="illegal opcode 0"):
        Instruction.decode(bytes(INSTRUCTION_BYTES))


def test_text() -> None:
    i = Instruction(Opcode.LOAD, {"wait_mask": 2, "wait_tensor": 7, "n0": 3})
    assert str(i) == "LOAD   [tensor>=7] n0=3"


def test_a_name_that_is_no_field_is_an_error():
    i = Instruction(Opcode.LOAD, {"n0": 3})
    assert (i.n0, i.n1, i.wait_load) == (3, 0, 0)
    for wrong in (i, Instruction.decode(i.encode())):
        with pytest.raises(AttributeError, match="LOAD has no field 'a_wrpa'"):
            _ = wrong.a_wrpa
        with pytest.raises(AttributeError, match="a_wrap"):     # TENSOR has it
            _ = wrong.a_wrap


def test_instructions_can_be_copied():
    i = Instruction.decode(Instruction(Opcode.LOAD, {"n0": 3}).encode())
    for twin in (copy.copy(i), copy.deepcopy(i), pickle.loads(pickle.dumps(i))):
        assert twin == i and twin.n0 == 3
