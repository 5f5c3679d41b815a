# SPDX-License-Identifier: Apache-2.0
"""The parameters of a chip: cores of one configuration in front of interleaved memory channels."""

import hashlib
from dataclasses import dataclass, replace

from isa.config import Config, ConfigError
from isa.presets import PRESETS

INTERLEAVE = 512
"""Bytes that lie in one channel: byte ``a`` in channel ``a // INTERLEAVE % channels``."""

MOST_CORES = 64
MOST_QUEUES = 8
"""Job queues of a chip, if it has as many cores."""

CLUSTER = 4
"""Cores of a cluster."""


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """One chip.

    Parameters
    ----------
    name : str
        Used in messages and reports; not part of the hash.
    core : Config
        What each core is; with ``exchange`` they send to one another.
    cores : int
        1 to 64.
    channels : int
        AXI4 masters to memory, each as wide as a core's bus: a power of two up to 16.
    cluster : int
        Cores that follow one another and send on one bus; clusters send side by side.

    Raises
    ------
    isa.config.ConfigError
        If a field is out of its range.
    """

    name: str
    core: Config
    cores: int
    channels: int
    cluster: int = CLUSTER

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, value: object, rule: str) -> None:
            if not ok:
                raise ConfigError(f"chip {self.name!r}: {field} is {value!r}, but it has to be "
                                  f"{rule}")

        need(1 <= self.cores <= MOST_CORES, "cores", self.cores, f"from 1 to {MOST_CORES}")
        need(self.channels in (1, 2, 4, 8, 16), "channels", self.channels,
             "a power of two up to 16")
        need(self.cluster >= 1, "cluster", self.cluster, "1 or more")
        most = INTERLEAVE // self.core.bus_bytes
        need(self.core.max_burst <= most, "core.max_burst", self.core.max_burst,
             f"at most {most}, so that a burst lies in one channel")

    def __repr__(self) -> str:
        return (f"<ChipConfig {self.name}: {self.cores} cores {self.core.name}, {self.channels} "
                f"channels, {self.bytes_a_cycle} bytes a cycle>")

    @property
    def bytes_a_cycle(self) -> int:
        """What all channels move."""
        return self.channels * self.core.bus_bytes

    @property
    def queues(self) -> int:
        """Job queues, each of one lease."""
        return min(self.cores, MOST_QUEUES)

    @property
    def groups(self) -> int:
        """Sets of cores that can read together at the same time."""
        return self.queues

    @property
    def hash(self) -> int:
        """64 bits of all fields but the names."""
        text = f"{self.core.hash:016x} {self.cores} {self.channels} {self.cluster}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


_SHAPES = (("chip2_tiny", "tiny", 2, 2), ("chip2_ecp5", "ecp5", 2, 2),
           ("chip4_small", "core256", 4, 2), ("chip16_small", "core256", 16, 4),
           ("chip4", "core1024", 4, 2),
           ("chip16", "core1024", 16, 4), ("chip64", "core1024", 64, 8))
"""Name, core, cores, channels."""

CHIPS = {name + kind: ChipConfig(name=name + kind, cores=cores, channels=channels,
                                 core=replace(PRESETS[core + kind], exchange=True))
         for kind in ("", "_fp") for name, core, cores, channels in _SHAPES}
"""The chips that have a name; those with floating point under one that ends in ``_fp``."""


def load_chip(name: str) -> ChipConfig:
    """A chip by its name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name in CHIPS:
        return CHIPS[name]
    raise ConfigError(f"no chip {name!r}: name one of {', '.join(CHIPS)}")
