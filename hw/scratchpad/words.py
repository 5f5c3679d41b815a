# SPDX-License-Identifier: Apache-2.0
"""Parts of words of the scratchpad."""

from amaranth.hdl import Array, Const, Value


def behind(word: Value, bits: int) -> Value:
    """What lies behind the first ``bits`` of a word; zero if nothing does."""
    return word[bits:] if bits < len(word) else Const(0, 1)


def quarters(word: Value, first: Value) -> Value:
    """A word from one of its quarters on."""
    return Array(word[k * len(word) // 4:] for k in range(4))[first]
