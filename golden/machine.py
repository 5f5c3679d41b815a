# SPDX-License-Identifier: Apache-2.0
"""The whole machine: a program's instructions, one after another, on scratchpad and DRAM regions.

The real machine overlaps its engines; the waits in the instructions make the result the same as
that of running them in program order, which is what this model does.
"""

from collections.abc import Callable

import numpy as np

from golden import dma, vector, window
from golden.fault import MachineFault
from golden.results import Exceptions
from golden.tensor import Tensor
from isa.config import Config
from isa.instructions import (EXCHANGE, KEPT, QUEUE_OF, SIGNALS, SIGNAL_BITS, WAIT_BITS, WAIT_REACH,
                              Fault, Instruction, Opcode, Region, codes, queues_of, reached)

__all__ = ["Machine", "MachineFault", "zeros"]


def zeros(sizes: dict[Region, int]) -> dict[Region, np.ndarray]:
    """The regions that keep their bytes (uint8), as they are when a program is loaded."""
    return {region: np.zeros(sizes.get(region, 0), np.uint8) for region in KEPT}


class Machine:
    """One machine.

    Parameters
    ----------
    config : Config
        Its configuration.

    Attributes
    ----------
    gang : list[Machine]
        The machines that it works with, by their ranks, itself among them.
    signals : list[int]
        Its counters of signals.
    """

    def __init__(self, config: Config):
        self.config = config
        self.queues = queues_of(config)
        self.gang, self.signals = [self], [0] * SIGNALS
        self.spm = np.zeros((config.spm_words, config.word_bytes), np.uint8)
        self.exceptions = Exceptions()
        self.tensor = Tensor(config, self.exceptions)
        self._decoded: dict[bytes, Instruction] = {}

    def run(self, image: bytes, inputs: np.ndarray, sizes: dict[Region, int],
            program: int = 0, watch: Callable[[int, Instruction], None] | None = None,
            kept: dict[Region, np.ndarray] | None = None) -> np.ndarray:
        """Run the program at byte ``program`` of ``image``; returns region OUTPUT (uint8). The
        scratchpad is as the program before has left it; no PSUM bank is held.

        Parameters
        ----------
        image : bytes
            Region PROGRAM.
        inputs : uint8 array
            Region INPUT.
        sizes : dict[Region, int]
            Bytes of the regions.
        watch : callable, optional
            Called with position and instruction after each one, for progress and probes.
        kept : dict[Region, uint8 array], optional
            What :data:`isa.instructions.KEPT` hold, which is written to; by default zeros.

        Raises
        ------
        MachineFault
            As the RTL would report it.
        """
        regions = self._regions(image, inputs, zeros(sizes) if kept is None else kept)
        self.begin()
        completed = dict.fromkeys(self.queues, 0)
        for index, code in enumerate(codes(image, program)):
            i = self.decode(code, index)
            if i.opcode is Opcode.END:
                return regions[Region.OUTPUT]
            self.check_waits(i, index, completed)
            self.execute(i, index, regions)
            completed[QUEUE_OF[i.opcode]] += 1
            if watch:
                watch(index, i)
        raise MachineFault(Fault.DRAM_RANGE, sum(completed.values()))

    def _regions(self, image: bytes, inputs: np.ndarray, kept: dict[Region, np.ndarray]
                 ) -> dict[Region, np.ndarray]:
        return {Region.PROGRAM: np.frombuffer(image, np.uint8),
                Region.INPUT: np.array(inputs, np.uint8), **kept}

    def begin(self) -> None:
        """A program begins: nothing is counted, no PSUM bank is held, no signal has come."""
        self.exceptions.clear()
        self.tensor.held = None
        self.signals = [0] * SIGNALS

    def decode(self, code: bytes, index: int) -> Instruction:
        """The instruction at a position of the program.

        Raises
        ------
        MachineFault
            ILLEGAL_OPCODE if it is none on this machine.
        """
        if code not in self._decoded:
            try:
                self._decoded[code] = Instruction.decode(code)
            except ValueError as e:
                raise MachineFault(Fault.ILLEGAL_OPCODE, index) from e
        i = self._decoded[code]
        if i.opcode in EXCHANGE and not self.config.exchange:
            raise MachineFault(Fault.ILLEGAL_OPCODE, index)
        return i

    def check_waits(self, i: Instruction, index: int, before: dict[str, int]) -> None:
        """Whether an instruction waits for what is before it in the program, ``before`` of each
        queue, and not too far back.

        Raises
        ------
        MachineFault
            WATCHDOG if not: it would wait for ever.
        """
        for bit, queue in enumerate(self.queues):
            back = (before[queue] - getattr(i, f"wait_{queue}")) % (1 << WAIT_BITS)
            if i.wait_mask >> bit & 1 and back > WAIT_REACH:
                raise MachineFault(Fault.WATCHDOG, index)

    def execute(self, i: Instruction, index: int, regions: dict[Region, np.ndarray]) -> None:
        """Run an instruction whose waits are satisfied.

        Raises
        ------
        MachineFault
        """
        if i.opcode in (Opcode.LOAD, Opcode.STORE):
            dma.execute(i, index, self.spm, regions[Region(i.region)])
        elif i.opcode is Opcode.TENSOR:
            self.tensor.execute(i, index, self.spm)
        elif i.opcode is Opcode.WINDOW and self.config.window_taps:
            window.execute(i, index, self.spm, self.config, self.exceptions)
        elif i.opcode is Opcode.VECTOR:
            vector.execute(i, index, self.spm, self.config, self.exceptions)
        elif i.opcode in (Opcode.XFER, Opcode.SIGNAL):
            self._send(i, index)
        elif i.opcode is Opcode.AWAIT:
            if not reached(self.signals[i.counter], i.threshold):
                raise MachineFault(Fault.WATCHDOG, index)
        else:
            raise MachineFault(Fault.ILLEGAL_OPCODE, index)

    def _send(self, i: Instruction, index: int) -> None:
        others = i.to & ~(1 << self.gang.index(self))
        if not i.to or i.to != others or i.to >> len(self.gang):
            raise MachineFault(Fault.BAD_FIELD, index)
        receivers = [m for rank, m in enumerate(self.gang) if i.to >> rank & 1]
        words = i.opcode is Opcode.XFER and any((i.n0, i.n1, i.n2, i.n3))
        if words:
            dma.send(i, index, self.spm, [m.spm for m in receivers])
        if not words or i.signal:
            for m in receivers:
                m.signals[i.counter] = (m.signals[i.counter] + 1) % (1 << SIGNAL_BITS)
