# SPDX-License-Identifier: Apache-2.0
"""The quick proofs, each time; and docs/verification.md has all properties in their words."""

import pytest

from prove.__main__ import PAGE
from prove.properties import PROPERTIES


@pytest.mark.parametrize("p", [p for p in PROPERTIES if p.quick], ids=lambda p: p.name)
def test_quick_properties(p):
    result = p.check()
    assert result.holds, result.trace
    assert result.proved == bool(p.seconds)


@pytest.mark.long
@pytest.mark.parametrize("p", [p for p in PROPERTIES if not p.quick], ids=lambda p: p.name)
def test_other_properties(p):
    assert p.check().holds


def test_the_page_is_of_these_properties():
    lines = PAGE.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| [")]
    assert len(rows) == len(PROPERTIES)
    for row, p in zip(rows, PROPERTIES, strict=True):
        assert p.block in row and f"`{p.name}`: {p.says} |" in row
        assert "| proved |" in row or (not p.seconds and f"holds for {p.cycles} cycles" in row)
