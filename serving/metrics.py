"""The endpoint's Prometheus metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# KServe's own histograms begin at 5 ms, by when most of our pages are done.
SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
RATIOS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0, 1.02, 1.1, 1.5)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
REST, GRPC = "rest", "grpc"  # how a refused request came


class Metrics:
    """The endpoint's metrics in one registry.

    Args:
        registry: Where they are registered; the default is the one that KServe serves under ``/metrics``.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.pages = Counter("fairtag_pages", "Pages answered", ["task", "protocol"], registry=registry)
        self.refusals = Counter(
            "fairtag_refusals",
            "Requests not answered as asked, by HTTP status; 499 is a client that left, and gRPC codes are translated",
            ["protocol", "status"],
            registry=registry,
        )
        self.stage = Histogram("fairtag_stage_seconds", "Time by stage", ["stage"], buckets=SECONDS, registry=registry)
        self.page = Histogram("fairtag_page_seconds", "Time of a page", ["task"], buckets=SECONDS, registry=registry)
        self.batch = Histogram("fairtag_encode_batch", "Queries encoded together", buckets=BATCHES, registry=registry)
        self.ratio = Histogram("fairtag_price_list_ratio", "Price over list", buckets=RATIOS, registry=registry)
        self.reasons = Counter("fairtag_reasons", "Reason codes of priced items", ["reason"], registry=registry)
        self.degraded = Counter("fairtag_degraded_pages", "Pages at list price", ["cause"], registry=registry)
        self.personalised = Counter("fairtag_personalised_pages", "Pages with a personal price", registry=registry)
        self.cache = Counter("fairtag_query_cache", "Query embeddings looked up", ["outcome"], registry=registry)
        self.reads = Counter("fairtag_feature_reads", "Feature reads", ["entity", "outcome"], registry=registry)
        self.breaker = Gauge("fairtag_breaker_open", "1 while a store is not asked", ["store"], registry=registry)
        self.verified = Counter("fairtag_verified_quotes", "Quotes verified", ["outcome"], registry=registry)
        self.reloads = Counter("fairtag_model_reloads", "Model reloads", ["outcome"], registry=registry)
        self.workers = Counter("fairtag_worker", "Pages of workers, and ended workers", ["outcome"], registry=registry)
        self.ignored = Counter(
            "fairtag_ignored_store_values",
            "Values of a store that were not used: unreadable, forged or out of bounds",
            ["store", "reason"],
            registry=registry,
        )
        self.retained = Counter(
            "fairtag_retention_removed", "Queries and quotes that were too old for the log", ["what"], registry=registry
        )
        self.features_age = Gauge(
            "fairtag_features_age_seconds", "Time since the users' features were materialised", registry=registry
        )
        self.in_flight = Gauge("fairtag_requests_in_flight", "Requests in progress", registry=registry)
        self.items_in_flight = Gauge("fairtag_items_in_flight", "Items of the requests in progress", registry=registry)
        self.waiting = Gauge(
            "fairtag_endpoint_waiting",
            "1 while the endpoint waits for what it cannot serve without",
            ["cause"],
            registry=registry,
        )
        self.model = Gauge(
            "fairtag_model_info", "1 for the model that serves, 0 for those before", ["version"], registry=registry
        )

    def refuse(self, protocol: str, status: int) -> None:
        """Count a request that was not answered as asked.

        Args:
            protocol: ``rest`` or ``grpc``.
            status: HTTP status, 400 or above.
        """
        self.refusals.labels(protocol, str(status)).inc()

    def observe_page(self, page: Mapping[str, Any], protocol: str, seconds: float, cached: bool | None = None) -> None:
        """Count one answered page.

        Args:
            page: The V1 prediction.
            protocol: By which it was asked for.
            seconds: What it took.
            cached: Whether the embedding of its query was known, None without a query.
        """
        if cached is not None:
            self.cache.labels("hit" if cached else "miss").inc()
        self.pages.labels(page["task"], protocol).inc()
        self.page.labels(page["task"]).observe(seconds)
        if page["degraded"] is not None:
            self.degraded.labels(page["degraded"]).inc()
        if page["personalised"]:
            self.personalised.inc()
        tally: dict[str, int] = {}
        for item in page["items"]:
            self.ratio.observe(item["price_minor"] / item["list_price_minor"])
            for reason in item["reasons"]:
                tally[reason] = tally.get(reason, 0) + 1
        for reason, count in tally.items():
            self.reasons.labels(reason).inc(count)

    def watch(self, name: str, read: Callable[[], Sequence[tuple[str, str, float]]]) -> None:
        """Export figures that are kept elsewhere.

        Args:
            name: Prefix of their names.
            read: Called at each scrape; ``(figure, "counter" | "gauge", value)`` of each.
        """
        self.registry.register(_FigureCollector(name, read))


class MetricsPage:
    """What Prometheus reads. Computed at most once in a while, so that asking again and again costs nothing.

    Args:
        registry: The metrics.
        seconds: For how long a page is shown again.
        clock: Monotonic seconds.
    """

    media_type = CONTENT_TYPE_LATEST

    def __init__(
        self, registry: CollectorRegistry, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._seconds = seconds
        self._clock = clock
        self._content: bytes | None = None
        self._made = 0.0

    def content(self) -> bytes:
        """The page of now, or of a moment ago."""
        now = self._clock()
        if self._content is None or now - self._made >= self._seconds:
            self._content, self._made = generate_latest(self._registry), now
        return self._content


class _FigureCollector(Collector):
    def __init__(self, name: str, read: Callable[[], Sequence[tuple[str, str, float]]]) -> None:
        self._name = name
        self._read = read

    def collect(self) -> list[Metric]:
        """The current figures."""
        families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        return [
            families[kind](f"{self._name}_{figure}", figure.replace("_", " "), value=value)
            for figure, kind, value in self._read()
        ]
