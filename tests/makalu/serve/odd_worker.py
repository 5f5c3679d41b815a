# SPDX-License-Identifier: Apache-2.0
"""The process of a device that misbehaves: for requests whose input has a value of :class:`Odd`, or
with a memory of :data:`MEMORIES`, which are names of devices here."""

import dataclasses
import enum
import os
import time

from isa.instructions import Fault
from isa.presets import load_config
from makalu.serve import worker
from makalu.serve.messages import Ran, Run
from runtime.device import Device, DeviceFault, MachineError
from sim.device import RtlDevice
from sim.harness import DramModel

LIMIT = 2.0
"""Seconds of an execution after which the server is to lose patience."""


class Odd(enum.IntEnum):
    """What happens to a request with this value anywhere in its input."""

    FAULT, BREAK, HANG, EXIT, RAISE, STRANGE, STALL = range(101, 108)


MEMORIES = {
    "slow memory": DramModel(read_latency=300, write_latency=200, stall=0.5, reorder=0.5),
    "losing memory": DramModel(mischief=(("lost R", 0, 9),)),
    "lying memory": DramModel(mischief=(("read SLVERR", 0, 11),))}


class Owner(worker.Owner):
    """The owner of a device, who looks at inputs first."""

    def _run(self, message: Run) -> Ran:
        odd = max(0, *(int(v.max()) for v in message.inputs.values()))
        match odd:
            case Odd.FAULT:
                raise DeviceFault(self.sessions[message.program].program, Fault.SPM_RANGE, 0)
            case Odd.BREAK:
                raise MachineError("the machine breaks its rules")
            case Odd.HANG:
                time.sleep(10 * LIMIT)
            case Odd.EXIT:
                os._exit(1)
            case Odd.RAISE:
                os.close(2)     # without a trace on the test's standard error
                raise ZeroDivisionError
            case Odd.STALL:
                time.sleep(0.1)
        ran = super()._run(message)
        return dataclasses.replace(ran, program="0" * 16) if odd == Odd.STRANGE else ran


def open_device(name: str, config: str) -> Device:
    """A device, or the simulated RTL with an odd memory."""
    if name in MEMORIES:
        return RtlDevice(load_config(config), dram=MEMORIES[name], watchdog=2_000,
                         max_cycles=200_000)
    return ordinary(name, config)


if __name__ == "__main__":
    ordinary, worker.open_device = worker.open_device, open_device  # type: ignore[assignment]
    worker.Owner = Owner    # type: ignore[misc]
    worker.main()
