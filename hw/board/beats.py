# SPDX-License-Identifier: Apache-2.0
"""The inner memory port of a board: beats of eight bytes, in order.

A request writes the bytes of a beat that ``strb`` names, or reads a beat. Answers come in the order
of the reads; whoever asks has room for them. A read sees all writes that were taken before it.
"""

from typing import Protocol

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

BEAT_BYTES = 8
BEAT_BITS = 8 * BEAT_BYTES

ANSWER = data.StructLayout({"valid": 1, "data": BEAT_BITS})
"""A beat that was read; there is no way to hold it up."""


def request_layout(beat_bits: int) -> data.StructLayout:
    """``beat``: byte address divided by eight; ``data`` and ``strb`` count if ``write``."""
    return data.StructLayout({"write": 1, "beat": beat_bits, "data": BEAT_BITS,
                              "strb": BEAT_BYTES})


class Beats(wiring.Signature):
    """A port as its user sees it.

    Parameters
    ----------
    beat_bits : int
        Width of a beat's address.
    """

    def __init__(self, beat_bits: int):
        super().__init__({"request": Out(stream.Signature(request_layout(beat_bits))),
                          "answer": In(ANSWER)})


class BeatsPort(Protocol):
    """Type of a component's member with the signature :class:`Beats`."""

    signature: wiring.Signature
    request: stream.Interface
    answer: data.View
