# SPDX-License-Identifier: Apache-2.0
"""The process that owns a device: it takes programs and inputs by a socket, and gives outputs.

It may die at any time, and loses nothing that its parent does not have. What is on the device
belongs to one program and one owner; when either changes, the program is loaded again, which clears
scratchpad, PSUM and every region that executions write.
"""

import signal
import socket
import sys
import time
from dataclasses import dataclass, field

from isa.errors import UserError
from isa.program import Program
from makalu.api import open_device
from makalu.serve.channel import Channel
from makalu.serve.messages import Answer, Drop, Failed, Load, Loaded, Message, Ran, Run
from runtime.device import Device, DeviceFault, MachineError
from runtime.ports import InputError
from runtime.session import Session


@dataclass
class Owner:
    """The device and the programs that were taken."""

    device: Device
    sessions: dict[str, Session] = field(default_factory=dict)
    there: tuple[str, str] = "", ""
    """Program and owner of what is on the device."""

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
            self.there = "", ""
            return Failed(str(e), input=isinstance(e, InputError))
        except (MachineError, UserError, MemoryError) as e:
            self.there = "", ""
            return Failed(str(e), fatal=isinstance(e, MachineError))

    def _load(self, message: Load) -> Loaded:
        session = Session(Program.from_bytes(message.data), self.device)
        self.sessions[message.program], self.there = session, (message.program, "")
        return Loaded(message.program, tuple(session.inputs), tuple(session.outputs),
                      session.batch)

    def _run(self, message: Run) -> Ran:
        session = self.sessions[message.program]
        start = time.monotonic()
        if self.there != (message.program, message.owner):
            self.there = "", ""
            session.load()
            self.there = message.program, message.owner
        outputs = session.run(message.inputs)
        cycles = sum(c.get("CYCLES", 0) for c in session.counters)
        return Ran(message.program, outputs, cycles, time.monotonic() - start)


def serve(channel: Channel, device: str, config: str) -> None:
    """Say whether the device is there, and answer until the other end is closed."""
    try:
        machine = open_device(device, config)
    except (UserError, ValueError, OSError) as e:
        channel.send(Failed(str(e), fatal=True))
        return
    channel.send(None)
    with machine:
        owner = Owner(machine)
        while True:
            try:
                number, message = channel.receive()
            except EOFError:
                return
            channel.send((number, owner.answer(message)))


def main() -> None:
    """The process: its arguments are its end of the channel, the device and the configuration."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # the parent decides
    end, out, into = map(int, sys.argv[1:4])
    serve(Channel(socket.socket(fileno=end), out, into, copies=False), *sys.argv[4:])


if __name__ == "__main__":
    main()
