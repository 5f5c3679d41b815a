# SPDX-License-Identifier: Apache-2.0
"""A device's process on this computer."""

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence

from makalu.serve.channel import Channel
from makalu.serve.lane import Link
from makalu.serve.messages import Answer, Failed, Message


class Process:
    """A process that owns a device. All methods but :meth:`kill` block; each raises OSError or
    EOFError when the process dies.

    This is one link to it, with a channel of its own.
    """

    host = "localhost"

    worker = "makalu.serve.worker"
    """The module that it runs."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel):
        self._process, self._channel = process, channel
        self._numbers = itertools.count()

    @classmethod
    def begin(cls, device: str, config: str, links: int) -> Sequence[Link]:
        """Begin a process, with so many links to it.

        Parameters
        ----------
        device, config : str
            As :func:`makalu.api.open_device` takes them; with several links a chip.
        links : int
        """
        pairs = [Channel.pair() for _ in range(links)]
        numbers = [number for _, theirs in pairs for number in theirs]
        process = subprocess.Popen(
            [sys.executable, "-m", cls.worker, device, config, *map(str, numbers)],
            pass_fds=numbers, start_new_session=True)
        for _, (end, *_) in pairs:
            os.close(end)
        return [cls(process, channel) for channel, _ in pairs]

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
        self._process.kill()
        self._process.wait()
        self._channel.close()
