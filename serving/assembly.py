"""Builds an endpoint from its settings, warms it up, and swaps its model while it serves."""

from __future__ import annotations

import importlib.util
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fairtag.base.errors import FairtagError, ModelFolderError
from fairtag.model.decision import accepted_capabilities, required_decision
from fairtag.model.signature import TrustedKeys, pem_of, policy_verifier, trusted_keys
from fairtag.policy.live_policy import FOLDER, open_store
from fairtag.search.query import SearchOptions
from serving.custody.retention import apply_retention
from serving.keys import quote_keys, user_keys
from serving.metrics import Metrics
from serving.page.batching import AHEAD, EmbeddingCache, MicroBatcher
from serving.page.core import Core, ModelCore, warm_up
from serving.page.customers import Pseudonyms
from serving.page.page_endpoint import Endpoint, ServedModel
from serving.page.quotes import QuoteBook
from serving.settings import ServingSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reads import FeatureReader, ItemFeatureCache, StoreAge, UserFeatureClient
from serving.stores.lock_file import LockFile
from serving.stores.policy_follower import PolicyFollower
from serving.stores.price_locks import LocalPriceLockStore, PriceLockStore
from serving.stores.quote_log import QuoteLog
from serving.stores.seal import Seal
from serving.stores.shared_locks import RedisLocks, SharedPriceLockStore
from serving.tracing import Stages, tracer_to
from serving.workers.worker_pool import WorkerPool

logger = logging.getLogger(__name__)

IGNORED_LOG_SECONDS = 60.0  # between two log lines about values of one store
WARM_USER = "fairtag-warm-up"  # in no shop; reading it makes the slow first read of a store

T = TypeVar("T")
LoadCore = Callable[[ServingSettings], Core]
OpenReader = Callable[[Path], FeatureReader]


def open_feast(repo: Path) -> FeatureReader:
    """Feast's reader; its import takes seconds."""
    from serving.stores.feast_store import open_reader

    return open_reader(repo)


def load_model_core(settings: ServingSettings) -> Core:
    """The model of the model folder, with the capabilities that the decision in it accepts, or the one that is named.

    Either decision must be about exactly these files.

    Raises:
        DecisionError: There is no decision, it rejects the model folder, it is about another one, or no trusted key
            signed it.
        ModelFolderError: The model folder is absent, altered, or does not fit together.
    """
    decision = required_decision(settings.model_folder, settings.decision, keys_of_decisions(settings))
    try:
        options = SearchOptions(**settings.search.model_dump())
        return ModelCore.load(settings.model_folder, settings.encoder_threads, accepted_capabilities(decision), options)
    except (KeyError, TypeError, ValueError) as error:  # its digests are right, but this code cannot read its parts
        raise ModelFolderError(
            f"{settings.model_folder}: written by another version of this code "
            f"({type(error).__name__}: {error}); train the model again"
        ) from error


def keys_of_decisions(settings: ServingSettings) -> TrustedKeys | None:
    """The keys of which one must have signed a decision; None asks for no signature."""
    pem = pem_of(settings.trusted_keys, settings.trusted_keys_file, "FAIRTAG_TRUSTED_KEYS")
    return None if pem is None else trusted_keys(*pem)


def follow_policy(settings: ServingSettings) -> PolicyFollower:
    """The live policy of an endpoint; its versions must be signed wherever decisions must be."""
    pem = pem_of(settings.policy_keys, settings.policy_keys_file, "FAIRTAG_POLICY_KEYS")
    trusted = keys_of_decisions(settings)
    writers = trusted if pem is None else trusted_keys(*pem)
    verify = None if writers is None else policy_verifier(writers)
    store = open_store(settings.policy_store or settings.run_dir / FOLDER, verify=verify)
    return PolicyFollower(store, trusted, settings.policy_stale_seconds)


