"""The endpoint against the bare sum of its parts, against its own core without a server, and against other servers.

All arms are started once and loaded in turn, several rounds; the rounds' medians are compared. The load generator runs
on the same cores. ``FAIRTAG_BENCH_SMALL=1`` makes a quick trial of it; ``FAIRTAG_BENCH_PEERS`` names a Python in whose
environment the packages of ``benchmarks/peers/requirements.txt`` are installed (LitServe, BentoML and MLServer do not
resolve together with ours): without it the only peer is FastAPI. ``FAIRTAG_BENCH_WORK`` names a folder that keeps the
fitted shop and its catalogues between runs.
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

from benchmarks.result import Result, Row
from benchmarks.serving_arms import OURS, OURS_TWO, WORKERS, Arm, endpoint, started_peer, taking_turns
from benchmarks.serving_features import feature_rows
from benchmarks.serving_load import LoadResult, LoadSpec, run_load
from benchmarks.serving_model import asked_queries, enlarged, small_shop
from benchmarks.serving_peers import BATCHED, GUEST, LITSERVE_TWO, PAGE, PEERS, Shop
from fairtag.base.tables import read_tables
from fairtag.model.pricing_model import SEARCH
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import UserContext
from fairtag.search.dense_index import CODES, CodeIndex, spread
from fairtag.search.similarity import top_k
from serving.page.core import ModelCore

FEW, BUSIEST = 8, 32  # requests in flight; with few ours runs by itself: even an idle server takes from them
PAGES_A_TURN = 20  # of one catalogue, before the other's turn


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    items: int
    many_items: int
    rounds: int
    turns: int
    seconds: float
    parts: int


FULL = Plan(items=100_000, many_items=1_000_000, rounds=3, turns=9, seconds=4.0, parts=300)
SMALL = Plan(items=20_000, many_items=60_000, rounds=1, turns=1, seconds=2.0, parts=40)


def run() -> Result:
    """Run all arms; several minutes."""
    plan = SMALL if os.environ.get("FAIRTAG_BENCH_SMALL") else FULL
    python = os.environ.get("FAIRTAG_BENCH_PEERS")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = Path(os.environ.get("FAIRTAG_BENCH_WORK", scratch))
        small = small_shop(kept / "shop")
        model_folder = enlarged(small, kept / f"model folder-{plan.items}", plan.items)
        many = enlarged(small, kept / f"model folder-{plan.many_items}", plan.many_items)
        rows = [
            *_parts_and_servers(model_folder, kept / "shop" / "tables", folder, plan, python),
            *_sizes(model_folder, many, asked_queries(kept / "shop"), folder, plan),
        ]
    notes = (
        f"{plan.items:,} items, pages of {PAGE}, MiniLM (ONNX), {os.cpu_count()} cores shared with the load generator; "
        f"medians of {plan.rounds} alternating rounds of {plan.seconds:g} s, of {plan.turns} shorter ones for a lone "
        "request beside its parts; every query is new, so no cache helps",
        "batched_fastapi is no peer: a bare route with our own micro-batching, to show what validation, signing, "
        "locking, logging and metrics cost on top",
        "the endpoint also signs, locks and logs every page; the parts, the core and the peers do not",
        f"the endpoint prices in its own process and in {WORKERS} worker beside it, LitServe in one worker beside its "
        "HTTP, the others in one process: what each documents; a row of its own compares two workers of ours with two "
        "of LitServe",
        "while a server is loaded the others are halted (SIGSTOP): one takes a third of a core with nothing to do",
        "no arm reads a feature store: the peers have none; the share of feature reads is that of Feast on SQLite",
        "cold start: an empty run folder; memory is that of all processes after the load, shared pages counted once",
        "the catalogue repeats 1,000 encoded items with noise of their own; recall is of the exact scan's first 100",
        *(() if python else ("LitServe, BentoML and MLServer were not run: FAIRTAG_BENCH_PEERS is not set",)),
    )
    return Result("serving", "python -m benchmarks serving", tuple(rows), notes)


def _parts_and_servers(model_folder: Path, tables: Path, folder: Path, plan: Plan, python: str | None) -> Iterator[Row]:
    shop = Shop(model_folder)
    queries = _queries(60_000)
    with ExitStack() as stack:
        arms = {OURS: stack.enter_context(endpoint(model_folder, folder))}
        alone = _by_itself(shop, arms[OURS], queries[:30_000], plan)
        whole = sum(alone.parts.values())
        yield Row("core_throughput", alone.core, unit="pages/s")
        yield Row("parts_p50_ms", whole, unit="ms")
        yield from (Row(f"part_{name}_p50_ms", value, unit="ms") for name, value in alone.parts.items())
        yield from feature_rows(shop.core, read_tables(tables), folder / "features", whole)
        for peer in (BATCHED, *((*PEERS, LITSERVE_TWO) if python else PEERS[:1])):
            command = sys.executable if peer in (BATCHED, PEERS[0]) or python is None else python
            arms[peer] = stack.enter_context(started_peer(peer, command, model_folder, folder))
        arms[OURS_TWO] = stack.enter_context(endpoint(model_folder, folder, workers=2, name=OURS_TWO))
        measured = alone.loads | _side_by_side(arms, queries[30_000:], plan)
        yield Row("cold_start_seconds", arms[OURS].start_seconds, unit="s", reference=15.0)
        yield from (
            Row("memory_mb" if name == OURS else f"{name}_memory_mb", arm.memory_mb(), unit="MB")
            for name, arm in arms.items()
        )
    yield from _comparison(measured, alone)


def _comparison(measured: dict[tuple[str, int], LoadResult], alone: Alone) -> Iterator[Row]:
    """Ratios first: they survive another machine."""
    ours = measured[OURS, BUSIEST]
    peers = {name: measured[name, BUSIEST] for name in (*PEERS, BATCHED) if (name, BUSIEST) in measured}
    rivals = [peer for name, peer in peers.items() if name != BATCHED]
    yield Row("p50_over_parts", alone.p50_over_parts, reference="at most 1.3")
    yield Row("throughput_over_core", ours.throughput / alone.core, reference="at least 0.75")
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
    """Time of a page found and priced, and recall, in the larger catalogue against the smaller.

    Recall is that of queries of the shop on which no index was chosen.
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
    unseen = spread(sorted(set(asked) - set(spread(asked))))
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
    """Median milliseconds of each part, one after the other in this process."""
    user = UserContext("u", None, core.item_ids[:5], (1.0, 2.0, 3.0, 4.0, 5.0), jurisdiction="DE")
    times: dict[str, list[float]] = {"encode": [], "search": [], "solve": []}
    for query in queries:
        started = time.perf_counter()
        vector = core.encode([query])[0]
        encoded = time.perf_counter()
        rows = core.retrieve(vector, query, user, PAGE, core.market.stock)
        found = time.perf_counter()
        core.price(PageInputs(rows, vector, user, 20_000, market=core.market.rows(rows)))
        times["encode"].append(encoded - started)
        times["search"].append(found - encoded)
        times["solve"].append(time.perf_counter() - found)
    return {name: _median_ms(values) for name, values in times.items()}


