# SPDX-License-Identifier: Apache-2.0
"""Streams behind the instructions: each once, aligned, as long as planned."""

import pytest

from compiler.machine.constants import DRAM_ALIGN, Constants, Stream


def test_equal_streams_lie_once() -> None:
    made = []

    def stream(byte: int, words: int) -> Stream:
        return Stream(words, lambda: made.append(byte) or bytes([byte]) * 16 * words)
    constants = Constants(16)
    first, second = stream(1, 5), stream(2, 1)
    places = [constants.place(s) for s in (first, second, first, stream(1, 5), stream(1, 4))]
    assert places == [0, 2 * DRAM_ALIGN, 0, 0, 3 * DRAM_ALIGN]
    assert made == [1, 2, 1, 1]
    assert constants.data == b"\1" * 80 + bytes(48) + b"\2" * 16 + bytes(48) + b"\1" * 64


def test_a_stream_of_another_length_is_an_error() -> None:
    with pytest.raises(AssertionError, match="planned"):
        Constants(16).place(Stream(2, lambda: bytes(16)))
