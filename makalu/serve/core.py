# SPDX-License-Identifier: Apache-2.0
"""A core of an accelerator: its process, which is started again when it dies."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np

from makalu.serve.messages import Answer, Drop, Failed, Load, Loaded, Message, Ran, Run
from makalu.serve.requests import Failure, ServeError

START = 600.0
"""Seconds that a device may take to open: the simulation of a machine may have to be built."""


T = TypeVar("T")


class Died(RuntimeError):
    """The process died, or did not answer in time and was killed."""


@dataclass(frozen=True)
class Held:
    """A program: its hash (hexadecimal), and its file's bytes."""

    hash: str
    data: bytes


class Core:
    """The process of a core, asked by one caller at a time.

    Parameters
    ----------
    device, config : str
        As :func:`makalu.api.open_device` takes them.
    limit : float
        Seconds that an execution may take before the process counts as dead.
    ended : function
        Called in the event loop when the process has ended, whatever it was doing.

    Attributes
    ----------
    pid : int
        0: there is no process.
    restarts : int
    program : str
        Hash of the program that ran last.
    """

    def __init__(self, device: str, config: str, limit: float,
                 ended: Callable[[], None] = lambda: None):
        self.device, self.config, self.limit, self._ended = device, config, limit, ended
        self.pid, self.restarts, self.program = 0, 0, ""
        self._thread = ThreadPoolExecutor(1, "core")
        self._numbers = itertools.count()
        self._has: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the process, and wait until it has its device.

        Raises
        ------
        Died
            If it does not come up, with what it said of it.
        """
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "makalu.serve.worker", str(theirs.fileno()), self.device,
                 self.config], pass_fds=[theirs.fileno()], start_new_session=True)
        self._link = Connection(mine.detach())
        self._has.clear()
        said = await self._within(START, self._link.recv)
        if isinstance(said, Failed):
            raise Died(said.text)
        self.pid = self._process.pid
        threading.Thread(target=self._watch, args=(self._process, asyncio.get_running_loop()),
                         daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _watch(self, process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop) -> None:
        process.wait()
        with contextlib.suppress(RuntimeError):     # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(self._ended)

    async def restart(self) -> None:
        """Kill what is left of the process, and start another one."""
        self.kill()
        self.restarts += 1
        await self.start()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._link.close()
        self._process, self.pid = None, 0

    def close(self) -> None:
        """End the process, and the thread that talks to it."""
        self.kill()
        self._thread.shutdown(wait=False)

    async def load(self, program: Held) -> Loaded:
        """Have the process take a program.

        Raises
        ------
        ServeError
            If it is not one of this machine.
        Died
        """
        answer = await self._ask(Load(program.hash, program.data))
        assert isinstance(answer, Loaded), "the process answers what it is asked"
        self._has.add(program.hash)
        return answer

    async def run(self, program: Held, owner: str, inputs: dict[str, np.ndarray]) -> Ran:
        """Run a program once.

        Raises
        ------
        ServeError
            If the machine faults, or the answer is another program's.
        Died
        """
        if program.hash not in self._has:
            await self.load(program)
        answer = await self._ask(Run(program.hash, owner, inputs))
        if not isinstance(answer, Ran) or answer.program != program.hash:
            raise Died(f"the process answered with program {answer.program}, not {program.hash}")
        self.program = answer.program
        return answer

    async def drop(self, program: str) -> None:
        """Have the process forget a program."""
        if program in self._has:
            self._has.discard(program)
            await self._ask(Drop(program))

    async def _ask(self, message: Message) -> Loaded | Ran:
        number = next(self._numbers)
        answer = await self._within(self.limit, self._exchange, number, message)
        if isinstance(answer, Failed):
            if answer.fatal:
                raise Died(answer.text)
            raise ServeError(Failure.BAD if answer.input else Failure.BROKEN, answer.text)
        return answer

    def _exchange(self, number: int, message: Message) -> Answer:
        self._link.send((number, message))
        got, answer = self._link.recv()
        if got != number:
            raise EOFError(f"answer {got} to question {number}")
        return answer

    async def _within(self, seconds: float, call: Callable[..., T], *arguments: Any) -> T:
        """A blocking call on the core's thread; whatever goes wrong there is a death."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            self.kill()
            with contextlib.suppress(EOFError, OSError):
                await future
            raise Died(f"the process did not answer within {seconds:g} s") from None
        except (EOFError, OSError) as e:
            raise Died(f"the process of {self.device} died ({type(e).__name__})") from None
