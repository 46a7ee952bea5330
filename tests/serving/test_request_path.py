"""How far a search request travels: the frames, the modules, and the rooms it comes back to, counted as it runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import httpx
import pytest
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).parents[2]
ASIDE = ("serving/tracing.py", "serving/metrics.py")  # they time and count every step, and are on no path
PAGE = "serving/page/"


class Call(NamedTuple):
    """A function of ours that began: its module, and the modules on the stack, its own last."""

    module: str
    stack: tuple[str, ...]


class Trace:
    """Notes the calls of ``serving`` while it is on; a coroutine that goes on is no new call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.on = False
        self._frames: dict[int, FrameType] = {}

    def profile(self, below: tuple[str, ...] = ()) -> Callable[[FrameType, str, Any], None]:
        """For ``sys.setprofile``, in a thread whose work was handed over by a stack."""

        def note(frame: FrameType, event: str, _argument: Any) -> None:
            if event != "call" or not self.on or id(frame) in self._frames:
                return
            module = module_of(frame)
            if module is not None:
                self._frames[id(frame)] = frame  # held, so that no other frame takes its id
                self.calls.append(Call(module, below + stack(frame)))

        return note


class TracedPool(ThreadPoolExecutor):
    """A thread whose calls count as called by whoever gave it the work."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(1)
        self._trace = trace

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Any:
        below = stack(sys._getframe())

        def traced() -> Any:
            sys.setprofile(self._trace.profile(below))
            try:
                return work(*arguments, **named)
            finally:
                sys.setprofile(None)

        return super().submit(traced)


def module_of(frame: FrameType) -> str | None:
    code = frame.f_code
    if not code.co_filename.startswith(f"{ROOT}/serving/") or code.co_name.startswith("<"):
        return None
    return str(Path(code.co_filename).relative_to(ROOT))


def stack(frame: FrameType | None) -> tuple[str, ...]:
    found = []
    while frame is not None:
        if (module := module_of(frame)) is not None:
            found.append(module)
        frame = frame.f_back
    return tuple(reversed(found))


def returns(calls: list[Call]) -> list[str]:
    """Modules of ``serving/page`` that the request enters again after it had left them for another.

    A module that calls no other one of ours is a tool, not a room.
    """
    path = [call for call in calls if call.module not in ASIDE]
    rooms = {caller for call in path for caller in call.stack[-2:-1] if caller != call.module}
    entered, again = [], []
    for call in path:
        if call.module.startswith(PAGE) and call.module in rooms and entered[-1:] != [call.module]:
            if call.module in entered:
                again.append(call.module)
            entered.append(call.module)
    return again


@pytest.fixture
def search(settings: Callable[..., Any], handmade: Any) -> Callable[..., list[Call]]:
    """The calls of one search by a guest or a known customer, from the guard to the log, once all is warm."""

    def run(**who: str) -> list[Call]:
        from serving.assembly import Assembly
        from serving.metrics import Metrics
        from serving.protocol.predictor import PricingPredictor
        from serving.server import PricingServer

        made = settings(grpc_port=-1)
        assembly = Assembly(
            made,
            Metrics(CollectorRegistry()),
            load_core=lambda _settings: handmade.HandMadeCore(),
            open_reader=lambda _repo: handmade.MemoryReader(users={"hunter": handmade.HUNTER}),
        )
        trace = Trace()
        assembly.endpoint._executor = TracedPool(trace)
        assembly.endpoint.served.batcher._executor = TracedPool(trace)
        server = PricingServer(assembly)
        predictor = PricingPredictor("fairtag", made.limits, server.admission, lambda: assembly.endpoint)
        predictor.load()
        server.register_model(predictor)
        application = server.guarded()

        async def ask(query: str) -> None:
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                body = {"instances": [{"query": query, "jurisdiction": "DE", **who}]}
                answer = await client.post("/v1/models/fairtag:predict", json=body)
            assert answer.status_code == 200
            await asyncio.sleep(0.05)  # the log and the counters come after the answer

        async def main() -> None:
            await ask("warm up")
            trace.on = True
            sys.setprofile(trace.profile())
            try:
                await ask("cordless drill")
            finally:
                sys.setprofile(None)
                trace.on = False
            await assembly.close()

        asyncio.run(main())
        return trace.calls

    return run


@pytest.mark.parametrize("who", [{}, {"user_id": "hunter"}], ids=["guest", "customer"])
def test_a_search_request_travels_forward_through_few_rooms(
    search: Callable[..., list[Call]], who: dict[str, str]
) -> None:
    calls = search(**who)
    modules = {call.module for call in calls} - set(ASIDE)
    assert {"serving/protocol/guard.py", "serving/page/page_answer.py", "serving/stores/quote_log.py"} <= modules
    assert len(modules) <= 20, sorted(modules)
    deepest = max((call.stack for call in calls), key=len)
    assert len(deepest) <= 13, deepest
    assert len(returns(calls)) <= 2, returns(calls)
