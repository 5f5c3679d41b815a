# SPDX-License-Identifier: Apache-2.0
"""The properties, as data: what each says in words, and the design that says it to the checker."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring

from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.instructions import WAIT_REACH
from prove.checker import Result, check
from prove.dma import Halted
from prove.streams import Order, Places
from prove.waits import Waits


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property.

    Parameters
    ----------
    name : str
        For tests and the command line.
    block : str
        File of the block.
    says : str
        The property in words, what is assumed included.
    design : callable
        Makes the component that asserts it.
    cycles : int
        Every run of this length is tried.
    seconds : int
        For the proof that it holds in all runs; 0: none is looked for.
    quick : bool
        It takes seconds, and so is part of ``make test``.
    """

    name: str
    block: str
    says: str
    design: Callable[[], wiring.Component]
    cycles: int = 12
    seconds: int = 120
    quick: bool = True

    def check(self) -> Result:
        """What the checker says of it."""
        return check(self.design(), self.cycles, self.seconds)


ORDER = ("nothing is lost, doubled, changed or overtaken; an offered payload stays; it holds "
         "exactly as many as it says")

PROPERTIES = (
    Property(name="skid", block="hw/parts/skid.py", says=f"two places: {ORDER}",
             design=lambda: Order(Skid(2), 2)),
    Property(name="skid_eager", block="hw/parts/skid.py",
             says=f"the eager one, if its taker is ready whenever there is nothing: {ORDER}",
             design=lambda: Order(Skid(2, eager=True), 2, eager=True)),
    Property(name="fifo_1", block="hw/parts/fifo.py", says=f"depth 1: {ORDER}",
             design=lambda: Order(Fifo(2, 1), 1)),
    Property(name="fifo_4", block="hw/parts/fifo.py", says=f"depth 4: {ORDER}",
             design=lambda: Order(Fifo(2, 4), 4)),
    Property(name="fifo_5", block="hw/parts/fifo.py",
             says=f"depth 5, not a power of two: {ORDER}", design=lambda: Order(Fifo(2, 5), 5),
             quick=False),
    Property(name="fifo_registered", block="hw/parts/fifo.py",
             says=f"depth 4 and a register: {ORDER}",
             design=lambda: Order(Fifo(2, 4, registered=True), 5, 2)),
    Property(name="places", block="hw/parts/places.py",
             says="its two flip-flops tell whether any and whether all places are free, if no "
                  "place is taken that is not free, or given back that was not taken",
             design=Places),
    Property(name="waits", block="hw/engine/waits.py",
             says="an instruction passes in the cycle after all it waits for is complete, and not "
                  f"before, for all counts of whole numbers behind those modulo 2^16, if what it "
                  f"waits for is at most {WAIT_REACH:,} back and fewer than {WAIT_REACH:,} "
                  "instructions of a queue complete from then on until it passes",
             design=lambda: Waits(WAIT_REACH - 1)),
    Property(name="halted", block="hw/memory/lanes.py",
             says="a DMA engine that has halted, by an error response, a fault or another engine, "
                  "stays halted until reset", design=Halted),
)
