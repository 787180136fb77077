"""What Prometheus asks for: requests by route, and what the database holds. No label tells of a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter("facetrack_requests", "Requests.", (*labels, "status"), registry=self._registry)
        self._seconds = Histogram(
            "facetrack_request_seconds", "Time of a request.", labels, registry=self._registry, buckets=_BUCKETS
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def watch(self, gauges: Callable[[], Mapping[str, float]], jobs: Callable[[], Mapping[str, int]]) -> None:
        """Tell, whenever somebody asks, what the database holds and how many jobs are in which state."""
        self._registry.register(_Holdings(gauges, jobs))

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)


class _Holdings(Collector):
    def __init__(self, gauges: Callable[[], Mapping[str, float]], jobs: Callable[[], Mapping[str, int]]) -> None:
        self._gauges, self._jobs = gauges, jobs

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is read before somebody asks."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return what is held now."""
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"facetrack_{name}", f"Number of {name.replace('_', ' ')}.", value=value)
        jobs = GaugeMetricFamily("facetrack_jobs", "Jobs by state.", labels=["state"])
        for state, count in self._jobs().items():
            jobs.add_metric([state], count)
        yield jobs
