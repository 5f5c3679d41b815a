# SPDX-License-Identifier: Apache-2.0
"""A lane of an accelerator: a link to the process of a core, or to that of a chip, where it is a
job queue beside others. The process is started again when it dies."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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


class Link(Protocol):
    """A process with a device, wherever it is. Methods that block raise OSError or EOFError when it
    dies."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def host(self) -> str:
        """The computer that it runs on."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def open(self) -> Failed | None:
        """Wait until it has its device; or what it says is wrong."""

    def ask(self, message: Message) -> Answer:
        """Have it do something, and wait for the answer."""

    def wait(self) -> None:
        """Return when it has ended."""

    def kill(self) -> None:
        """End it at once."""


class Joint:
    """The links to one process, which is begun as often as one that has a link asks for another.

    Parameters
    ----------
    begin : function
        Begins a process, and gives the links to it.

    Attributes
    ----------
    begun : int
        Processes so far.
    """

    def __init__(self, begin: Callable[[], Sequence[Link]]):
        self._begin, self.begun = begin, 0
        self._free: dict[int, Link] = {}

    def link(self, k: int) -> Link:
        """The link of a lane to the process that is there, or, if the lane had that, to a new
        one."""
        if k not in self._free:
            for unused in self._free.values():
                unused.kill()
            self._free = dict(enumerate(self._begin()))
            self.begun += 1
        return self._free.pop(k)

    def close(self) -> None:
        """End what no lane has taken."""
        for unused in self._free.values():
            unused.kill()


class Lane:
    """A process, asked by one caller at a time.

    Parameters
    ----------
    begin : function
        Gives a link to a process, another one whenever it is called.
    limit : float
        Seconds that an execution may take before the process counts as dead.
    ended : function
        Called in the event loop when the process has ended, whatever it was doing.

    Attributes
    ----------
    restarts : int
    """

    def __init__(self, begin: Callable[[], Link], limit: float,
                 ended: Callable[[], None] = lambda: None):
        self._begin, self.limit, self._ended = begin, limit, ended
        self.restarts = 0
        self._thread = ThreadPoolExecutor(1, "lane")
        self._has: set[str] = set()
        self._link: Link | None = None
        self._open = False

    async def start(self) -> None:
        """Start the process, and wait until it has its device.

        Raises
        ------
        Died
            If it does not come up, with what it said of it.
        """
        self._has.clear()
        self._link = link = self._begin()
        said = await self._within(START, link.open)
        if isinstance(said, Failed):
            raise Died(said.text)
        self._open = True
        threading.Thread(target=self._watch, args=(link, asyncio.get_running_loop()),
                         daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the process is there, and has its device."""
        return self._open and self._link is not None and self._link.alive

    @property
    def pid(self) -> int:
        """The process; 0: there is none."""
        return self._link.pid if self._link and self._open else 0

    @property
    def host(self) -> str:
        """The computer that it runs on."""
        return self._link.host if self._link and self._open else ""

    def _watch(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        link.wait()
        with contextlib.suppress(RuntimeError):     # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(self._ended)

    async def restart(self) -> None:
        """Kill what is left of the process, and start another one."""
        self.kill()
        self.restarts += 1
        await self.start()

    def kill(self) -> None:
        """End the process at once."""
        if self._link is not None:
            self._link.kill()
        self._link, self._open = None, False

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

    async def run(self, program: Held, owner: str, inputs: dict[str, np.ndarray],
                  cores: tuple[int, ...]) -> Ran:
        """Run a program, on all of these cores of a chip.

        Raises
        ------
        ServeError
            If the machine faults, or the answer is another program's.
        Died
        """
        if program.hash not in self._has:
            await self.load(program)
        answer = await self._ask(Run(program.hash, owner, inputs, cores))
        if not isinstance(answer, Ran) or answer.program != program.hash:
            raise Died(f"the process answered with program {answer.program}, not {program.hash}")
        return answer

    async def drop(self, program: str) -> None:
        """Have the process forget a program."""
        if program in self._has:
            self._has.discard(program)
            await self._ask(Drop(program))

    async def _ask(self, message: Message) -> Loaded | Ran:
        if self._link is None:
            raise Died("there is no process")
        answer = await self._within(self.limit, self._link.ask, message)
        if isinstance(answer, Failed):
            if answer.fatal:
                raise Died(answer.text)
            raise ServeError(Failure.BAD if answer.input else Failure.BROKEN, answer.text)
        return answer

    async def _within(self, seconds: float, call: Callable[..., T], *arguments: Any) -> T:
        """A blocking call on the lane's thread; whatever goes wrong there is a death."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            self.kill()
            with contextlib.suppress(EOFError, OSError):
                await future
            raise Died(f"the process did not answer within {seconds:g} s") from None
        except (EOFError, OSError) as e:
            raise Died(f"the process died ({str(e) or type(e).__name__})") from None
