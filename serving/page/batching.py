"""Encodes the queries of concurrent requests together, and remembers them.

No query waits for company: while one batch is being encoded the next one gathers, so that batches grow with the load
and a lone query is encoded at once. Nor is one encoded long before its page can be priced: while enough encoded pages
wait for that, the next batch gathers on, and costs the less a query.
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

AHEAD = 4  # pages whose prices take as long as the encode of a full batch


class EmbeddingCache:
    """The embeddings of the queries seen last; any thread may use it.

    Args:
        capacity: Queries kept; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, query: str) -> Vector | None:
        """The embedding (d,), None when it is not here."""
        with self._turn:
            vector = self._vectors.get(query)
            if vector is not None:
                self._vectors.move_to_end(query)
            return vector

    def __contains__(self, query: str) -> bool:
        """Whether the embedding is here; asking does not count as use."""
        return query in self._vectors

    def put(self, query: str, vector: Vector) -> None:
        """Keep an embedding; the one unused for longest makes room."""
        if self._capacity == 0:
            return
        with self._turn:
            self._vectors[query] = vector
            self._vectors.move_to_end(query)
            if len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)


class MicroBatcher:
    """Encodes texts in batches of whatever has gathered.

    To be used from one event loop, but for :meth:`encode_here`.

    Args:
        encode: Texts to unit rows (n, d); called for one batch at a time.
        executor: Where it is called.
        largest: Most texts in a batch.
        ahead: Pages (see :meth:`page`) past their encode and not yet done from which on the next batch waits.
        cache: Embeddings known already.
        observe: Told the size of every batch.
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
        """Count a page as in work while the body runs.

        Args:
            text: The one text that the body encodes, None for a page without one.

        Yields:
            Whether the text is new and nothing else is in work: then :meth:`encode_here` may encode it.
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
            Exception: What the encoder raised.
        """
        self._observe(1)
        return self._encode((text,))[0]

    async def encode(self, text: str) -> tuple[Vector, bool]:
        """The embedding (d,) of a text, and whether it was known already.

        Equal texts in flight are encoded once.

        Raises:
            Exception: What the encoder raised, for every text of its batch.
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
        return await asyncio.shield(future), False  # one caller gone must not take the others' answer along

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
        """Wait until the pages in work are few, those that wait for an encode apart."""
        while self._pages - sum(self._waiting.values()) >= self._ahead:
            self._page_done.clear()
            await self._page_done.wait()

    def _encode(self, texts: Sequence[str]) -> list[Vector]:
        """Rows of the texts, kept from now on; those of a text that another caller encoded meanwhile are known."""
        with self._turn:  # an encoder need not stand two callers
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
        except Exception as error:  # handed on to each caller, whatever it was
            for text in texts:
                future = self._in_flight.pop(text)
                future.set_exception(error)
                future.exception()  # a caller may have gone: its error is not one that nobody saw
            return
        for text, row in zip(texts, rows, strict=True):
            self._in_flight.pop(text).set_result(row)
