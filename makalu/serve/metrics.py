# SPDX-License-Identifier: Apache-2.0
"""What Prometheus sees of a service."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from makalu.serve.messages import Ran
from makalu.serve.queues import Batch
from makalu.serve.service import Service
from makalu.serve.tenants import EVERYBODY

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)


class Metrics(Collector):
    """Counters of executions, and the service's state whenever it is asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._service: Service | None = None
        labels = ("tenant", "model", "version")
        self._cycles = Counter("makalu_cycles", "Cycles of the machine", labels,
                               registry=self._registry)
        self._elements = Counter("makalu_elements", "Elements answered", labels,
                                 registry=self._registry)
        self._seconds = Histogram("makalu_execution_seconds", "An execution in the device process",
                                  labels, buckets=SECONDS, registry=self._registry)
        self._queued = Histogram("makalu_queue_seconds", "From arrival to dispatch", labels,
                                 buckets=SECONDS, registry=self._registry)

    def watch(self, service: Service) -> None:
        """Show the state of a service, too."""
        self._service = service
        self._registry.register(self)

    def seen(self, batch: Batch, ran: Ran) -> None:
        """Count an execution."""
        labels = batch.lease.tenant.name, batch.model.name, batch.model.version
        self._cycles.labels(*labels).inc(ran.cycles or batch.cost.cycles)
        self._elements.labels(*labels).inc(batch.elements)
        self._seconds.labels(*labels).observe(ran.seconds)
        for part in batch.parts:
            self._queued.labels(*labels).observe(part.dispatched - part.arrived)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Devices, leases and models as they are now."""
        if self._service is None:
            return
        status = self._service.status(EVERYBODY)
        for name, key, what in (("busy_ratio", "busy", "Share of the last second, 0 to 1"),
                                ("waiting", "waiting", "Requests in the queues")):
            gauge = GaugeMetricFamily(f"makalu_device_{name}", what, labels=["device"])
            for device in status["devices"]:
                gauge.add_metric([device["name"]], device[key])
            yield gauge
        restarts = CounterMetricFamily("makalu_device_restarts", "Processes started again",
                                       labels=["device"])
        for device in status["devices"]:
            restarts.add_metric([device["name"]], sum(c["restarts"] for c in device["cores"]))
        yield restarts
        for name, key, what in (("waiting", "waiting", "Requests in its queue"),
                                ("share", "share", "Its weight"),
                                ("held_bytes", "held_bytes", "Programs that it holds")):
            gauge = GaugeMetricFamily(f"makalu_lease_{name}", what, labels=["lease", "tenant"])
            for lease in status["leases"]:
                gauge.add_metric([lease["id"], lease["tenant"]], lease[key])
            yield gauge
        for name in ("answered", "failed"):
            counter = CounterMetricFamily(f"makalu_requests_{name}", f"Requests {name}",
                                          labels=["model", "version"])
            for model in status["models"]:
                counter.add_metric([model["name"], model["version"]], model[name])
            yield counter
