"""Whose turn it is: a lone page is this process's, others go to workers, and no turn is lost by who leaves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from serving.workers.scheduler import QUEUED, Scheduler


async def taken(scheduler: Scheduler[str], stack: AsyncExitStack) -> str | None:
    return await stack.enter_async_context(scheduler.turn())


async def test_a_lone_page_is_priced_here_whatever_workers_there_are() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.join("a")
    for _ in range(3):
        async with scheduler.turn() as who:
            assert who is None


async def test_of_several_pages_the_next_goes_to_the_worker_with_the_least_to_do() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.join("a")
    scheduler.join("b")
    async with AsyncExitStack() as stack:
        order = [await taken(scheduler, stack) for _ in range(1 + 2 * QUEUED)]
    assert order == [None, *["a", "b"] * QUEUED]


async def test_this_process_prices_no_page_beside_its_workers() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.join("a")
    first = AsyncExitStack()
    assert await taken(scheduler, first) is None
    async with AsyncExitStack() as stack:
        assert await taken(scheduler, stack) == "a"
        await first.aclose()
        assert [await taken(scheduler, stack) for _ in range(QUEUED - 1)] == ["a"] * (QUEUED - 1)
        waiting = asyncio.create_task(taken(scheduler, stack))
        await asyncio.sleep(0)
        assert not waiting.done()
        scheduler.leave("a")  # then it is this process's all the same
        assert await waiting is None


async def test_where_nobody_is_free_pages_wait_and_are_called_in_their_order() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.join("a")
    served: list[int] = []

    async def page(number: int) -> None:
        async with scheduler.turn():
            served.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(page(number))
    assert served == list(range(40))


async def test_a_worker_that_joins_is_given_what_waits_and_one_that_left_is_given_nothing() -> None:
    scheduler: Scheduler[str] = Scheduler()
    async with AsyncExitStack() as stack:
        assert await taken(scheduler, stack) is None
        waiting = asyncio.create_task(taken(scheduler, stack))
        await asyncio.sleep(0)
        assert not waiting.done()
        scheduler.join("a")
        assert await waiting == "a"
        scheduler.leave("a")
        later = asyncio.create_task(taken(scheduler, stack))
        await asyncio.sleep(0)
        assert not later.done()
        await stack.aclose()
        assert await later is None
    assert scheduler.workers == ()


@pytest.mark.parametrize("called_up", [False, True])
async def test_who_gives_up_waiting_keeps_no_turn(*, called_up: bool) -> None:
    scheduler: Scheduler[str] = Scheduler()
    first = AsyncExitStack()
    await taken(scheduler, first)
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(taken(scheduler, stack))
        await asyncio.sleep(0)
        if called_up:  # its turn comes, and it leaves before it can take it
            await first.aclose()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await first.aclose()
    async with asyncio.timeout(60), scheduler.turn() as who:
        assert who is None
