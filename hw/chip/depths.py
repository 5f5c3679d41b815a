# SPDX-License-Identifier: Apache-2.0
"""How much of a core may be under way in the hub.

``LOAD`` has places for all that a core has in flight, ``outstanding`` bursts of ``max_burst``
beats, in equal parts for each channel: a run through memory goes to the channels in turns. One that
stays in a channel has its part alone, but never less than two pieces. Instruction fetch has places
for the blocks that it reads ahead, likewise.

Data of a core take ``outstanding * max_burst * bus_bytes`` bytes, if that is enough for two pieces
a channel: 8 KB in ``core1024``, whatever the number of channels, and 1 KB for instructions.
"""

from dataclasses import dataclass

from hw.chip.interleave import INTERLEAVE_BYTES, piece_beats
from hw.control.fetch import Fetch
from hw.parts.fifo import COMB_DEPTH
from isa.config import Config
from isa.instructions import FETCH_BYTES


@dataclass(frozen=True, kw_only=True)
class Depths:
    """One kind of a core's bursts.

    Parameters
    ----------
    bursts : int
        That wait to be cut. As many as the core ever has in flight: its addresses are always
        taken.
    pieces : int
        That the core has not been answered.
    beats : int
        Places for data in each channel, of the longest piece at least.
    """

    bursts: int
    pieces: int
    beats: int


def _pieces(config: Config, bursts: int) -> int:
    """Aligned pieces of so many bursts, or as many as a list of flip-flops holds."""
    each = -(-config.max_burst * config.bus_bytes // INTERLEAVE_BYTES)
    return min(bursts * each, COMB_DEPTH)


def load_depths(config: Config, channels: int) -> Depths:
    """Of LOAD."""
    flight = config.outstanding * config.max_burst
    return Depths(bursts=config.outstanding, pieces=_pieces(config, config.outstanding),
                  beats=max(flight // channels, 2 * piece_beats(config)))


def fetch_depths(config: Config, channels: int) -> Depths:
    """Of instruction fetch."""
    each = -(-FETCH_BYTES // (config.max_burst * config.bus_bytes))
    bursts, flight = Fetch.AHEAD * each, Fetch.AHEAD * FETCH_BYTES // config.bus_bytes
    return Depths(bursts=bursts, pieces=min(bursts, COMB_DEPTH),
                  beats=max(flight // channels, piece_beats(config)))


def store_depths(config: Config) -> Depths:
    """Of STORE, whose data wait in the core."""
    return Depths(bursts=2, pieces=_pieces(config, config.outstanding), beats=0)