class Assembly:
    """Everything between the settings and the protocols.

    Args:
        settings: What to build.
        metrics: What is counted.
        load_core: Loads the model; tests replace it.
        open_reader: Opens the feature store; tests replace it.
        exporter: Takes spans instead of the collector.
    """

    def __init__(
        self,
        settings: ServingSettings,
        metrics: Metrics,
        *,
        load_core: LoadCore = load_model_core,
        open_reader: OpenReader = open_feast,
        exporter: Any | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._load_core = load_core
        self._encode_thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="price")
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="aside")
        features = settings.features
        self._breaker = self._new_breaker("features")
        self.book = QuoteBook(
            quote_keys(settings, settings.run_dir),
            lifetime=settings.quote_seconds,
            skew=settings.clock_skew_seconds,
            step_back=settings.clock_step_back_seconds,
        )
        keys = user_keys(settings, settings.run_dir)
        self._seal = Seal(keys)
        self._reader, core = self._load(open_reader)
        self._tracing: Any = None
        tracer = None
        if settings.otlp_endpoint is not None:
            tracer, self._tracing = tracer_to(settings.otlp_endpoint, core.version, exporter)
        self.log = self._open_log()
        self.locks = self._open_locks()
        self._age = StoreAge(self._reader, features.refresh_seconds)
        metrics.features_age.set_function(lambda: seconds if (seconds := self._age.seconds()) is not None else math.nan)
        self._age.start()
        self.users = UserFeatureClient(
            self._reader, features, self._breaker, self._count("user"), self._ignored("features")
        )
        self.policy = follow_policy(settings)
        self.policy.follow(core.accepted)
        self._reload_turn = threading.Lock()
        self.endpoint = Endpoint(
            self._served(core),
            users=self.users,
            book=self.book,
            pseudonyms=Pseudonyms(keys),
            log=self.log,
            locks=self.locks,
            executor=self._threads,
            aside=self._aside,
            metrics=metrics,
            stages=Stages(metrics, tracer),
            policy=self.policy,
            lock_grace=int(3_600 * settings.retention.lock_hours),
            age=self._age.seconds,
        )
        metrics.model.labels(core.version).set(1)
        metrics.watch("fairtag_quote_log", self._log_figures)
        metrics.watch("fairtag_policy", self._policy_figures)
        metrics.watch("fairtag_workers", lambda: [("alive", "gauge", float(self.endpoint.served.workers.alive))])

    def reload(self) -> bool:
        """Load the model folder again and serve it; requests in flight finish with the model they began with.

        Returns:
            Whether another model serves now. If the model folder cannot be loaded, the old model keeps serving.
        """
        with self._reload_turn:
            old = self.endpoint.served
            try:
                core = self._load_core(self.settings)
                if (core.version, core.capabilities) == (old.core.version, old.core.capabilities):
                    return False
                new = self._served(core)
            except (FairtagError, OSError, ValueError) as error:
                self.metrics.reloads.labels("failed").inc()
                logger.warning(
                    "the new model folder cannot be loaded (%s); the old model keeps serving", type(error).__name__
                )
                return False
            self.policy.follow(core.accepted)
            self.endpoint.served = new
            old.items.stop()
            self.metrics.model.labels(old.core.version).set(0)  # removal is not for processes where Feast is imported
            self.metrics.model.labels(core.version).set(1)
            self.metrics.reloads.labels("done").inc()
            logger.info("model %s serves in place of %s", core.version, old.core.version)
            return True

    def reload_keys(self) -> None:
        """Read quote keys and user keys again. Of those that cannot be read, the old ones stay in use."""
        settings = self.settings
        try:
            self.book.keys = quote_keys(settings, settings.run_dir)
        except FairtagError as error:
            logger.warning("the quote keys cannot be read, the old ones stay in use: %s", error)
        try:
            keys = user_keys(settings, settings.run_dir)
        except FairtagError as error:
            logger.warning("the user keys cannot be read, the old ones stay in use: %s", error)
        else:
            self._seal.use(keys)
            self.endpoint.pseudonyms = Pseudonyms(keys)

    def retain(self) -> None:
        """Remove from the quote log what is too old; blocks. A log that does not answer is looked at the next time."""
        settings = self.settings
        try:
            report = apply_retention(self._log_url, settings.retention, datetime.now(UTC))
        except Exception as error:  # a disk, a bucket or a network: pricing goes on whatever it is
            logger.warning("the quote log cannot be looked through for what is too old (%s)", type(error).__name__)
        else:
            self.metrics.retained.labels("queries").inc(report.queries)
            self.metrics.retained.labels("quotes").inc(report.quotes)
            logger.info("retention: %s", report)

    async def close(self) -> None:
        """Write what the log holds and release everything; call it after the last request."""
        self.endpoint.served.items.stop()
        await self.endpoint.served.workers.close()
        self._age.stop()
        self.users.close()
        if not self.log.stop():
            logger.error("the quote log did not finish in time; the rest is in its journal, which the next start reads")
        await self.locks.close()
        self._encode_thread.shutdown(wait=False)
        self._threads.shutdown(wait=False)
        self._aside.shutdown(wait=False, cancel_futures=True)
        if self._tracing is not None:
            self._tracing.shutdown()

    def _load(self, open_reader: OpenReader) -> tuple[FeatureReader | None, Core]:
        """Load model and feature store in parallel: each spends seconds on imports and on the disk.

        If one fails, its error is raised at once and the other is not waited for.
        """
        settings, repo = self.settings, self.settings.features.repo
        if repo is not None:
            _import_shared()
        core = _aside(lambda: self._load_core(settings))
        reader = None if repo is None else _aside(lambda: open_reader(repo))
        both: list[Future[Any]] = [core] if reader is None else [core, reader]
        for loaded in as_completed(both):
            loaded.result()
        return (None if reader is None else reader.result()), core.result()

    def _served(self, core: Core) -> ServedModel:
        """A model with its caches, warm."""
        settings = self.settings
        items = ItemFeatureCache(
            self._reader,
            core.item_ids,
            core.market,
            settings.features,
            self._breaker,
            self._count("item"),
            self._ignored("features"),
        )
        batcher = MicroBatcher(
            core.encode,
            self._encode_thread,
            largest=settings.batch_size,
            cache=EmbeddingCache(settings.query_cache),
            ahead=AHEAD * (settings.threads + settings.workers),
            observe=self.metrics.batch.observe,
        )
        load = partial(self._load_core, settings)
        outcomes = self.metrics.workers
        workers = WorkerPool(
            settings.workers, load, core.version, items.known, lambda outcome: outcomes.labels(outcome).inc()
        )
        items.tell = workers.update
        started = time.perf_counter()
        self._warm(core)
        items.start()
        logger.info("model %s is warm after %.1f s", core.version, time.perf_counter() - started)
        return ServedModel(core, items, batcher, workers)

    def _warm(self, core: Core) -> None:
        """Use every path once, so that the first customer does not wait for it."""
        warm_up(core)
        if self._reader is not None:
            try:
                self._reader.user(WARM_USER)
            except Exception as error:  # it may come up later; until then pages are degraded
                logger.warning(
                    "the feature store does not answer yet (%s); pages are at list prices until it does",
                    type(error).__name__,
                )

    def _count(self, entity: str) -> Callable[[str], None]:
        return lambda outcome: self.metrics.reads.labels(entity, outcome).inc()

    def _open_log(self) -> QuoteLog:
        settings = self.settings
        log = QuoteLog(
            self._log_url,
            journal_dir=settings.run_dir / "journal",
            rows=settings.quote_log_rows,
            seconds=settings.quote_log_seconds,
            capacity=settings.quote_log_queue,
        )
        log.start()
        return log

    @property
    def _log_url(self) -> str:
        return self.settings.quote_log or str(self.settings.run_dir / "quotes")

    def _open_locks(self) -> PriceLockStore:
        settings, seal = self.settings, self._seal
        try:
            file = LockFile(settings.run_dir / "locks", seal, self._ignored("price_lock_file"))
        except (OSError, sqlite3.Error) as error:
            logger.warning("%s cannot be written (%s); price locks do not survive a restart", settings.run_dir, error)
            file = None
        local = LocalPriceLockStore(file, megabytes=settings.price_lock_megabytes, most=settings.price_lock_items)
        if settings.price_locks_url is None:
            self.metrics.watch("fairtag_price_locks", local.figures)
            return local
        breaker, seconds = self._new_breaker("price_locks"), settings.features.deadline_ms / 1000
        ignored, most = self._ignored("price_locks"), 2 * settings.price_lock_items  # replicas may add some at once
        redis = RedisLocks(settings.price_locks_url, seconds, breaker, seal, ignored, most)
        shared = SharedPriceLockStore(local, redis, settings.price_lock_guests)
        self.metrics.watch("fairtag_price_locks", shared.figures)
        return shared

    def _ignored(self, store: str) -> Callable[[str], None]:
        """Counts values of a store that are not used, and says so in the log, once a minute at most."""
        said = [-math.inf]

        def ignored(reason: str) -> None:
            self.metrics.ignored.labels(store, reason).inc()
            if time.monotonic() - said[0] > IGNORED_LOG_SECONDS:
                said[0] = time.monotonic()
                logger.error("values of the store %s are not used: %s; somebody else may write there", store, reason)

        return ignored

    def _new_breaker(self, store: str) -> CircuitBreaker:
        features = self.settings.features
        breaker = CircuitBreaker(features.breaker_failures, features.breaker_seconds)
        self.metrics.breaker.labels(store).set_function(lambda: float(breaker.open))
        return breaker

    def _policy_figures(self) -> list[tuple[str, str, float]]:
        change = self.policy.change
        return [
            ("version", "gauge", float(change.version)),
            ("at_list", "gauge", float(change.policy.at_list)),
            ("personal_prices", "gauge", float(change.policy.personal_prices.allowed)),
            ("age_seconds", "gauge", self.policy.age),
            ("fail_safe", "gauge", float(self.policy.fail_safe)),
        ]

    def _log_figures(self) -> list[tuple[str, str, float]]:
        counts = self.log.counts
        return [
            ("pages", "counter", counts.pages),
            ("dropped_pages", "counter", counts.dropped_pages),
            ("files", "counter", counts.files),
            ("rows", "counter", counts.rows),
            ("failures", "counter", counts.failures),
            ("recovered_pages", "counter", counts.recovered_pages),
            ("torn_pages", "counter", counts.torn_pages),
            ("unjournalled_pages", "counter", counts.unjournalled_pages),
            ("waiting_pages", "gauge", self.log.waiting),
        ]


def _import_shared() -> None:
    """Import what both loading threads would import, before they start.

    Feast imports torch where it is installed. SciPy, imported meanwhile by the other thread, would find torch half
    imported and fail.
    """
    for name in ("torch", "scipy.stats"):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


def _aside(work: Callable[[], T]) -> Future[T]:
    """Run in a daemon thread: unlike an executor's, the process does not wait for it at its end."""
    done: Future[T] = Future()

    def body() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # handed on to whoever asks for the result
            done.set_exception(error)

    threading.Thread(target=body, name="load", daemon=True).start()
    return done
