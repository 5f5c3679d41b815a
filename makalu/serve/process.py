# SPDX-License-Identifier: Apache-2.0
"""A device's process on this computer."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys

from makalu.serve.channel import Channel
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
        self._channel, theirs = Channel.pair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.worker, *map(str, theirs), device, config],
            pass_fds=theirs, start_new_session=True)
        os.close(theirs[0])
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
        return self._channel.receive()

    def ask(self, message: Message) -> Answer:
        """Have it do something."""
        number = next(self._numbers)
        self._channel.send((number, message))
        got, answer = self._channel.receive()
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
        self._channel.close()
