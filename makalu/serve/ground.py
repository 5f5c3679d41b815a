# SPDX-License-Identifier: Apache-2.0
"""Which cores of a device each lease has."""

from dataclasses import dataclass

from runtime.chip_host import side_by_side


@dataclass(frozen=True)
class Place:
    """Where the batches of a lease run.

    Parameters
    ----------
    queue : int
        Of a chip: the job queue that they go through.
    cores : tuple of int
        Ascending.
    """

    queue: int
    cores: tuple[int, ...]


class Ground:
    """The cores of a device. Some leases have some for themselves, from the last one down and side
    by side if that can be, and with them a queue; the others share the rest of the cores and one
    queue. A lease keeps what it has as long as it can, whoever comes and goes.

    Parameters
    ----------
    cores : int
    queues : int, optional
        How many groups of cores can work at the same time; by default each core alone.
    """

    def __init__(self, cores: int, queues: int | None = None):
        self.cores, self.queues = cores, cores if queues is None else queues
        self._own: dict[str, Place] = {}

    def owner(self, core: int) -> str:
        """The lease that has a core for itself; "": it is shared."""
        return next((lease for lease, place in self._own.items() if core in place.cores), "")

    def owners(self, but: str = "") -> int:
        """Leases that have cores for themselves, without that one."""
        return len(self._own.keys() - {but})

    def free(self, but: str = "") -> int:
        """Cores that no lease has for itself, or only that one."""
        return self.cores - sum(len(place.cores) for lease, place in self._own.items()
                                if lease != but)

    def give(self, lease: str, count: int) -> None:
        """Give a lease so many cores for itself, of those that are free; 0: it has none then."""
        old = self._own.pop(lease, None)
        if not count:
            return
        kept, rest = old.cores[-count:] if old else (), self._rest()
        more = [core for core in rest if core not in kept][::-1][:count - len(kept)]
        together = [cores for cores in side_by_side(rest, count) if set(kept) <= set(cores)]
        self._own[lease] = Place(old.queue if old else self._queues()[-1],
                                 together[-1] if together else tuple(sorted((*kept, *more))))

    def of(self, lease: str) -> Place:
        """What a lease has for itself, or what is shared; where nothing is, which concerns only
        what leases that have gone left behind: all."""
        own = self._own.get(lease)
        return own or Place((self._queues() or [0])[0],
                            tuple(self._rest() or range(self.cores)))

    def _rest(self) -> list[int]:
        return [core for core in range(self.cores) if not self.owner(core)]

    def _queues(self) -> list[int]:
        """Those that no lease has for itself."""
        return sorted(set(range(self.queues)) - {place.queue for place in self._own.values()})
