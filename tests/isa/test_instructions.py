# SPDX-License-Identifier: Apache-2.0
"""Encoding: every field goes in where the table says, and comes back."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.instructions import (ALONE_PLACES, EXCHANGE, FETCH_BYTES, PLACES, QUEUES, UNITS,
                              UNIT_BYTES, Instruction, Opcode, assembled, codes, encoded_bytes,
                              reached)



@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    opcode = draw(st.sampled_from(list(Opcode)))
    fields = {f.name: draw(st.integers(f.low, f.high)) for f, _ in PLACES[opcode]}
    return Instruction(opcode, fields)


@settings(max_examples=60, deadline=None)
@given(instructions())
def test_round_trip(i: Instruction) -> None:
    data = i.encode()
    assert len(data) == data[1] * UNIT_BYTES <= UNITS[i.opcode] * UNIT_BYTES
    back = Instruction.decode(data)
    assert back.opcode is i.opcode
    assert all(back.fields.get(k, 0) == getattr(back, k) == v for k, v in i.fields.items())


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_lie_where_the_table_says(opcode: Opcode) -> None:
    """Setting one field to all ones sets just its bits, and makes the instruction long enough."""
    used = 0
    for f, low in PLACES[opcode]:
        code = Instruction(opcode, {f.name: -1 if f.signed else f.high}).encode()
        ones = ((1 << f.width) - 1) << low
        assert not used & ones, f.name
        used |= ones
        assert int.from_bytes(code, "little") == opcode | code[1] << 8 | ones, f.name
        assert len(code) == max(1, -(-(low + f.width) // 256)) * 32


def test_a_machine_without_exchange_has_the_same_places() -> None:
    """All fields but two lie where they lie, and the bits of the others are no field's."""
    for opcode, alone in ALONE_PLACES.items():
        assert opcode not in EXCHANGE
        own = {f.name: (low, f.width) for f, low in alone}
        every = {f.name: (low, f.width) for f, low in PLACES[opcode]}
        assert every.keys() - own.keys() == {"wait_send", "wait_await"}
        assert own.pop("wait_mask") == (24, len(QUEUES)) and every["wait_mask"] == (24, 7)
        assert all(every[name] == place for name, place in own.items())
        for low, width in own.values():
            assert low >= every["wait_await"][0] + 16 or low + width <= every["wait_send"][0]


def test_counters_of_signals_wrap() -> None:
    for value, threshold, want in ((5, 5, True), (5, 6, False), (0, 0xFFFF, True), (0, 1, False),
                                   (0x7FFF, 0, True), (0x8000, 0, False), (3, 0xFFF0, True)):
        assert reached(value, threshold) is want


@given(instructions())
def test_bytes_without_encoding(i: Instruction) -> None:
    assert encoded_bytes(i.opcode, i.fields) == len(i.encode())


@given(st.lists(instructions(), max_size=5), st.integers(0, 2))
def test_programs_are_walked(program: list[Instruction], blocks: int) -> None:
    """Up to the end of the image, of which only whole blocks of the program count."""
    start = blocks * FETCH_BYTES
    image = bytes(start) + assembled(program)
    assert len(assembled(program)) % FETCH_BYTES == 0
    want = [i.encode() for i in program]
    assert list(codes(image, start))[:len(want)] == want
    for lost in (1, 50):
        kept = list(codes(image[:-lost], start)) if program else []
        assert sum(map(len, kept)) <= len(image) - start - FETCH_BYTES or not program
        assert kept == want[:len(kept)] or sum(map(len, want)) < sum(map(len, kept))


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="TENSOR.nx = 512 does not fit: 0 … 511"):
        Instruction(Opcode.TENSOR, {"nx": 512}).encode()
    with pytest.raises(ValueError, match="LOAD has no field nx"):
        Instruction(Opcode.LOAD, {"nx": 1}).encode()
    with pytest.raises(ValueError, match="illegal opcode 0"):
        Instruction.decode(bytes(UNIT_BYTES))
    with pytest.raises(ValueError, match="END with an illegal size of 2 units"):
        Instruction.decode(bytes([Opcode.END, 2]) + bytes(62))


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
