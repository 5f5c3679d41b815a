# SPDX-License-Identifier: Apache-2.0
"""The register map: what a driver relies on, by its values."""

from isa.registers import MASK, OFFSET, REGISTERS


def test_offsets_and_fields() -> None:
    assert (OFFSET["CONTROL"], OFFSET["STATUS"], OFFSET["IRQ_STATUS"]) == (0x10, 0x14, 0x1C)
    assert [MASK[f"CONTROL.{f}"] for f in ("IRQ_ENABLE", "RESET", "CLEAR")] == [1, 2, 4]
    assert [MASK[f"STATUS.{f}"] for f in ("BUSY", "DONE", "ERROR", "QUIET")] == [1, 2, 4, 8]
    assert [MASK[f"IRQ_STATUS.{f}"] for f in ("DONE", "ERROR")] == [1, 2]
    assert MASK["VERSION.MAJOR"] == 0xFFFF0000


def test_fields_follow_one_another() -> None:
    """The RTL makes a structure of them, which has no holes."""
    for r in REGISTERS:
        ends = [low + width for low, width, *_ in r.bits]
        assert [low for low, *_ in r.bits] == [0, *ends][:len(ends)], r.name
        assert max(ends, default=0) <= 32
