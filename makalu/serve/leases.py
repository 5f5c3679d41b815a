# SPDX-License-Identifier: Apache-2.0
"""Leases: shares of accelerators that are attached, resized, moved and detached while running."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from makalu.serve.ground import Ground
from makalu.serve.requests import Failure, ServeError
from makalu.serve.tenants import Tenant
from makalu.serve.terms import Terms


@dataclass(frozen=True, kw_only=True)
class Shown(Terms):
    """A lease as the service shows it: its terms, and what it has used.

    Parameters
    ----------
    id, tenant : str
    cycles, elements : int
    answered, failed : int
        Requests.
    waiting : int
        Requests in its queue.
    held_bytes : int
        DRAM of the programs that it holds on the device.
    uses : tuple of int
        The cores that its batches run on: its own, or those that are shared.
    """

    id: str
    tenant: str
    uses: tuple[int, ...]
    cycles: int
    elements: int
    answered: int
    failed: int
    waiting: int
    held_bytes: int


@dataclass
class Lease:
    """A share of an accelerator that a tenant has.

    Attributes
    ----------
    cycles, elements, answered, failed, waiting : int
        As in :class:`Shown`.
    """

    id: str
    tenant: Tenant
    terms: Terms
    ground: Ground = field(default_factory=lambda: Ground(1))
    """Of its device."""
    cycles: int = 0
    elements: int = 0
    answered: int = 0
    failed: int = 0
    waiting: int = 0
    closed: bool = False
    held: dict[str, int] = field(default_factory=dict)
    """Bytes on the device by program."""

    def shown(self) -> Shown:
        """As the service shows it."""
        return Shown(**{f.name: getattr(self.terms, f.name) for f in fields(Terms)},
                     id=self.id, tenant=self.tenant.name, cycles=self.cycles,
                     elements=self.elements, answered=self.answered, failed=self.failed,
                     waiting=self.waiting, held_bytes=sum(self.held.values()),
                     uses=self.ground.of(self.id).cores)


class Leases:
    """All leases on some accelerators.

    Parameters
    ----------
    grounds : mapping of str to Ground
        The cores of each accelerator by name.
    """

    def __init__(self, grounds: Mapping[str, Ground]):
        self._grounds = dict(grounds)
        self._numbers = itertools.count(1)
        self._all: dict[str, Lease] = {}

    def all(self) -> list[Lease]:
        """Everybody's, in the order of their making."""
        return list(self._all.values())

    def of(self, tenant: Tenant) -> list[Lease]:
        """A tenant's, in the order of their making."""
        return [lease for lease in self._all.values()
                if lease.tenant.name == tenant.name and not lease.closed]

    def on(self, device: str) -> list[Lease]:
        """Those on a device, in the order of their making."""
        return [lease for lease in self._all.values() if lease.terms.device == device]

    def visible(self, tenant: Tenant) -> list[Lease]:
        """A tenant's, or all for an administrator."""
        return list(self._all.values()) if tenant.admin else self.of(tenant)

    def get(self, tenant: Tenant, id: str) -> Lease:
        """A lease that the tenant may change.

        Raises
        ------
        ServeError
            If there is none.
        """
        lease = self._all.get(id)
        if lease is None or lease.closed or lease.tenant.name != tenant.name and not tenant.admin:
            raise ServeError(Failure.NOT_FOUND, f"there is no lease {id!r}: makalu ls shows yours")
        return lease

    def attach(self, tenant: Tenant, terms: Terms) -> Lease:
        """A new lease.

        Raises
        ------
        ServeError
            If it is beyond the tenant's quota, or the device has not so many cores.
        """
        if len(self.of(tenant)) >= tenant.leases:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} may have {tenant.leases} "
                             "leases: detach one, or ask for a larger quota")
        self._check(tenant, terms)
        lease = Lease(f"{tenant.name}-{next(self._numbers)}", tenant, terms)
        self._settle(lease)
        self._all[lease.id] = lease
        return lease

    def change(self, lease: Lease, **changes: Any) -> Lease:
        """Resize a lease, or move it to another device: its waiting requests go with it.

        Raises
        ------
        ServeError
            As :meth:`attach`; the lease stays as it was.
        """
        terms = lease.terms.changed(**changes)
        self._check(lease.tenant, terms, lease)
        if terms.device != lease.terms.device:
            lease.ground.give(lease.id, 0)
        lease.terms = terms
        self._settle(lease)
        return lease

    def close(self, lease: Lease) -> None:
        """Take nothing new for a lease; what waits keeps its share."""
        lease.closed = True

    def detach(self, lease: Lease) -> None:
        """End a lease, whose cores are free then."""
        if self._all.pop(lease.id, None):
            lease.ground.give(lease.id, 0)

    def _settle(self, lease: Lease) -> None:
        """Give a lease its cores."""
        lease.ground = self._grounds[lease.terms.device]
        lease.ground.give(lease.id, lease.terms.cores)

    def _check(self, tenant: Tenant, terms: Terms, lease: Lease | None = None) -> None:
        if terms.device not in self._grounds:
            raise ServeError(Failure.NOT_FOUND, f"there is no device {terms.device!r}: one of "
                             f"{', '.join(self._grounds)}")
        shares = terms.share + sum(other.terms.share for other in self.of(tenant)
                                   if other is not lease)
        if shares > tenant.shares:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} may have shares of "
                             f"{tenant.shares:g} together, and this makes {shares:g}: take less, "
                             "or ask for a larger quota")
        cores = terms.cores + sum(other.terms.cores for other in self.of(tenant)
                                  if other is not lease)
        if tenant.cores is not None and terms.cores and cores > tenant.cores:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} may have {tenant.cores} "
                             f"cores for itself, and this makes {cores}: take fewer, or ask for a "
                             "larger quota")
        self._check_cores(terms, lease)

    def spare(self, device: str, lease: Lease | None = None) -> int:
        """Cores that a further lease can have for itself, or that one: those that are free, but
        for one if there are leases that share."""
        sharing = any(not other.terms.cores for other in self.on(device) if other is not lease)
        return self._grounds[device].free(lease.id if lease else "") - sharing

    def _check_cores(self, terms: Terms, lease: Lease | None) -> None:
        ground, id = self._grounds[terms.device], lease.id if lease else ""
        free, spare = ground.free(id), self.spare(terms.device, lease)
        what = f"device {terms.device!r} has {free} of {ground.cores} cores free"
        if not free or terms.cores > spare:
            shared = {0: "", 1: ", which stays for the leases that share"}.get(
                free, ", of which one stays for the leases that share") if spare < free else ""
            cure = f"take up to {spare}" if terms.cores and spare > 0 else (
                "detach a lease that has cores for itself, make it smaller, or take another device")
            raise ServeError(Failure.CONFLICT, f"{what}{shared}: {cure}")
        groups = ground.owners(id) + (terms.cores > 0) + (spare < free or not terms.cores)
        if groups > ground.queues:
            raise ServeError(Failure.CONFLICT, f"{what}, but its {ground.queues} job queues are "
                             "taken, one for each lease with cores of its own and one for those "
                             "that share: detach one, or take another device")
