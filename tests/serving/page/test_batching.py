from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.page.batching import EmbeddingCache, MicroBatcher


class Encoder:
    """Each text's length, and a door that keeps a batch waiting."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.door = threading.Event()
        self.door.set()
        self.fail = False

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        assert self.door.wait(60)
        if self.fail:
            raise RuntimeError("no encoder")
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Long enough for what must not happen to happen."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_a_lone_text_is_encoded_at_once(pool) -> None:
    encoder = Encoder()
    vector, known = await MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8)).encode("four")
    assert vector.tolist() == [4.0, 1.0]
    assert not known


async def test_texts_that_come_while_a_batch_is_encoded_go_together(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8))
    encoder.door.clear()
    first = asyncio.create_task(batcher.encode("a"))
    await until(lambda: encoder.batches == [["a"]])
    others = [asyncio.create_task(batcher.encode("b" * n)) for n in range(2, 8)]
    await settle()
    encoder.door.set()
    vectors = [vector for vector, _ in await asyncio.gather(first, *others)]
    assert [len(batch) for batch in encoder.batches] == [1, 6]
    assert [vector[0] for vector in vectors] == [1, 2, 3, 4, 5, 6, 7]


async def test_no_batch_is_larger_than_allowed(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=3, cache=EmbeddingCache(0))
    await asyncio.gather(*(batcher.encode(f"text {n}") for n in range(10)))
    assert max(map(len, encoder.batches)) <= 3
    assert sum(map(len, encoder.batches)) == 10


async def test_equal_texts_in_flight_are_encoded_once(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(0))
    encoder.door.clear()
    first = asyncio.create_task(batcher.encode("same"))
    await settle()
    second = asyncio.create_task(batcher.encode("same"))
    await settle()
    encoder.door.set()
    await asyncio.gather(first, second)
    assert encoder.batches == [["same"]]


async def test_a_known_text_is_not_encoded_again(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8))
    fresh, _ = await batcher.encode("same")
    again, known = await batcher.encode("same")
    assert known
    assert fresh is again
    assert encoder.batches == [["same"]]


async def test_an_error_reaches_every_caller_and_is_forgotten(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8))
    encoder.fail = True
    outcomes = await asyncio.gather(batcher.encode("a"), batcher.encode("b"), return_exceptions=True)
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)
    encoder.fail = False
    vector, _ = await batcher.encode("a")
    assert vector.tolist() == [1.0, 1.0]


async def test_a_caller_that_leaves_does_not_take_the_others_along(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8))
    encoder.door.clear()
    leaving = asyncio.create_task(batcher.encode("same"))
    staying = asyncio.create_task(batcher.encode("same"))
    await settle()
    leaving.cancel()
    encoder.door.set()
    vector, _ = await staying
    assert vector.tolist() == [4.0, 1.0]
    with pytest.raises(asyncio.CancelledError):
        await leaving


def test_the_text_unused_for_longest_makes_room() -> None:
    cache = EmbeddingCache(2)
    vector = np.zeros(2, dtype=np.float32)
    cache.put("a", vector)
    cache.put("b", vector)
    assert cache.get("a") is vector
    cache.put("c", vector)
    assert (cache.get("a") is None, cache.get("b") is None, cache.get("c") is None) == (False, True, False)
    assert len(cache) == 2


def test_a_cache_of_none_keeps_none() -> None:
    cache = EmbeddingCache(0)
    cache.put("a", np.zeros(2, dtype=np.float32))
    assert cache.get("a") is None


async def test_the_next_batch_gathers_while_enough_encoded_pages_wait_for_their_prices(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(0), ahead=2)
    priced = asyncio.Semaphore(0)

    async def page(text: str) -> None:
        with batcher.page():
            await batcher.encode(text)
            await priced.acquire()

    encoder.door.clear()
    pages = [asyncio.create_task(page(text)) for text in ("a", "b", "c")]
    await settle()
    encoder.door.set()
    await until(lambda: bool(encoder.batches))
    assert encoder.batches == [["a", "b", "c"]]
    pages += [asyncio.create_task(page(text)) for text in ("d", "e")]
    await settle()
    assert len(encoder.batches) == 1, "three pages are ahead"
    priced.release()
    await settle()
    assert len(encoder.batches) == 1, "two pages are ahead"
    priced.release()
    await until(lambda: encoder.batches[1:] == [["d", "e"]])  # one page is ahead
    for _ in range(3):
        priced.release()
    await asyncio.gather(*pages)


async def test_pages_that_leave_or_fail_hold_no_batch_up(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(0), ahead=1)

    async def page(text: str) -> None:
        with batcher.page():
            await batcher.encode(text)
            raise RuntimeError("no price")

    encoder.door.clear()
    leaving = [asyncio.create_task(page(text)) for text in ("a", "a", "b")]
    await settle()
    for task in leaving[:2]:
        task.cancel()
    encoder.door.set()
    outcomes = await asyncio.gather(*leaving, page("c"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2 + [RuntimeError] * 2


async def test_a_text_is_alone_until_another_page_or_text_is_in_work(pool) -> None:
    encoder = Encoder()
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8))

    def alone(text: str | None) -> bool:
        with batcher.page(text) as answer:
            return answer

    assert alone("one")
    assert not alone(None), "a page without a text encodes nothing"
    with batcher.page("one"):
        assert not alone("two")
    encoder.door.clear()
    other = asyncio.create_task(batcher.encode("two"))
    await until(lambda: len(encoder.batches) == 1)
    assert not alone("one")
    encoder.door.set()
    await other
    assert alone("one")
    assert not alone("two"), "known already"


async def test_a_text_encoded_in_its_callers_thread_is_remembered_and_waits_for_a_batch(pool) -> None:
    encoder, sizes = Encoder(), []
    batcher = MicroBatcher(encoder, pool, largest=8, cache=EmbeddingCache(8), observe=sizes.append)
    encoder.door.clear()
    batch = asyncio.create_task(batcher.encode("two"))
    await until(lambda: len(encoder.batches) == 1)
    here = asyncio.get_running_loop().run_in_executor(None, batcher.encode_here, "four")
    await settle()
    assert len(encoder.batches) == 1, "never two calls at once"
    encoder.door.set()
    await batch
    assert (await here).tolist() == [4.0, 1.0]
    assert (await batcher.encode("four"))[1]
    assert sizes == [1, 1]
