# SPDX-License-Identifier: Apache-2.0
"""What Prometheus sees of a service."""

import collections
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from makalu.serve.messages import Ran
from makalu.serve.queues import Batch
from makalu.serve.requests import Record
from makalu.serve.service import Service

LABELS = ("tenant", "model", "version")
"""Of a request that names no model that there is, the last two are empty."""

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)


class Metrics(Collector):
    """Counters of requests and executions, and the service's state whenever it is asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._service: Service | None = None
        self._requests = self._counter("requests", "Requests by how they ended", "status")
        self._cycles = self._counter("cycles", "Cycles of the machine")
        self._elements = self._counter("elements", "Elements answered")
        self._moved = self._counter("dram_bytes", "Bytes moved between DRAM and the machine")
        self._seconds = self._histogram("request_seconds", "A request in the service")
        self._queued = self._histogram("queue_seconds", "From arrival to dispatch")
        self._ran = self._histogram("execution_seconds", "An execution in the device process")

    def _counter(self, name: str, what: str, *more: str) -> Counter:
        return Counter(f"makalu_{name}", what, (*LABELS, *more), registry=self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"makalu_{name}", what, LABELS, buckets=SECONDS, registry=self._registry)

    def watch(self, service: Service) -> None:
        """Show the state of a service, too."""
        self._service = service
        self._registry.register(self)

    def seen(self, batch: Batch, ran: Ran) -> None:
        """Count an execution."""
        labels = batch.lease.tenant.name, batch.model.name, batch.model.version
        self._cycles.labels(*labels).inc(ran.cycles or batch.cycles)
        self._elements.labels(*labels).inc(batch.elements)
        self._moved.labels(*labels).inc(batch.cost.moved_bytes * batch.executions)
        self._ran.labels(*labels).observe(ran.seconds)

    def answered(self, record: Record) -> None:
        """Count a request."""
        labels = record.tenant, record.model, record.version
        self._requests.labels(*labels, record.status).inc()
        self._seconds.labels(*labels).observe(record.seconds)
        if record.status == "OK":
            self._queued.labels(*labels).observe(record.queued)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Devices, queues and leases as they are now."""
        if self._service is None:
            return
        accelerators = self._service.accelerators.values()
        yield _gauge("makalu_device_busy_ratio", "Share of the last second, 0 to 1", ("device",),
                     [((a.name,), a.busy) for a in accelerators])
        yield _total("makalu_device_busy_seconds", "Of all cores together", ("device",),
                     [((a.name,), a.busy_seconds) for a in accelerators])
        yield _total("makalu_device_restarts", "Processes started again", ("device",),
                     [((a.name,), a.restarts) for a in accelerators])
        cores = [((a.name, str(k)), use) for a in accelerators for k, use in enumerate(a.uses)]
        for name, what, count in (
                ("busy_seconds", "In which it ran something", lambda u: u.seconds),
                ("jobs", "Executions", lambda u: u.jobs)):
            yield _total(f"makalu_core_{name}", what, ("device", "core"),
                         [(labels, count(use)) for labels, use in cores])
        waiting = sum((a.queues.waiting() for a in accelerators), collections.Counter())
        yield _gauge("makalu_waiting", "Parts of requests in the queues", ("tenant", "model"),
                     waiting.items())
        leases = [((x.id, x.tenant.name, x.terms.device), x) for x in self._service.leases.all()]
        for name, what, value in (
                ("waiting", "Parts of requests in its queue", lambda x: x.waiting),
                ("share", "Its weight", lambda x: x.terms.share),
                ("held_bytes", "Programs that it holds", lambda x: sum(x.held.values()))):
            yield _gauge(f"makalu_lease_{name}", what, ("lease", "tenant", "device"),
                         [(labels, value(x)) for labels, x in leases])


Values = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Values) -> Metric:
    gauge = GaugeMetricFamily(name, what, labels=labels)
    for names, value in values:
        gauge.add_metric(names, value)
    return gauge


def _total(name: str, what: str, labels: tuple[str, ...], values: Values) -> Metric:
    total = CounterMetricFamily(name, what, labels=labels)
    for names, value in values:
        total.add_metric(names, value)
    return total
