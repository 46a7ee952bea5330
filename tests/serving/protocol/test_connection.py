"""An answer leaves in one piece, whole and in order, and none waits for what never comes."""

from __future__ import annotations

import asyncio
from typing import Any

from serving.protocol.connection import HeadBufferingTransport


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

    def is_closing(self) -> bool:
        return self.closed


def joined() -> tuple[Wire, Any]:
    wire = Wire()
    return wire, HeadBufferingTransport(wire)  # type: ignore[arg-type]


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
