# SPDX-License-Identifier: Apache-2.0
"""Numbers and names as text, in tables of pages and of the terminal."""


def number(value: float | None, digits: int = 0) -> str:
    """With thousands separators, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def plain(text: str) -> str:
    """A name from a file of any origin: what is neither a visible character nor the end of a line,
    such as an escape that a terminal obeys, is shown as Python writes it."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