def _core_throughput(shop: Shop, queries: Sequence[str], seconds: float) -> float:
    """Pages a second of the batched core with no server in front and nobody to read them."""
    pages, batch = 0, BUSIEST
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        wanted = queries[pages : pages + batch]
        for query, vector in zip(wanted, shop.core.encode(wanted), strict=True):
            shop.priced(query, vector)
        pages += len(wanted)
    return pages / (time.perf_counter() - started)


@dataclass(frozen=True)
class Alone:
    """Our endpoint with few requests in flight, beside what it is made of in this process; medians.

    Args:
        parts: Milliseconds of each part of a page.
        p50_over_parts: Of a lone request, over the parts' sum of the same turn: a machine's pace changes by the minute.
        core: Pages a second of the core.
        loads: The endpoint at each level.
    """

    parts: dict[str, float]
    p50_over_parts: float
    core: float
    loads: dict[tuple[str, int], LoadResult]


def _by_itself(shop: Shop, arm: Arm, queries: Sequence[str], plan: Plan) -> Alone:
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
    return Alone(middle, median(ratios), median(core), _middles(found))


def _side_by_side(arms: dict[str, Arm], queries: Sequence[str], plan: Plan) -> dict[tuple[str, int], LoadResult]:
    """Every arm with many requests in flight, in turn; medians over the rounds."""
    found: dict[tuple[str, int], list[LoadResult]] = {}
    sent = 0
    with taking_turns(list(arms.values())):
        for _ in range(plan.rounds):
            for arm in arms.values():
                arm.go_on()
                sent += _load(arm, queries, BUSIEST, plan.seconds, sent, found)
                arm.halt()
    return _middles(found)


def _load(
    arm: Arm,
    queries: Sequence[str],
    level: int,
    seconds: float,
    sent: int,
    found: dict[tuple[str, int], list[LoadResult]],
) -> int:
    """Load an arm once with queries not yet sent; how many that were, those of the warm-up too."""
    load = run_load(LoadSpec(arm.url, [arm.body(query) for query in queries], level, seconds, first=sent))
    found.setdefault((arm.name, level), []).append(load)
    return load.requests * 2


def _middles(found: dict[tuple[str, int], list[LoadResult]]) -> dict[tuple[str, int], LoadResult]:
    return {key: _middle(loads) for key, loads in found.items()}


def _middle(loads: Sequence[LoadResult]) -> LoadResult:
    return LoadResult(
        p50=median(load.p50 for load in loads),
        p99=median(load.p99 for load in loads),
        throughput=median(load.throughput for load in loads),
        requests=sum(load.requests for load in loads),
        failed=sum(load.failed for load in loads),
    )


def _page(core: ModelCore, query: str, vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    rows = core.retrieve(vector, query, GUEST, PAGE, core.market.stock)
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
    """Distinct queries of the usual length."""
    words = ("cordless", "oak", "steel", "garden", "kitchen", "small", "blue", "heavy duty", "outdoor", "modern")
    things = ("drill", "table", "lamp", "hose", "shelf", "chair", "mixer", "tent", "pan", "rug", "ladder")
    return [f"{words[i % 10]} {things[i % 11]} {i}" for i in range(count)]


def _median_ms(seconds: Sequence[float]) -> float:
    return median(seconds) * 1_000
