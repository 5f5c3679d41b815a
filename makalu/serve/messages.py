# SPDX-License-Identifier: Apache-2.0
"""What the server and the process of a device say to each other."""

from dataclasses import dataclass

import numpy as np

from runtime.ports import Port


@dataclass(frozen=True)
class Load:
    """Take a program; answered with :class:`Loaded`."""

    program: str
    data: bytes


@dataclass(frozen=True)
class Run:
    """Run a program that was taken, for an owner, on these cores of a chip; answered with
    :class:`Ran`."""

    program: str
    owner: str
    inputs: dict[str, np.ndarray]
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drop:
    """Forget a program; answered with :class:`Loaded` without ports."""

    program: str


@dataclass(frozen=True)
class Loaded:
    """What a program takes and gives."""

    program: str
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    batch: int = 1


@dataclass(frozen=True)
class Ran:
    """A run: which program gave these outputs; of each execution the core of the device, or each of
    those that it took together, and the cycles that the machine counted (0: it counts none); and
    the seconds that all took."""

    program: str
    outputs: dict[str, np.ndarray]
    executions: tuple[tuple[int, int], ...]
    seconds: float

    @property
    def cycles(self) -> int:
        """Of all executions together, on each core that they took."""
        return sum(cycles for _, cycles in self.executions)


@dataclass(frozen=True)
class Failed:
    """What was asked for is not done; ``fatal``: the machine is not to be used again."""

    text: str
    input: bool = False
    fatal: bool = False


Message = Load | Run | Drop
Answer = Loaded | Ran | Failed
