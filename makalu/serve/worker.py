# SPDX-License-Identifier: Apache-2.0
"""The process that owns a device: it takes programs and inputs by a socket, and gives outputs.

It may die at any time, and loses nothing that its parent does not have. What is on the device
belongs to one program and one owner; when either changes, the program is loaded again, which clears
scratchpad, PSUM and every region that executions write.

The process of a chip has a channel, a thread and an owner for each of the chip's job queues, and so
several leases' executions under way at the same time.
"""

import itertools
import signal
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from isa.chip import CHIPS
from isa.errors import UserError
from isa.program import Program
from makalu.api import open_device, open_queues
from makalu.serve.channel import Channel
from makalu.serve.messages import Answer, Drop, Failed, Load, Loaded, Message, Ran, Run
from runtime.chip_host import TENANTS
from runtime.device import Device, DeviceFault, MachineError
from runtime.ports import InputError
from runtime.session import Session, check_alone

if TYPE_CHECKING:
    from sim.chip_device import LeasedCores

There = tuple[str, str, tuple[int, ...]]
NOTHING: There = "", "", ()


@dataclass
class Owner:
    """The device and the programs that were taken."""

    device: Device
    sessions: dict[str, Session] = field(default_factory=dict)
    there: There = NOTHING
    """Program and owner of what is on the device, and on which cores of a chip."""

    def answer(self, message: Message) -> Answer:
        """Do what a message asks for."""
        try:
            match message:
                case Load():
                    return self._load(message)
                case Run():
                    return self._run(message)
                case Drop():
                    self.sessions.pop(message.program, None)
                    return Loaded(message.program)
        except (DeviceFault, InputError) as e:
            self.there = NOTHING
            return Failed(str(e), input=isinstance(e, InputError))
        except (MachineError, UserError, MemoryError) as e:
            self.there = NOTHING
            return Failed(str(e), fatal=isinstance(e, MachineError))

    def _load(self, message: Load) -> Loaded:
        session = self._session(Program.from_bytes(message.data))
        self.sessions[message.program] = session
        return Loaded(message.program, tuple(session.inputs), tuple(session.outputs),
                      session.batch)

    def _session(self, program: Program) -> Session:
        """A program that was taken; it is on the device then."""
        self.there = NOTHING
        return Session(program, self.device)

    def _run(self, message: Run) -> Ran:
        session = self.sessions[message.program]
        start = time.monotonic()
        there = message.program, message.owner, message.cores
        if self.there != there:
            self.there = NOTHING
            self._give(message)
            session.load()
            self.there = there
        outputs = session.run(message.inputs)
        executions = tuple((first + rank, counters.get("CYCLES", 0)) for first, counters in zip(
            session.ran_on, session.counters, strict=True)
            for rank in range(session.program.ranks))
        return Ran(message.program, outputs, executions, time.monotonic() - start)

    def _give(self, message: Run) -> None:
        """Get ready for another program, owner or cores, of which most devices have no choice."""


def numbers() -> defaultdict[tuple[str, str], int]:
    """A number for whatever it is asked for, from 1 on; none twice."""
    return defaultdict(itertools.count(1).__next__)


@dataclass
class QueueOwner(Owner):
    """The owner of a chip's job queue, whose cores are others from lease to lease."""

    device: "LeasedCores"
    tenants: defaultdict[tuple[str, str], int] = field(default_factory=numbers)
    """The chip's tenants, for all its queues: an owner with a program each, so that cores are
    cleared when either changes."""

    def _session(self, program: Program) -> Session:
        """A program that was taken; the queue has no cores to load it into yet."""
        program.check(self.device.config)
        check_alone(program)
        return Session(program, self.device, loaded=True)

    def _give(self, message: Run) -> None:
        number = self.tenants[message.owner, message.program]
        if number > TENANTS:
            raise MachineError(f"{TENANTS} tenants have no number left for another: begin anew")
        self.device.assign(message.cores, number)


def owners(device: str, config: str, links: int) -> Sequence[Owner]:
    """An owner for each link to the process of a device.

    Raises
    ------
    UserError, ValueError, OSError
        If the device does not open.
    """
    if device in CHIPS:
        tenants = numbers()
        return [QueueOwner(queue, tenants=tenants)
                for queue in open_queues(device, config)[:links]]
    return [Owner(open_device(device, config)) for _ in range(links)]


def serve(channels: Sequence[Channel], device: str, config: str) -> None:
    """Say whether the device is there, and answer until the other end of a channel is closed."""
    try:
        found = owners(device, config, len(channels))
    except (UserError, ValueError, OSError) as e:
        for channel in channels:
            channel.send(Failed(str(e), fatal=True))
        return
    ended = SimpleQueue[BaseException | None]()

    def answer(channel: Channel, owner: Owner) -> None:
        try:
            converse(channel, owner)
            ended.put(None)
        except BaseException as e:      # which ends the process, in its main thread
            ended.put(e)

    for each in zip(channels, found, strict=True):
        threading.Thread(target=answer, args=each, daemon=True).start()
    why = ended.get()
    if why is not None:
        raise why


def converse(channel: Channel, owner: Owner) -> None:
    """Answer until the other end is closed."""
    channel.send(None)
    while True:
        try:
            number, message = channel.receive()
        except EOFError:
            return
        channel.send((number, owner.answer(message)))


def main() -> None:
    """The process: its arguments are the device, the configuration, and its ends of channels."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # the parent decides
    device, config, *given = sys.argv[1:]
    ends = zip(*[map(int, given)] * 3, strict=True)
    serve([Channel(socket.socket(fileno=end), out, into, copies=False)
           for end, out, into in ends], device, config)


if __name__ == "__main__":
    main()
