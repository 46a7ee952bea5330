"""Is the model fast and small enough to serve? Counts processor time, which other programs do not change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fairtag.evaluation.limits import EvaluationLimits
from fairtag.model.decision import GateResult
from fairtag.model.pricing_model import PricingModel
from fairtag.page.pricing import PageInputs, price_page

REPEATS = 30  # queries encoded one by one


def budget_gates(
    model: PricingModel, tried: Sequence[PageInputs], queries: Sequence[str], limits: EvaluationLimits
) -> list[GateResult]:
    """Time to price a page, time to encode a query, size of the model folder."""
    size = float(sum(entry["bytes"] for entry in model.manifest["files"].values()))
    pages = [_milliseconds(partial(price_page, model, request)) for request in tried]
    encodes = [_milliseconds(partial(model.encoder.encode, [query], "query")) for query in list(queries)[:REPEATS]]
    return [
        _below("page_milliseconds", "95th percentile of pricing a page", pages, 0.95, limits.price_milliseconds),
        _below("encode_milliseconds", "median of encoding a query", encodes, 0.5, limits.encode_milliseconds),
        GateResult(
            "model_bytes",
            size,
            f"model folder of at most {limits.model_bytes:.2g} bytes",
            "pass" if size <= limits.model_bytes else "fail",
            threshold=limits.model_bytes,
        ),
    ]


def _milliseconds(work: Callable[[], object]) -> float:
    # Processor time: on a busy machine, elapsed time would measure the other programs.
    start = time.thread_time()
    work()
    return 1_000 * (time.thread_time() - start)


def _below(name: str, what: str, times: Sequence[float], quantile: float, limit: float) -> GateResult:
    rule = f"{what} at most {limit:g} ms of processor time on this machine"
    if not times:
        return GateResult(name, None, rule, "not applicable", note="the data have none to time")
    value = float(np.quantile(times, quantile))
    return GateResult(name, value, rule, "pass" if value <= limit else "fail", threshold=limit)
