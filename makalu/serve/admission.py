# SPDX-License-Identifier: Apache-2.0
"""Whether a lease may have one more request: its queue, its memory, its rate."""

import time

from makalu.serve.leases import Lease, Leases
from makalu.serve.queues import Compiled
from makalu.serve.requests import Failure, ServeError


class Admission:
    """Holds leases to their terms, and tenants to their memory.

    Parameters
    ----------
    leases : Leases
    """

    def __init__(self, leases: Leases):
        self._leases = leases
        self._tokens: dict[str, tuple[float, float]] = {}

    def admit(self, lease: Lease, compiled: Compiled, elements: int, mhz: float) -> None:
        """Take a request of so many elements.

        Parameters
        ----------
        mhz : float
            Clock of the device, to say when to try again.

        Raises
        ------
        ServeError
            TOO_MANY, NO_MEMORY.
        """
        if lease.waiting >= lease.terms.queue:
            wait = compiled.costs[compiled.most].cycles * lease.waiting / 1e6 / mhz
            raise ServeError(Failure.TOO_MANY, f"{lease.waiting} requests wait for lease "
                             f"{lease.id!r}, which is all it may have: try again later", max(
                                 0.01, wait))
        self._hold(lease, compiled)
        self._pay(lease, elements)

    def forget(self, lease: Lease) -> None:
        """Keep nothing of a lease that has ended."""
        self._tokens.pop(lease.id, None)

    def _hold(self, lease: Lease, compiled: Compiled) -> None:
        """Have a lease hold the memory of a model's programs."""
        key = f"{compiled.name}/{compiled.version}"
        if key in lease.held:
            return
        held = sum(lease.held.values()) + compiled.bytes
        of_all = compiled.bytes + sum(sum(x.held.values()) for x in self._leases.of(lease.tenant))
        for limit, have, who in ((lease.terms.memory_bytes, held, f"lease {lease.id!r}"),
                                 (lease.tenant.memory_bytes, of_all,
                                  f"tenant {lease.tenant.name!r}")):
            if limit is not None and have > limit:
                raise ServeError(Failure.NO_MEMORY, f"{who} may hold {limit:,} bytes on the device,"
                                 f" and {compiled.name!r} makes it {have:,}: resize it, or unload "
                                 "another model")
        lease.held[key] = compiled.bytes

    def _pay(self, lease: Lease, elements: int) -> None:
        """Take elements out of the lease's bucket, which fills with its rate."""
        rate = lease.terms.rate
        if rate is None:
            return
        now = time.monotonic()
        level, at = self._tokens.get(lease.id, (rate, now))
        level = min(max(rate, elements), level + (now - at) * rate)
        if level < elements:
            raise ServeError(Failure.TOO_MANY, f"lease {lease.id!r} has a rate of {rate:g} elements"
                             " a second: send fewer, or resize it", (elements - level) / rate)
        self._tokens[lease.id] = level - elements, now
