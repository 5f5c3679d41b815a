# SPDX-License-Identifier: Apache-2.0
"""Cores on many computers: each, or each chip of several, is an actor that Ray places where a
``makalu_core`` is free.

What the service does with a process of its own computer it does with these: fair queues, leases,
batches, and another run of what a process was at when it died. A computer that goes takes its cores
along; they are started again wherever there is room.
"""

import os
import socket
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayError

from isa.errors import UserError
from makalu.serve.lane import Link
from makalu.serve.messages import Answer, Failed, Message
from makalu.serve.requests import Failure, ServeError
from makalu.serve.worker import owners

RESOURCE = "makalu_core"
"""Of which a computer of the cluster has as many as the service may have cores there."""


PATIENCE = 10.0
"""Seconds for the cluster's head to answer."""


class Worker:
    """The actor: a device and its programs."""

    def open(self, device: str, config: str, links: int, asker: str) -> tuple[int, str] | Failed:
        """Open the device: the process's number and the computer's name, or what is wrong."""
        host, here = socket.gethostname(), version("makalu")
        if here != asker:
            return Failed(f"{host} has makalu {here}, and the server {asker}: install the same "
                          "everywhere", fatal=True)
        try:
            self.owners = owners(device, config, links)
        except (UserError, ValueError, OSError) as e:
            return Failed(f"{host}: {e}", fatal=True)
        return os.getpid(), host

    def answer(self, link: int, message: Message) -> Answer:
        """Do what a message asks for by a link."""
        return self.owners[link].answer(message)

    def live(self) -> None:
        """Never return: who waits for it hears of the end of the process."""
        threading.Event().wait()


class Actor:
    """A link to a process somewhere in the cluster; see :class:`makalu.serve.lane.Link`."""

    def __init__(self, actor: Any, living: Any, opened: Any, link: int):
        self._actor, self._living, self._opened, self._link = actor, living, opened, link
        self.pid, self.host = 0, ""

    @classmethod
    def begin(cls, device: str, config: str, links: int) -> Sequence[Link]:
        """As :meth:`makalu.serve.process.Process.begin`, on the computer that has the core."""
        actor = ray.remote(num_cpus=0, resources={RESOURCE: 1}, max_concurrency=links + 1)(
            Worker).remote()
        living = actor.live.remote()
        opened = actor.open.remote(device, config, links, version("makalu"))
        return [cls(actor, living, opened, k) for k in range(links)]

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as Ray knows."""
        return not ray.wait([self._living], timeout=0)[0]

    def open(self) -> Failed | None:
        """Wait until it has a computer and its device; or what it says is wrong."""
        said = _get(self._opened)
        if isinstance(said, Failed):
            return said
        self.pid, self.host = said
        return None

    def ask(self, message: Message) -> Answer:
        """Have it do something."""
        return _get(self._actor.answer.remote(self._link, message))

    def wait(self) -> None:
        """Return when it has ended."""
        ray.wait([self._living])

    def kill(self) -> None:
        """End it at once."""
        ray.kill(self._actor)


def _get(answer: Any) -> Any:
    try:
        return ray.get(answer)
    except RayError as e:
        raise EOFError(str(e).splitlines()[0]) from None


def join(address: str | None, cores: int) -> None:
    """Join a cluster, or begin one on this computer with room for so many cores.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of the cluster's head, or ``auto`` for the one that this computer is in.

    Raises
    ------
    ServeError
        If it is not there, or has less room than is asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {} if address else {
        "resources": {RESOURCE: cores}, "include_dashboard": False}
    try:
        if address and address != "auto":   # which Ray waits for, much longer than people do
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), PATIENCE).close()
        ray.init(address, log_to_driver=False, configure_logging=False, **own)
    except (OSError, ValueError, RuntimeError) as e:
        raise ServeError(Failure.DOWN, f"the cluster at {address} is not there ({e}): begin it "
                         f"with ray start --head --resources='{{\"{RESOURCE}\": 2}}'") from None
    room = int(ray.cluster_resources().get(RESOURCE, 0))
    if room < cores:
        raise ServeError(Failure.CONFLICT, f"the cluster has room for {room} cores, not {cores}: "
                         f"ask for fewer, or have computers join with ray start --address=HEAD "
                         f"--resources='{{\"{RESOURCE}\": N}}'")
