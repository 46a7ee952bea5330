"""Encodes the queries of concurrent requests together, and caches their embeddings.

While one batch is being encoded, the next one gathers. So batches grow with the load, and a lone query is encoded at
once. While enough encoded pages wait to be priced, the next batch keeps gathering: a larger batch costs less per query.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vector]

AHEAD = 4  # pages that take as long to price as a full batch takes to encode


class EmbeddingCache:
    """The embeddings of recent queries; any thread may use it.

    Args:
        capacity: Most queries; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, query: str) -> Vector | None:
        """The embedding (d,) of a query, None when it is not cached."""
        with self._turn:
            vector = self._vectors.get(query)
            if vector is not None:
                self._vectors.move_to_end(query)
            return vector

    def __contains__(self, query: str) -> bool:
        """Whether a query is cached; asking does not count as use."""
        return query in self._vectors

    def put(self, query: str, vector: Vector) -> None:
        """Cache an embedding; the least recently used one makes room."""
        if self._capacity == 0:
            return
        with self._turn:
            self._vectors[query] = vector
            self._vectors.move_to_end(query)
            if len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)


class MicroBatcher:
    """Encodes the texts that have gathered, one batch after another.

    To be used from one event loop, except for :meth:`encode_here`.

    Args:
        encode: Turns texts into unit rows (n, d); called for one batch at a time.
        executor: Where it is called.
        largest: Most texts in a batch.
        cache: Embeddings of recent texts.
        ahead: Encoded pages (see :meth:`page`) in progress from which on the next batch waits.
        observe: Receives the size of every batch.
    """

    def __init__(
        self,
        encode: Encode,
        executor: Executor,
        *,
        largest: int,
        cache: EmbeddingCache,
        ahead: int = AHEAD,
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._encode_rows = encode
        self._turn = threading.Lock()
        self._executor = executor
        self._largest = largest
        self._cache = cache
        self._ahead = ahead
        self._observe = observe
        self._in_flight: dict[str, asyncio.Future[Vector]] = {}
        self._waiting: dict[str, int] = {}  # text -> its callers, in the order of arrival
        self._worker: asyncio.Task[None] | None = None
        self._pages = 0
        self._page_done = asyncio.Event()

    @contextmanager
    def page(self, text: str | None = None) -> Iterator[bool]:
        """Count a page as in progress while the body of a ``with`` statement runs.

        Args:
            text: The one text that the body encodes, None for a page without one.

        Yields:
            Whether the text is new and no other page or text is in progress: then :meth:`encode_here` may encode it.
        """
        self._pages += 1
        try:
            yield text is not None and self._pages == 1 and not self._in_flight and text not in self._cache
        finally:
            self._pages -= 1
            self._page_done.set()

    def encode_here(self, text: str) -> Vector:
        """The embedding (d,) of one text, encoded in the caller's thread; for a page that is alone.

        Raises:
            Exception: The encoder's own error.
        """
        self._observe(1)
        return self._encode((text,))[0]

    async def encode(self, text: str) -> tuple[Vector, bool]:
        """The embedding (d,) of a text, and whether it was cached.

        Equal texts in flight are encoded once.

        Raises:
            Exception: The encoder's own error, for every text of the batch.
        """
        known = self._cache.get(text)
        if known is not None:
            return known, True
        future = self._in_flight.get(text)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._in_flight[text] = future
            self._waiting[text] = 0
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())
        if text in self._waiting:
            self._waiting[text] += 1
        return await asyncio.shield(future), False  # a caller that leaves must not cancel the others' answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._few_ahead()
                texts = list(islice(self._waiting, self._largest))
                for text in texts:
                    del self._waiting[text]
                await self._encode_batch(texts)
        finally:
            self._worker = None

    async def _few_ahead(self) -> None:
        """Wait until few encoded pages are in progress."""
        while self._pages - sum(self._waiting.values()) >= self._ahead:
            self._page_done.clear()
            await self._page_done.wait()

    def _encode(self, texts: Sequence[str]) -> list[Vector]:
        """The row of each text, cached from now on; what another caller encoded meanwhile is taken from the cache."""
        with self._turn:  # an encoder is never called by two threads at once
            rows = {text: row for text in texts if (row := self._cache.get(text)) is not None}
            fresh = [text for text in texts if text not in rows]
            for text, row in zip(fresh, self._encode_rows(fresh) if fresh else (), strict=True):
                rows[text] = np.array(row, dtype=np.float32)  # its own memory: a view would keep the whole batch
                self._cache.put(text, rows[text])
        return [rows[text] for text in texts]

    async def _encode_batch(self, texts: Sequence[str]) -> None:
        self._observe(len(texts))
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.run_in_executor(self._executor, self._encode, texts)
        except Exception as error:  # each caller gets it, whatever it is
            for text in texts:
                future = self._in_flight.pop(text)
                future.set_exception(error)
                future.exception()  # its caller may have left: asyncio need not report it as unseen
            return
        for text, row in zip(texts, rows, strict=True):
            self._in_flight.pop(text).set_result(row)
