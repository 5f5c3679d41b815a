# SPDX-License-Identifier: Apache-2.0
"""A simulated chip that several leases use at the same time, each from a thread of its own.

The simulation is one, so its users take turns: who waits for executions clocks the chip by a slice,
and with it everybody's executions.
"""

import threading
from collections import deque
from dataclasses import replace

from isa.chip import ChipConfig
from runtime.chip_host import Chip
from sim.build import Library
from sim.chip import simulation
from sim.device import HarnessLink
from sim.harness import DramModel, Harness

SLICE = 5_000
"""Cycles of a turn, if nothing ends before."""


class Turns:
    """A lock that goes to who has waited for it longest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = deque[object]()     # the first one has it

    def __enter__(self) -> None:
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is me)
            except BaseException:       # an interrupt from the keyboard
                self._waiting.remove(me)
                self._changed.notify_all()
                raise

    def __exit__(self, *raised: object) -> None:
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()


class Pieces:
    """Pieces of a simulated memory: one that was given back is used again, and is zero then.

    Parameters
    ----------
    harness : Harness
    base : int
        Where the first one is.
    """

    def __init__(self, harness: Harness, base: int):
        self._harness, self._end = harness, base
        self._free = dict[int, int]()
        self._taken = dict[int, int]()

    def take(self, size: int) -> int:
        """Where a piece of so many bytes is, at least."""
        fitting = [(have, at) for at, have in self._free.items() if have >= size]
        if fitting:
            have, at = min(fitting)
            del self._free[at]
            self._harness.memory(at, have)[:] = 0
        else:
            have, at = size, self._end
            self._harness.allocate(at, have)
            self._end += have
        self._taken[at] = have
        return at

    def give(self, at: int) -> None:
        """Give a piece back."""
        self._free[at] = self._taken.pop(at)


class SharedChip:
    """The RTL of a chip, simulated with its memory. Everything but :attr:`turns` and :meth:`close`
    is for who has the turn.

    Parameters
    ----------
    chip : ChipConfig
    dram : DramModel, optional
        What each channel of the memory is.
    max_cycles : int
        Cycles after which executions that have not ended are given up.
    library : Library, optional
        The simulation; by default that of the chip.

    Attributes
    ----------
    config : ChipConfig
    harness : Harness
    link : HarnessLink
    control : Chip
    memory : Pieces
    turns : Turns
    """

    def __init__(self, chip: ChipConfig, *, dram: DramModel | None = None,
                 max_cycles: int = 10**11, library: Library | None = None):
        self.config, self.max_cycles = chip, max_cycles
        memory = replace(dram or DramModel(), channels=chip.channels)
        self.harness = Harness((library or simulation(chip)).path, memory,
                               max_burst=chip.core.max_burst, traces=chip.cores)
        self.link = HarnessLink(self.harness, max_cycles)
        self.control = Chip(self.link, chip)
        self.memory = Pieces(self.harness, 1 << (chip.core.addr_bits - 2))
        self.turns = Turns()

    def clock(self) -> None:
        """A slice, or up to the next interrupt, whose records are taken."""
        if self.link.wait(SLICE):
            self.control.collect()

    def close(self) -> None:
        """Free the simulation; nothing else may be called afterwards."""
        with self.turns:
            self.harness.close()
