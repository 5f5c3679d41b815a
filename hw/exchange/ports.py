# SPDX-License-Identifier: Apache-2.0
"""A core's port to the other cores of its gang: what it sends, and what lands.

A burst is posted: its address with whom it is for, then its beats, as on an AXI write channel.
Whoever carries it answers when the scratchpads of all receivers have taken its words; so what a
later burst or signal tells them is true.
"""

from typing import Protocol

from amaranth.hdl import Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.memory.axi import LEN_BITS, RESPONSE, write_layout
from hw.memory.lane_writer import lines_layout
from hw.memory.lanes import Lanes
from isa.config import Config
from isa.instructions import MOST_RANKS, SIGNALS

COUNTER = range(SIGNALS)
"""Which counter of signals."""


def post_layout(config: Config) -> data.StructLayout:
    """A burst of ``len`` beats minus one to beat ``at`` of the receivers' scratchpads, the ranks
    ``to``; of one that is ``empty`` no word counts; with its last word, ``counter`` rises if it is
    a ``signal``."""
    beats = config.spm_words // Lanes(config).words
    return data.StructLayout({"at": range(beats), "len": LEN_BITS, "to": unsigned(MOST_RANKS),
                              "empty": 1, "signal": 1, "counter": COUNTER})


def landing_layout(config: Config) -> data.StructLayout:
    """A beat for the scratchpad, ``last`` of its burst: then ``counter`` rises if it is a
    ``signal``."""
    return data.StructLayout({**lines_layout(config).members, "signal": 1, "counter": COUNTER})


class Exchange(wiring.Signature):
    """A core's side. ``landed``: a strobe for each burst all of whose words the scratchpad has."""

    def __init__(self, config: Config):
        super().__init__({
            "post": Out(stream.Signature(post_layout(config))),
            "w": Out(stream.Signature(write_layout(config))),
            "b": In(stream.Signature(RESPONSE)),
            "land": In(stream.Signature(landing_layout(config))), "landed": Out(1)})


class ExchangePort(Protocol):
    """Type of a component's member with the signature :class:`Exchange`."""

    signature: wiring.Signature
    post: stream.Interface
    w: stream.Interface
    b: stream.Interface
    land: stream.Interface
    landed: Signal


def beat_bits(config: Config) -> int:
    """Low bits of a byte address that lie within a beat."""
    return exact_log2(config.bus_bytes)
