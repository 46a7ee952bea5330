"""What is handed over arrives once and in order, whether its reader sleeps, works or has been told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from serving.stores.mailbox import Mailbox


def test_what_waits_comes_in_its_order_and_so_many_at_a_time() -> None:
    box: Mailbox[int] = Mailbox(10)
    assert all(box.put(number) for number in range(5))
    assert len(box) == 5
    assert box.take(3, 0.0) == [0, 1, 2]
    assert box.take(3, 0.0) == [3, 4]
    assert box.take(3, 0.0) == []


def test_a_full_box_refuses_and_has_room_again_once_it_is_read() -> None:
    box: Mailbox[int] = Mailbox(2)
    assert [box.put(number) for number in range(3)] == [True, True, False]
    assert box.take(1, 0.0) == [0]
    assert box.put(3)
    assert box.take(9, 0.0) == [1, 3]


def test_a_sleeping_reader_is_woken_and_one_at_work_is_left_alone() -> None:
    box: Mailbox[int] = Mailbox(10, pause=1.0)
    threading.Timer(0.05, box.put, (1,)).start()
    assert box.take(9, 60.0) == [1]  # woken: a minute has not passed
    box.put(2)
    threading.Timer(0.05, box.put, (3,)).start()
    assert box.take(9, 60.0) == [2, 3]  # it looked in once, when both were there


def test_nothing_comes_within_the_time() -> None:
    box: Mailbox[int] = Mailbox(10)
    started = time.monotonic()
    assert box.take(9, 0.05) == []
    assert time.monotonic() - started >= 0.04


def test_a_closed_box_is_emptied_without_waiting() -> None:
    box: Mailbox[int] = Mailbox(10)
    threading.Timer(0.05, box.close).start()
    assert box.take(9, None) == []
    box.put(1)
    assert box.take(9, None) == [1]
    assert box.take(9, None) == []


def test_nothing_is_lost_between_two_threads(until: Callable[..., None]) -> None:
    box: Mailbox[int] = Mailbox(100, pause=0.0005)
    read: list[int] = []

    def body() -> None:
        while not read or read[-1] != 9_999:
            read.extend(box.take(7, 0.001))

    reader = threading.Thread(target=body)
    reader.start()
    for number in range(10_000):
        while not box.put(number):
            time.sleep(0.0005)
    until(lambda: not reader.is_alive())
    assert read == list(range(10_000))
