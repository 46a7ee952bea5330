"""Encodes the queries of concurrent requests together, and remembers them. Knows neither the encoder nor the server.

No query waits for company: while one batch is being encoded the next one gathers, so that batches grow with the load
and a lone query is encoded at once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vector]


class EmbeddingCache:
    """The embeddings of the queries seen last.

    Args:
        capacity: Queries kept; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._vectors: OrderedDict[str, Vector] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, query: str) -> Vector | None:
        """The embedding (d,), None when it is not here."""
        vector = self._vectors.get(query)
        if vector is not None:
            self._vectors.move_to_end(query)
        return vector

    def put(self, query: str, vector: Vector) -> None:
        """Keep an embedding; the one unused for longest makes room."""
        if self._capacity == 0:
            return
        self._vectors[query] = vector
        self._vectors.move_to_end(query)
        if len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)


class MicroBatcher:
    """Encodes texts in batches of whatever has gathered.

    To be used from one event loop.

    Args:
        encode: Texts to unit rows (n, d); called in ``executor``, one batch at a time.
        executor: Where it is called.
        largest: Most texts in a batch.
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
        observe: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._encode = encode
        self._executor = executor
        self._largest = largest
        self._cache = cache
        self._observe = observe
        self._in_flight: dict[str, asyncio.Future[Vector]] = {}
        self._waiting: deque[str] = deque()
        self._worker: asyncio.Task[None] | None = None

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
            self._waiting.append(text)
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())
        return await asyncio.shield(future), False  # one caller gone must not take the others' answer along

    async def _work(self) -> None:
        try:
            while self._waiting:
                texts = [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
                await self._encode_batch(texts)
        finally:
            self._worker = None

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
            vector = np.array(row, dtype=np.float32)  # its own memory: a view would keep the whole batch
            self._cache.put(text, vector)
            self._in_flight.pop(text).set_result(vector)
