"""Times the stages of a request, for Prometheus and, with a collector, for OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serving.metrics import Metrics

SERVICE = "fairtag"


class Stages:
    """Times named stages.

    Args:
        metrics: Where the times go.
        tracer: An OpenTelemetry tracer; None traces nothing.
    """

    def __init__(self, metrics: Metrics, tracer: Any | None = None) -> None:
        self._metrics = metrics
        self._tracer = tracer

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement under a name, and make it a span."""
        started = time.perf_counter()
        try:
            if self._tracer is None:
                yield
            else:
                with self._tracer.start_as_current_span(name):
                    yield
        finally:
            self._metrics.stage.labels(name).observe(time.perf_counter() - started)

    @contextmanager
    def request(self, name: str, headers: dict[str, str]) -> Iterator[None]:
        """The span of a whole request, continuing the caller's trace (W3C ``traceparent``)."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.propagate import extract

        with self._tracer.start_as_current_span(name, context=extract(headers)):
            yield


def tracer_to(endpoint: str, version: str, exporter: Any | None = None) -> tuple[Any, Any]:
    """A tracer that sends spans in batches, and its provider, which must be shut down at the end.

    Args:
        endpoint: The collector's OTLP/HTTP traces URL.
        version: Version of the model, on every span's resource.
        exporter: Takes the spans instead of the collector.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint)
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE, "fairtag.model_version": version}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("serving"), provider
