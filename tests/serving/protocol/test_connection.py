"""What a client may send and how long it may take; an answer leaves in one piece, whole and in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.protocol.connection import HeadBufferingTransport
from serving.settings import Limits


class Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed


def joined() -> tuple[Wire, Any]:
    wire = Wire()
    return wire, HeadBufferingTransport(wire, 1.0)  # type: ignore[arg-type]


def test_head_and_body_of_a_turn_leave_together() -> None:
    async def answer() -> list[bytes]:
        wire, transport = joined()
        for page in (b"1", b"2"):
            transport.write(b"head " + page)
            transport.write(b" body " + page)
            await asyncio.sleep(0)
        return wire.sent

    assert asyncio.run(answer()) == [b"head 1 body 1", b"head 2 body 2"]


def test_a_head_alone_leaves_at_the_end_of_the_turn_and_all_comes_in_order() -> None:
    async def answer() -> list[bytes]:
        wire, transport = joined()
        transport.write(b"100 Continue ")
        await asyncio.sleep(0)
        assert wire.sent == [b"100 Continue "]
        for part in (b"head ", b"body ", b"next head "):
            transport.write(part)
        await asyncio.sleep(0)
        return wire.sent

    assert b"".join(asyncio.run(answer())) == b"100 Continue head body next head "


def test_what_is_held_is_sent_before_the_connection_closes() -> None:
    async def answer() -> Wire:
        wire, transport = joined()
        transport.write(b"400 Bad Request")
        assert not transport.is_closing()
        transport.close()
        await asyncio.sleep(0)
        return wire

    wire = asyncio.run(answer())
    assert wire.sent == [b"400 Bad Request"]
    assert wire.closed


V1 = "/v1/models/fairtag:predict"
PAGE = '{"instances": [{"query": "drill", "page_size": 1}]}'
BAD_HEADS = {
    "one header without end": (b"x-a: " + b"a" * 200_000, 431),
    "one header name without end": (b"a" * 200_000, 431),
    "a path without end": (b"", 414),
    "a hundred and one headers": (b"".join(b"x-%d: y\r\n" % n for n in range(101)) + b"\r\n", 431),
    "many small headers": (b"".join(b"x-%06d: y\r\n" % n for n in range(20_000)), 431),
    "the least too much": (b"x-a: " + b"a" * 65_536 + b"\r\n\r\n", 431),
    "a control character in a value": (b"x-a: a\x01b\r\n\r\n", 400),
    "a NUL in a name": (b"x\x00a: b\r\n\r\n", 400),
    "bytes above ASCII in a name": ("xä: b\r\n\r\n".encode(), 400),
    "a folded header": (b"x-a: a\r\n b\r\n\r\n", 400),
    "a space before the colon": (b"x-a : b\r\n\r\n", 400),
}


@pytest.mark.parametrize("kind", BAD_HEADS)
def test_a_head_beyond_the_limits_is_refused_before_any_work(
    serve: Callable[..., Any], raw: Any, refused: Callable[..., Any], kind: str
) -> None:
    rest, status = BAD_HEADS[kind]
    path = b"/" + b"p" * 200_000 if status == 414 else V1.encode()
    with serve() as running:
        with raw.connect(running.http) as opened:
            with contextlib.suppress(OSError):  # the server need not read all of it
                opened.sendall(b"POST " + path + b" HTTP/1.1\r\nhost: x\r\n" + rest)
            told = raw.read_all(opened)
        assert raw.statuses(told) == [status], told[:200]
        assert {"error", "field", "rule"} <= json.loads(told.partition(b"\r\n\r\n")[2]).keys()
        assert refused(running) == {("rest", str(status)): 1}
        assert running.page()["items"], "others are served"


def test_a_head_just_within_the_limits_is_served(serve: Callable[..., Any], raw: Any) -> None:
    fields = [f"x-{number}: {'a' * 640}" for number in range(90)]  # 59 KB
    with serve() as running, raw.connect(running.http) as opened:
        opened.sendall(raw.post(V1, PAGE, *fields, "x-latin: caf\xe9", "connection: close"))
        assert raw.statuses(raw.read_all(opened)) == [200]


@pytest.mark.parametrize("part", ["trailer", "extension"])
def test_what_has_no_end_after_the_head_is_refused_too(serve: Callable[..., Any], raw: Any, part: str) -> None:
    head = f"POST {V1} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    endless = {"trailer": b"1\r\n{\r\n0\r\nx-t: ", "extension": b"1;name="}[part] + b"a" * 500_000
    with serve() as running, raw.connect(running.http) as opened:
        with contextlib.suppress(OSError):
            opened.sendall(head + endless)
        assert raw.statuses(raw.read_all(opened))[0] in (400, 431)


def test_a_trailer_is_no_header(serve: Callable[..., Any], raw: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("right-key\n")
    sent = f"POST {V1} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    sent += f"{len(PAGE):x}\r\n{PAGE}\r\n0\r\nauthorization: Bearer right-key\r\n\r\n"
    with serve(api_keys_file=tmp_path / "keys") as running, raw.connect(running.http) as opened:
        opened.sendall(sent.encode())
        assert raw.statuses(raw.read_all(opened)) == [401]


def test_a_body_that_breaks_off_its_encoding_is_answered_once(
    serve: Callable[..., Any], raw: Any, refused: Callable[..., Any]
) -> None:
    with serve() as running, raw.connect(running.http) as opened:
        opened.sendall(f"POST {V1} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".encode())
        assert raw.statuses(raw.read_all(opened)) == [400]
        assert refused(running) == {("rest", "400"): 1}


def test_pipelined_requests_are_answered_in_order_and_the_fault_after_them(serve: Callable[..., Any], raw: Any) -> None:
    probe = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with serve() as running, raw.connect(running.http) as opened:
        opened.sendall(probe * 400 + raw.post(V1, PAGE) + probe + b"nonsense\r\n\r\n")
        assert raw.statuses(raw.read_all(opened)) == [200] * 402 + [400]


@pytest.mark.parametrize("offer", ["upgrade: h2c", "upgrade: websocket", "upgrade: TLS/1.0, HTTP/2.0"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_to_upgrade_is_ignored_and_the_body_read(
    serve: Callable[..., Any], raw: Any, offer: str, chunked: bool
) -> None:
    extra = [offer, "connection: keep-alive, Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAAQAAP__"]
    sent = raw.post(V1, PAGE, *extra)
    if chunked:
        framed = f"{len(PAGE):x}\r\n{PAGE}\r\n0\r\n\r\n"
        sent = sent.replace(f"content-length: {len(PAGE)}".encode(), b"transfer-encoding: chunked")
        sent = sent[: -len(PAGE)] + framed.encode()
    with serve() as running, raw.connect(running.http) as opened:
        for piece in (sent[:100], sent[100:], sent + raw.post(V1, PAGE, "connection: close")):
            opened.sendall(piece)
            time.sleep(0.05)
        told = raw.read_all(opened)
    assert raw.statuses(told) == [200, 200, 200]
    assert told.count(b'"predictions"') == 3


def test_this_is_no_proxy(serve: Callable[..., Any], raw: Any) -> None:
    with serve() as running, raw.connect(running.http) as opened:
        opened.sendall(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert raw.statuses(raw.read_all(opened)) == [405]


def test_a_packet_of_many_small_requests_does_not_become_as_many_objects(serve: Callable[..., Any], raw: Any) -> None:
    """65,000 bytes of requests behind one that waits: only a piece of them is parsed before it is answered."""
    door = threading.Event()
    with serve() as running, raw.connect(running.http) as opened:
        running.core.search, usual = (
            lambda *asked, **named: (door.wait(30), usual(*asked, **named))[1],
            running.core.search,
        )
        opened.sendall(raw.post(V1, PAGE) + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000)
        time.sleep(0.5)
        (connection,) = running.connections()
        waiting = len(connection.pipeline)
        door.set()
        told = b""
        while told.count(b"HTTP/1.1 200") < 2_001:
            told += opened.recv(65_536)
    assert 0 < waiting < 200


def test_a_client_may_hold_its_share_of_the_connections_and_no_more(
    serve: Callable[..., Any], raw: Any, refused: Callable[..., Any]
) -> None:
    with serve(limits=Limits(connections=16)) as running, contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(raw.connect(running.http, timeout=0.5)) for _ in range(15)]
        told = [raw.read_all(opened) for opened in greedy]
        assert [raw.statuses(each) for each in told] == [[]] * 14 + [[503]], "seven eighths for one that is alone"
        with raw.connect(running.http, host="127.0.0.2") as newcomer:
            newcomer.sendall(raw.post(V1, PAGE, "connection: close"))
            assert raw.statuses(raw.read_all(newcomer)) == [200]
        assert refused(running) == {("rest", "503"): 1}


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_client_that_does_not_read_holds_no_place_and_is_cut_off(
    serve: Callable[..., Any], raw: Any, until: Callable[..., None], pipelined: bool
) -> None:
    ask = raw.post(V1, json.dumps({"instances": [{"query": "drill", "page_size": 60}] * 16}))
    sent = (b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 40 + ask) if pipelined else ask
    with serve(limits=Limits(concurrency=8, write_seconds=1.0)) as running, contextlib.ExitStack() as stack:
        for _ in range(12):
            opened = stack.enter_context(raw.connect(running.http, buffer=2_048))
            opened.sendall(sent * 60)
        until(lambda: len(running.connections()) == 12)
        time.sleep(0.5)
        with raw.connect(running.http, host="127.0.0.2") as opened:
            opened.sendall(raw.post(V1, PAGE, "connection: close"))
            assert raw.statuses(raw.read_all(opened)) == [200], "somebody who reads is served meanwhile"
        until(lambda: not [one for one in running.connections() if one.flow.write_paused], 30)
        until(lambda: running.server.admission.in_flight == 0)


def test_work_stops_when_its_client_has_left(
    serve: Callable[..., Any], raw: Any, until: Callable[..., None], refused: Callable[..., Any]
) -> None:
    with serve(core=None, threads=1) as running:
        running.core.slow = 0.2
        bodies = json.dumps({"instances": [{"query": f"drill {number}"} for number in range(16)]})
        with raw.connect(running.http) as opened:
            opened.sendall(raw.post(V1, bodies))
            until(lambda: running.server.admission.in_flight == 1)
        until(lambda: running.server.admission.in_flight == 0, 1.0)
        assert refused(running) == {("rest", "499"): 1}
        started = time.monotonic()
        running.core.slow = 0.0
        assert running.page()["items"]
        assert time.monotonic() - started < 1.0, "the pages that were still to be priced are not"


def test_in_flight_is_what_is_in_flight(serve: Callable[..., Any], until: Callable[..., None]) -> None:
    def gauges(running: Any) -> list[float]:
        metrics = running.assembly.metrics
        return [next(iter(gauge.collect())).samples[0].value for gauge in (metrics.in_flight, metrics.items_in_flight)]

    with serve() as running, ThreadPoolExecutor(1) as pool:
        assert gauges(running) == [0, 0]
        door = threading.Event()
        running.core.search, usual = (
            lambda *asked, **named: (door.wait(30), usual(*asked, **named))[1],
            running.core.search,
        )
        page = pool.submit(running.page, query="drill", page_size=7)
        until(lambda: gauges(running) == [1, 7])
        door.set()
        page.result()
        until(lambda: gauges(running) == [0, 0])
