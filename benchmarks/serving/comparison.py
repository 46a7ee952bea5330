"""The endpoint beside the sum of its parts, its model without a server, and other servers around the same model.

All servers are started once and loaded in turn for several rounds; the medians of the rounds are compared. The load
generator runs on the same cores. LitServe, BentoML and MLServer do not resolve together with our packages: ``--peers``
names the Python of an environment with ``benchmarks/peers/requirements.txt``, and without it the only other server is
FastAPI.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.peers.server import BATCHED, GUEST, LITSERVE_TWO, PAGE, PEERS, Shop
from benchmarks.result import Result, Row
from benchmarks.serving.catalogue import customer_queries, enlarge_catalogue, small_shop
from benchmarks.serving.feature_reads import feature_rows
from benchmarks.serving.load import LoadResult, LoadSpec, run_load
from benchmarks.serving.servers import OURS, OURS_TWO, WORKERS, Arm, check_peers, endpoint, start_peer, suspend_all
from fairtag.base.tables import read_tables
from fairtag.model.pricing_model import SEARCH
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import UserContext
from fairtag.search.dense_index import CODES, CodeIndex, evenly_spaced
from fairtag.search.facets import Filters
from fairtag.search.similarity import top_k
from serving.page.core import ModelCore

FEW, BUSIEST = 8, 32  # requests in flight; at few the endpoint runs alone, as even idle servers take time from it
PAGES_A_TURN = 20  # pages of one catalogue before the other has its turn


@dataclass(frozen=True)
class Plan:
    """How much is run: catalogue sizes, rounds, turns of a lone request, seconds of a round, pages timed by part."""

    items: int
    many_items: int
    rounds: int
    turns: int
    seconds: float
    parts: int


FULL = Plan(items=100_000, many_items=1_000_000, rounds=3, turns=9, seconds=4.0, parts=300)
SMALL = Plan(items=20_000, many_items=60_000, rounds=1, turns=1, seconds=2.0, parts=40)


def run(peers: Path | None = None, work: Path | None = None, *, plan: Plan = FULL) -> Result:
    """Start every server and load each in turn.

    Args:
        peers: Python of the other servers' environment; without it only FastAPI runs.
        work: Folder that keeps the fitted shop and its catalogues for the next run.
        plan: How much is run.
    """
    python = None if peers is None else str(peers)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = work or folder
        small = small_shop(kept / "shop")
        if python is not None:
            check_peers(python, small)
        model_folder = enlarge_catalogue(small, kept / f"model-{plan.items}", plan.items)
        many = enlarge_catalogue(small, kept / f"model-{plan.many_items}", plan.many_items)
        rows = [
            *_parts_and_servers(model_folder, kept / "shop" / "tables", folder, plan, python),
            *_sizes(model_folder, many, customer_queries(kept / "shop"), folder, plan),
        ]
    notes = (
        f"{plan.items:,} items, pages of {PAGE}, MiniLM (ONNX), {os.cpu_count()} cores shared with the load generator. "
        f"Medians of {plan.rounds} alternating rounds of {plan.seconds:g} s; of {plan.turns} shorter ones for a lone "
        "request beside its parts. Every query is new, so no cache helps.",
        "The endpoint also signs, locks and logs every price; its parts, its model alone and the other servers do not.",
        "batched_fastapi is a bare FastAPI route with the endpoint's own micro-batching: it shows what validation, "
        "signing, price locks, logging and metrics cost on top.",
        f"The endpoint prices in its own process and in {WORKERS} worker process beside it, LitServe in one worker "
        "beside its HTTP process, the others in one process, as each documents. Two worker processes are compared with "
        "two workers of LitServe in a row of their own.",
        "While one server is loaded the others are stopped (SIGSTOP): an idle one can take a third of a core.",
        "No server reads a feature store, as the others have none; the share of feature reads is Feast's on SQLite.",
        "Cold start: with an empty run folder. Memory: all processes after the load, shared pages counted once.",
        "The catalogue repeats 1,000 encoded items with noise; recall is that of the exact scan's first 100.",
        *(() if python else ("LitServe, BentoML and MLServer did not run: --peers was not given.",)),
    )
    return Result(tuple(rows), notes)


def quick(peers: Path | None = None, work: Path | None = None) -> Result:
    """The same rows from small catalogues and one round."""
    return run(peers, work, plan=SMALL)


def _parts_and_servers(model_folder: Path, tables: Path, folder: Path, plan: Plan, python: str | None) -> Iterator[Row]:
    shop = Shop(model_folder)
    queries = _queries(60_000)
    with ExitStack() as stack:
        arms = {OURS: stack.enter_context(endpoint(model_folder, folder))}
        single = _measure_alone(shop, arms[OURS], queries[:30_000], plan)
        whole = sum(single.parts.values())
        yield Row("core_throughput", single.core, unit="pages/s")
        yield Row("parts_p50_ms", whole, unit="ms")
        yield from (Row(f"part_{name}_p50_ms", value, unit="ms") for name, value in single.parts.items())
        yield from feature_rows(shop.core, read_tables(tables), folder / "features", whole)
        for peer in (BATCHED, *((*PEERS, LITSERVE_TWO) if python else PEERS[:1])):
            command = sys.executable if peer in (BATCHED, PEERS[0]) or python is None else python
            arms[peer] = stack.enter_context(start_peer(peer, command, model_folder, folder))
        arms[OURS_TWO] = stack.enter_context(endpoint(model_folder, folder, workers=2, name=OURS_TWO))
        measured = single.loads | _side_by_side(arms, queries[30_000:], plan)
        yield Row("cold_start_seconds", arms[OURS].start_seconds, unit="s", reference=15.0)
        yield from (
            Row("memory_mb" if name == OURS else f"{name}_memory_mb", arm.memory_mb(), unit="MB")
            for name, arm in arms.items()
        )
    yield from _comparison(measured, single)


def _comparison(measured: dict[tuple[str, int], LoadResult], single: SingleServer) -> Iterator[Row]:
    """Ratios first, as they carry over to other machines; then the figures of each server."""
    ours = measured[OURS, BUSIEST]
    peers = {name: measured[name, BUSIEST] for name in (*PEERS, BATCHED) if (name, BUSIEST) in measured}
    rivals = [peer for name, peer in peers.items() if name != BATCHED]
    yield Row("p50_over_parts", single.p50_over_parts, reference="at most 1.3")
    yield Row("throughput_over_core", ours.throughput / single.core, reference="at least 0.75")
    best = max(peer.throughput for peer in rivals)
    yield Row("throughput_over_best_peer", ours.throughput / best, reference="above 1")
    yield Row("p99_over_best_peer", ours.p99 / min(peer.p99 for peer in rivals), reference="below 1")
    yield from (Row(f"throughput_over_{name}", ours.throughput / peer.throughput) for name, peer in peers.items())
    if (LITSERVE_TWO, BUSIEST) in measured:
        two, theirs = measured[OURS_TWO, BUSIEST], measured[LITSERVE_TWO, BUSIEST]
        yield Row("two_workers_over_litserve_two_workers", two.throughput / theirs.throughput)
    for (name, level), load in measured.items():
        yield Row(f"{name}_p50_ms_c{level}", load.p50, unit="ms")
        yield Row(f"{name}_p99_ms_c{level}", load.p99, unit="ms")
        yield Row(f"{name}_throughput_c{level}", load.throughput, unit="pages/s")
        if load.failed:
            yield Row(f"{name}_failed_c{level}", load.failed, unit="requests")


def _sizes(model_folder: Path, many: Path, asked: list[str], folder: Path, plan: Plan) -> Iterator[Row]:
    """Time to find and price a page in the larger catalogue over the smaller, and recall in both.

    Recall is measured on queries of the shop that did not choose the index.
    """
    paths = {"base": model_folder, "many": many}
    cores = {name: ModelCore.load(path, 1) for name, path in paths.items()}
    queries = _queries(plan.parts)
    vectors = next(iter(cores.values())).encode(queries)
    times: dict[str, list[float]] = {name: [] for name in cores}
    for turn in range(0, len(queries), PAGES_A_TURN):
        for name, core in cores.items():
            asked_now = zip(queries[turn : turn + PAGES_A_TURN], vectors[turn : turn + PAGES_A_TURN], strict=True)
            times[name] += [_timed(_page, core, query, vector) for query, vector in asked_now]
    unseen = evenly_spaced(sorted(set(asked) - set(evenly_spaced(asked))))
    for name, core in cores.items():
        index = core.model.retriever.dense
        if isinstance(index, CodeIndex):
            yield Row(f"recall_at_100_{name}", _recall(core, index, core.encode(unseen)), reference="at least 0.98")
            yield Row(f"index_mb_{name}", (paths[name] / SEARCH / CODES).stat().st_size / 1e6, unit="MB")
    yield Row("many_items", plan.many_items, unit="items")
    with endpoint(many, folder) as arm:
        yield Row("many_cold_start_seconds", arm.start_seconds, unit="s")
        yield Row("many_memory_mb", arm.memory_mb(), unit="MB")
    yield Row("page_many_over_base", median(times["many"]) / median(times["base"]), reference="at most 2")


def _parts(core: ModelCore, queries: Sequence[str]) -> dict[str, float]:
    """Median milliseconds of each part of a page, run in this process."""
    user = UserContext("u", None, core.item_ids[:5], (1.0, 2.0, 3.0, 4.0, 5.0), jurisdiction="DE")
    times: dict[str, list[float]] = {"encode": [], "search": [], "solve": []}
    for query in queries:
        started = time.perf_counter()
        vector = core.encode([query])[0]
        encoded = time.perf_counter()
        asked = core.read_query(query, Filters(), (), as_typed=False)
        rows = core.search(asked, vector, user, PAGE, core.market.stock, core.market.list_price).rows
        found = time.perf_counter()
        core.price(PageInputs(rows, vector, user, 20_000, market=core.market.rows(rows)))
        times["encode"].append(encoded - started)
        times["search"].append(found - encoded)
        times["solve"].append(time.perf_counter() - found)
    return {name: _median_ms(values) for name, values in times.items()}


def _core_throughput(shop: Shop, queries: Sequence[str], seconds: float) -> float:
    """Pages a second of the model called in batches, without a server."""
    pages, batch = 0, BUSIEST
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        wanted = queries[pages : pages + batch]
        for query, vector in zip(wanted, shop.core.encode(wanted), strict=True):
            shop.priced(query, vector)
        pages += len(wanted)
    return pages / (time.perf_counter() - started)


@dataclass(frozen=True)
class SingleServer:
    """The endpoint alone with few requests in flight, beside its parts in this process; medians.

    Args:
        parts: Milliseconds of each part of a page.
        p50_over_parts: Median response time of a lone request over the parts' sum in the same turn; pairing by turn
            cancels the changes of the machine's speed.
        core: Pages a second of the model without a server.
        loads: The endpoint by requests in flight.
    """

    parts: dict[str, float]
    p50_over_parts: float
    core: float
    loads: dict[tuple[str, int], LoadResult]


def _measure_alone(shop: Shop, arm: Arm, queries: Sequence[str], plan: Plan) -> SingleServer:
    each = max(1, plan.parts // plan.turns)
    parts: list[dict[str, float]] = []
    ratios: list[float] = []
    found: dict[tuple[str, int], list[LoadResult]] = {}
    sent = plan.parts
    for turn in range(plan.turns):
        parts.append(_parts(shop.core, queries[turn * each : (turn + 1) * each]))
        sent += _load(arm, queries, 1, plan.seconds * plan.rounds / plan.turns, sent, found)
        ratios.append(found[arm.name, 1][-1].p50 / sum(parts[-1].values()))
    core: list[float] = []
    for turn in range(plan.rounds):
        core.append(_core_throughput(shop, queries[20_000 + turn * 3_000 :], plan.seconds))
        sent += _load(arm, queries, FEW, plan.seconds, sent, found)
    middle = {name: median(one[name] for one in parts) for name in parts[0]}
    return SingleServer(middle, median(ratios), median(core), _medians(found))


def _side_by_side(arms: dict[str, Arm], queries: Sequence[str], plan: Plan) -> dict[tuple[str, int], LoadResult]:
    """Load every server in turn with many requests in flight; medians over the rounds."""
    found: dict[tuple[str, int], list[LoadResult]] = {}
    sent = 0
    with suspend_all(list(arms.values())):
        for _ in range(plan.rounds):
            for arm in arms.values():
                arm.resume()
                sent += _load(arm, queries, BUSIEST, plan.seconds, sent, found)
                arm.suspend()
    return _medians(found)


def _load(
    arm: Arm,
    queries: Sequence[str],
    level: int,
    seconds: float,
    sent: int,
    found: dict[tuple[str, int], list[LoadResult]],
) -> int:
    """Load a server once with queries not sent before; returns how many were used, including the warm-up."""
    load = run_load(LoadSpec(arm.url, [arm.body(query) for query in queries], level, seconds, first=sent))
    found.setdefault((arm.name, level), []).append(load)
    return load.requests * 2


def _medians(found: dict[tuple[str, int], list[LoadResult]]) -> dict[tuple[str, int], LoadResult]:
    return {key: _median(loads) for key, loads in found.items()}


def _median(loads: Sequence[LoadResult]) -> LoadResult:
    return LoadResult(
        p50=median(load.p50 for load in loads),
        p99=median(load.p99 for load in loads),
        throughput=median(load.throughput for load in loads),
        requests=sum(load.requests for load in loads),
        failed=sum(load.failed for load in loads),
    )


def _page(core: ModelCore, query: str, vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    asked = core.read_query(query, Filters(), (), as_typed=False)
    rows = core.search(asked, vector, GUEST, PAGE, core.market.stock, core.market.list_price).rows
    core.price(PageInputs(rows, vector, GUEST, 20_000, market=core.market.rows(rows)))


def _timed(work: object, *arguments: object) -> float:
    started = time.perf_counter()
    assert callable(work)
    work(*arguments)
    return time.perf_counter() - started


def _recall(core: ModelCore, index: CodeIndex, vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    shares = [
        len(np.intersect1d(index.search(vector, 100), top_k(vector, core.model.embeddings, 100)[0])) / 100
        for vector in vectors
    ]
    return float(np.mean(shares))


def _queries(count: int) -> list[str]:
    """Distinct queries of usual length."""
    words = ("cordless", "oak", "steel", "garden", "kitchen", "small", "blue", "heavy duty", "outdoor", "modern")
    things = ("drill", "table", "lamp", "hose", "shelf", "chair", "mixer", "tent", "pan", "rug", "ladder")
    return [f"{words[i % 10]} {things[i % 11]} {i}" for i in range(count)]


def _median_ms(seconds: Sequence[float]) -> float:
    return median(seconds) * 1_000
