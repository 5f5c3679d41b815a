# SPDX-License-Identifier: Apache-2.0
"""Numbers as text, in tables of pages and of the terminal."""


def number(value: float | None, digits: int = 0) -> str:
    """With thousands separators, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"
