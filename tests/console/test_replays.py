"""The pages of previews: read once, kept apart by period, and read again behind the visitor's back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from console.replays import FRESH_SECONDS, KEPT, Replays
from fairtag.base.errors import UnavailableError

MODEL: Any = SimpleNamespace(version="m1")


class Reader:
    """Stands in for the log: counts how often it is read, and may be told to fail or to wait."""

    def __init__(self) -> None:
        self.read: list[Any] = []
        self.fails = False
        self.waits: threading.Event | None = None
        self.began = threading.Event()

    def __call__(self, model: Any, days: float | None) -> Any:
        gate = self.waits
        self.began.set()
        if gate is not None:
            assert gate.wait(30)
        if self.fails:
            raise UnavailableError("the log does not answer")
        self.read.append(days)
        return SimpleNamespace(model=model, number=len(self.read))


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def replays(reader: Reader, now: list[float]) -> Replays:
    return Replays(reader, clock=lambda: now[0])


def until(replays: Replays, number: int) -> None:
    """Wait for pages that were read again."""
    for _ in range(3_000):
        if replays.get(MODEL, 7.0).number == number:
            return
        threading.Event().wait(0.01)
    pytest.fail("they were not read again")


def test_pages_are_read_once_and_again_for_another_model(replays, reader):
    assert not replays.ready(MODEL, None)
    assert replays.get(MODEL, None) is replays.get(MODEL, None)
    assert replays.ready(MODEL, None)
    replays.get(SimpleNamespace(version="m2"), None)
    assert len(reader.read) == 2


def test_old_quotes_are_read_again_while_previews_go_on_with_those_that_are_there(replays, reader, now):
    first = replays.get(MODEL, 7.0)
    now[0] = FRESH_SECONDS + 1
    reader.waits = threading.Event()
    assert replays.get(MODEL, 7.0) is first, "nobody waits for the log"
    assert replays.get(MODEL, 7.0) is first, "nor is it read twice"
    reader.waits.set()
    until(replays, 2)
    assert reader.read == [7.0, 7.0]


def test_the_hold_out_does_not_age(replays, reader, now):
    first = replays.get(MODEL, None)
    now[0] = 100 * FRESH_SECONDS
    assert replays.get(MODEL, None) is first


def test_a_log_that_cannot_be_read_again_leaves_what_was_read_and_is_tried_again(replays, reader, now):
    first = replays.get(MODEL, 7.0)
    now[0], reader.fails = FRESH_SECONDS + 1, True
    assert replays.get(MODEL, 7.0) is first
    for _ in range(3_000):
        reader.fails = False
        if replays.get(MODEL, 7.0) is not first:
            return
        threading.Event().wait(0.01)
    pytest.fail("it was not tried again")


def test_an_error_of_the_first_reading_is_told(replays, reader):
    reader.fails = True
    with pytest.raises(UnavailableError):
        replays.get(MODEL, 7.0)
    assert not replays.ready(MODEL, 7.0)


def test_one_period_being_read_does_not_hold_up_another(replays, reader):
    reader.waits = threading.Event()
    slow = threading.Thread(target=replays.get, args=(MODEL, 7.0))
    slow.start()
    assert reader.began.wait(30)
    gate, reader.waits = reader.waits, None
    assert replays.get(MODEL, None).model is MODEL
    gate.set()
    slow.join(30)
    assert not slow.is_alive()


def test_few_periods_are_kept_and_the_hold_out_always(replays):
    replays.get(MODEL, None)
    for days in range(1, KEPT + 3):
        replays.get(MODEL, float(days))
    assert replays.ready(MODEL, None)
    assert not replays.ready(MODEL, 1.0)
    assert replays.ready(MODEL, float(KEPT + 2))
