# SPDX-License-Identifier: Apache-2.0
"""A device's process on this computer, and the socket to it."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection

from makalu.serve.messages import Answer, Failed, Message


class Process:
    """A process that owns a device. All methods but :meth:`kill` block; each raises OSError or
    EOFError when the process dies.

    Parameters
    ----------
    device, config : str
        As :func:`makalu.api.open_device` takes them.
    """

    host = "localhost"

    worker = "makalu.serve.worker"
    """The module that it runs."""

    def __init__(self, device: str, config: str):
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.worker, str(theirs.fileno()), device, config],
                pass_fds=[theirs.fileno()], start_new_session=True)
        self._link = Connection(mine.detach())
        self._numbers = itertools.count()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def open(self) -> Failed | None:
        """Wait until it has its device; or what it says is wrong."""
        return self._link.recv()

    def ask(self, message: Message) -> Answer:
        """Have it do something."""
        number = next(self._numbers)
        self._link.send((number, message))
        got, answer = self._link.recv()
        if got != number:
            raise EOFError(f"answer {got} to question {number}")
        return answer

    def wait(self) -> None:
        """Return when it has ended."""
        self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._link.close()
