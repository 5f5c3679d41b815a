# SPDX-License-Identifier: Apache-2.0
"""How much of a core may be under way in the hub.

LOAD has places for what a core has in flight, ``outstanding`` bursts of ``max_burst`` beats, and
instruction fetch for the blocks that it reads ahead: in each channel for those that are there when
addresses follow one another, in whole blocks of the interleaving. A run that stays in one channel
has no more in flight than that.

Of each core, ``core1024`` has 8 KB for data, on one channel as on eight, and 1 KB for instructions,
or 512 bytes a channel if there are more than two. Where there are groups, reads in them have as
many places again (:mod:`hw.chip.read_path`).
"""

from dataclasses import dataclass

from isa.chip import INTERLEAVE
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
        Places for data that are read, in each channel, of the longest piece at least.
    """

    bursts: int
    pieces: int
    beats: int = 0


def _pieces(config: Config, bursts: int) -> int:
    """Aligned pieces of so many bursts, or as many as a list of flip-flops holds."""
    each = -(-config.max_burst * config.bus_bytes // INTERLEAVE)
    return min(bursts * each, COMB_DEPTH)


def _beats(config: Config, flight: int, channels: int) -> int:
    """Places in each channel for ``flight`` beats that follow one another."""
    block = INTERLEAVE // config.bus_bytes
    return min(flight, -(-flight // (block * channels)) * block)


def load_depths(config: Config, channels: int) -> Depths:
    """Of LOAD."""
    return Depths(bursts=config.outstanding, pieces=_pieces(config, config.outstanding),
                  beats=_beats(config, config.outstanding * config.max_burst, channels))


def fetch_depths(config: Config, channels: int) -> Depths:
    """Of instruction fetch."""
    each = -(-FETCH_BYTES // (config.max_burst * config.bus_bytes))
    bursts, flight = Fetch.AHEAD * each, Fetch.AHEAD * FETCH_BYTES // config.bus_bytes
    return Depths(bursts=bursts, pieces=min(bursts, COMB_DEPTH),
                  beats=_beats(config, flight, channels))


def store_depths(config: Config) -> Depths:
    """Of STORE, whose data wait in the core."""
    return Depths(bursts=2, pieces=_pieces(config, config.outstanding))
