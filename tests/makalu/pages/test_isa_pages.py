# SPDX-License-Identifier: Apache-2.0
"""The reference pages are those that the specification gives, and say everything in it."""

import pytest

from isa.instructions import FIELDS
from isa.registers import REGISTERS
from makalu.pages.isa_pages import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), f"docs/{name}: run make docs"


def test_every_field_and_register_is_there() -> None:
    page = PAGES["isa.md"]()
    assert all(f"`{f.name}`" in page for fields in FIELDS.values() for f in fields
               if f.name)
    page = PAGES["registers.md"]()
    assert all(f"`0x{r.offset:03X}` | `{r.name}`" in page for r in REGISTERS)
