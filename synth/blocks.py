# SPDX-License-Identifier: Apache-2.0
"""The blocks of a machine, each as a component that can be synthesized alone."""

from collections.abc import Callable, Iterable

from amaranth.lib import wiring

from hw.chip.control import ChipControl
from hw.chip.exchange import ChipExchange
from hw.chip.top import TOP as CHIP
from hw.chip.uncore import hub
from hw.control.fetch import Fetch
from hw.control.registers import Control
from hw.control.sequencer import Sequencer
from hw.memory.controller import MemoryController
from hw.memory.load import LoadEngine
from hw.memory.store import StoreEngine
from hw.scratchpad.banks import Scratchpad
from hw.tensor.accumulator import Accumulator
from hw.tensor.drain import Drain
from hw.tensor.feeder import Feeder
from hw.tensor.post import Post
from hw.tensor.tile import Tile
from hw.tensor.weights import WeightLoader
from hw.top import TOP, Makalu
from hw.vector.engine import VectorEngine
from hw.window.engine import WindowEngine
from isa.chip import ChipConfig
from isa.config import Config, ConfigError
from synth.array import Array

BLOCKS: dict[str, Callable[[Config], wiring.Component]] = {
    "tile": lambda c: Tile(c),
    "accumulator": lambda c: Accumulator(c),
    "post": Post,
    "feeder": Feeder,
    "weights": WeightLoader,
    "drain": Drain,
    "window": WindowEngine,
    "vector": VectorEngine,
    "load": LoadEngine,
    "store": StoreEngine,
    "memory": MemoryController,
    "fetch": Fetch,
    "sequencer": Sequencer,
    "control": Control,
}
"""Blocks by name. ``drain`` contains the post-processors of all tiles; ``tile``, ``accumulator``
and ``post`` are those of one tile. The scratchpad's banks are memories of the size that the
configuration names, so it is not listed."""

PARTS: dict[str, Callable[[Config], wiring.Component]] = {
    **BLOCKS, "array": Array, "scratchpad": lambda c: Scratchpad(c, reads=1, writes=1), TOP: Makalu}
"""Blocks, the array (a tile with its accumulator), the scratchpad with a port of each kind, and the
whole machine."""


CHIP_BLOCKS: dict[str, Callable[[ChipConfig], wiring.Component]] = {
    "hub": hub,
    "chip_control": ChipControl,
    "exchange": lambda chip: ChipExchange(chip.core, chip.cores, chip.queues, chip.cluster),
}
"""What a chip has besides its cores."""

CHIP_PARTS = (*CHIP_BLOCKS, CHIP)
"""That, and the whole chip."""

WITHIN = {"post": "drain"}
"""Blocks that are part of another one of :data:`BLOCKS`, in which they are counted."""


def copies(config: Config, name: str) -> int:
    """How many of a block a machine has besides those that are part of another block."""
    if name in WITHIN:
        return 0
    return config.tiles if name in ("tile", "accumulator") else 1


def present(config: Config, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that a machine has: not each has a window engine."""
    return [name for name in names if name != "window" or config.window_taps]


def component(config: Config | ChipConfig, name: str) -> wiring.Component:
    """One of :data:`PARTS`, or of a chip's :data:`CHIP_BLOCKS`.

    Raises
    ------
    ConfigError
        If the machine does not have it.
    """
    if isinstance(config, ChipConfig):
        return CHIP_BLOCKS[name](config)
    if not present(config, (name,)):
        raise ConfigError(f"{config.name} has no {name} (window_taps is 0): leave it out, or "
                          "choose a configuration that has one")
    return PARTS[name](config)
