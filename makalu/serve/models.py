# SPDX-License-Identifier: Apache-2.0
"""The models that are served: loaded from the repository, replaced and dropped while running."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from makalu.serve.accelerator import Accelerator
from makalu.serve.lane import Held
from makalu.serve.loading import Made, programs
from makalu.serve.queues import Compiled
from makalu.serve.repository import Repository, Source
from makalu.serve.requests import Failure, ServeError, Totals
from makalu.serve.tenants import Tenant
from runtime.ports import Port, Takes


@dataclass(eq=False)
class Version:
    """A version of a model: on each machine (by its configuration) what was compiled for it."""

    source: Source
    state: str = "LOADING"
    reason: str = ""
    compiled: dict[str, Compiled] = field(default_factory=dict)
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    takes: Takes = Takes("", ())
    totals: Totals = Totals()

    @property
    def name(self) -> str:
        """Of the model."""
        return self.source.name

    @property
    def number(self) -> str:
        """The version, as protocols write it."""
        return str(self.source.version)

    def count(self, answered: int = 0, failed: int = 0, elements: int = 0, executions: int = 0,
              cycles: int = 0, queued: float = 0.0, ran: float = 0.0) -> None:
        """Add to the totals."""
        t = self.totals
        self.totals = Totals(t.answered + answered, t.failed + failed, t.elements + elements,
                             t.executions + executions, t.cycles + cycles,
                             t.queued + queued, t.ran + ran,
                             time.time() if answered else t.last)


class Models:
    """All versions of all models.

    Parameters
    ----------
    repository : Repository
    accelerators : mapping of str to Accelerator
    say : function
        Called with events for the log.
    """

    def __init__(self, repository: Repository, accelerators: Mapping[str, Accelerator],
                 say: Callable[..., None]):
        self.repository, self._accelerators, self._say = repository, accelerators, say
        self._all: dict[str, dict[int, Version]] = {}
        self._unloaded: set[str] = set()
        self._changing = asyncio.Lock()

    def all(self) -> list[Version]:
        """Every version, whatever its state."""
        return [v for _, versions in sorted(self._all.items()) for v in versions.values()]

    def get(self, name: str, version: str = "") -> Version:
        """A version that is ready; by default the newest.

        Raises
        ------
        ServeError
            NOT_FOUND, or DOWN while it loads or if it cannot be loaded.
        """
        versions = self._all.get(name, {})
        wanted = [v for v in versions.values() if version in ("", v.number)]
        ready = [v for v in wanted if v.state == "READY"]
        if ready:
            return max(ready, key=lambda v: v.source.version)
        which = f"model {name!r}" + (f" version {version}" if version else "")
        if not wanted:
            served = ", ".join(v.number for v in versions.values())
            raise ServeError(Failure.NOT_FOUND, f"{which} is not served here" + (
                f"; there is version {served}" if served else ""))
        last = wanted[-1]
        raise ServeError(Failure.DOWN, f"{which} is {last.state.lower()}"
                         + (f": {last.reason}" if last.reason else ""), retry_after=1.0)

    def seen(self, tenant: Tenant, name: str, version: str = "") -> Version:
        """As :meth:`get`; a model that the tenant does not see is not served."""
        if not tenant.sees(name):
            raise ServeError(Failure.NOT_FOUND, f"model {name!r} is not served here")
        return self.get(name, version)

    def of(self, compiled: Compiled) -> Version | None:
        """The version that something was compiled from, unless it is unloaded."""
        return next((v for v in self.all() if compiled in v.compiled.values()), None)

    async def refresh(self) -> None:
        """Look at the repository again: load what is new or has changed, drop what is gone. A model
        that does not load is said, and stays as it was."""
        for name in self.repository.names():
            if name not in self._unloaded:
                try:
                    await self.load(name, again=False)
                except ServeError as e:
                    self._say("load", model=name, error=str(e))
        for name in set(self._all) - set(self.repository.names()):
            await self._drop(name)

    async def load(self, name: str, again: bool = True) -> None:
        """Serve the versions of a model that the repository has; ``again``: also those that did not
        load before.

        Raises
        ------
        ServeError
            As :meth:`makalu.serve.repository.Repository.versions` and
            :func:`makalu.serve.loading.programs`; other versions are served all the same.
        """
        async with self._changing:
            self._unloaded.discard(name)
            sources = self.repository.versions(name)
            versions = self._all.setdefault(name, {})
            wrong = []
            for source in sources:
                old = versions.get(source.version)
                if old and old.source.stamp == source.stamp and (
                        old.state == "READY" or not again):
                    continue
                try:
                    await self._serve(source, versions)
                except ServeError as e:
                    wrong.append(e)
            for number in set(versions) - {s.version for s in sources}:
                await self._forget(versions.pop(number))
        if wrong:
            raise wrong[0]

    async def unload(self, name: str) -> None:
        """Serve a model no longer, until it is loaded again.

        Raises
        ------
        ServeError
            NOT_FOUND.
        """
        if name not in self._all:
            raise ServeError(Failure.NOT_FOUND, f"model {name!r} is not served here")
        self._unloaded.add(name)
        self.repository.unlink(name)
        await self._drop(name)

    async def _drop(self, name: str) -> None:
        async with self._changing:
            for version in self._all.pop(name, {}).values():
                await self._forget(version)
        self._say("unload", model=name)

    async def _serve(self, source: Source, versions: dict[int, Version]) -> None:
        """Load a version beside the one that it replaces, and then take its place."""
        old = versions.get(source.version)
        new = Version(source)
        if old is None or old.state != "READY":
            versions[source.version] = new
        try:
            for accelerator in self._accelerators.values():
                if accelerator.config not in new.compiled:
                    made = await programs(source, accelerator.config)
                await self._place(new, made, accelerator)
        except ServeError as e:
            new.state, new.reason = "UNAVAILABLE", str(e)
            self._say("load", model=new.name, version=new.number, error=str(e))
            raise
        new.state = "READY"
        versions[source.version] = new
        self._say("load", model=new.name, version=new.number,
                  programs=[p.hash for c in new.compiled.values() for p in c.programs.values()])
        if old is not None and old.state == "READY":
            await self._forget(old)

    async def _place(self, version: Version, made: list[Made], accelerator: Accelerator) -> None:
        """Have an accelerator take the programs; it says what they take and give."""
        for cores in sorted({m.cost.cores for m in made}):
            if cores > accelerator.together:
                raise ServeError(Failure.BAD, f"model {version.name!r} takes {cores} cores together"
                                 f", and device {accelerator.name!r} has {accelerator.together} "
                                 "that can: serve it on a chip with more, or compile it with "
                                 "--cores for fewer")
        found = [(await accelerator.load(m.held), m) for m in made]
        by_batch = {loaded.batch: m for loaded, m in sorted(found, key=lambda f: f[0].batch)}
        wanted = version.source.settings.batches
        if version.source.model.suffix != ".mkl" and set(by_batch) != set(wanted):
            raise ServeError(Failure.BAD, f"model {version.name!r} has a fixed batch of "
                             f"{min(by_batch)}, not {', '.join(map(str, wanted))}: leave 'batches' "
                             "out, or export it with a dynamic first dimension")
        loaded = max((f[0] for f in found), key=lambda f: f.batch)
        version.takes = Takes(version.name, loaded.inputs)
        free = version.takes.alike
        version.compiled[accelerator.config] = Compiled(
            version.name, version.number, {b: m.held for b, m in by_batch.items()},
            {b: m.cost for b, m in by_batch.items()},
            version.source.settings.delay_ms / 1000, free)
        version.inputs, version.outputs = (
            tuple(_free(p) if free else p for p in ports)
            for ports in (loaded.inputs, loaded.outputs))

    async def _forget(self, version: Version) -> None:
        kept = {p.hash for v in self.all() if v is not version for p in _held(v)}
        for held in _held(version):
            if held.hash not in kept:
                for accelerator in self._accelerators.values():
                    await accelerator.drop(held.hash)


def _held(version: Version) -> list[Held]:
    return [p for c in version.compiled.values() for p in c.programs.values()]


def _free(port: Port) -> Port:
    """The port, with any number of elements along its first axis."""
    return dataclasses.replace(port, shape=(0, *port.shape[1:])) if port.shape else port
