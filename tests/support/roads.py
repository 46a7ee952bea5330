"""TCP roads to a server of this machine, over which each part of an answer may come late."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest


class Road:
    """A TCP road to a server, over which each part of an answer may come late."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._to = port
        self._late = 0.0
        self._quick = threading.Event()
        self._quick.set()
        road = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                road.connections += 1
                road._carry(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def slow(self, seconds: float) -> None:
        """From now on every part of an answer is so late."""
        self._late = seconds
        self._quick.clear()

    def quick(self) -> None:
        """No answer is late any more, those under way among them."""
        self._quick.set()

    def close(self) -> None:
        self.quick()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _carry(self, near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._to)) as far:
            asking = threading.Thread(target=_pump, args=(near, far, lambda: None), daemon=True)
            asking.start()
            _pump(far, near, lambda: self._quick.wait(self._late))
            asking.join()


def _pump(source: socket.socket, target: socket.socket, before: Callable[[], object]) -> None:
    """Pass bytes on until either side has left."""
    with suppress(OSError):
        while part := source.recv(65_536):
            before()
            target.sendall(part)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def road(redis: Any) -> Iterator[Road]:
    """A road to the Redis that a test may make slow."""
    opened = Road(redis.port)
    yield opened
    opened.close()


@pytest.fixture
def road_to() -> Iterator[Callable[[int], Road]]:
    """Builds a road to a port of this machine; closed when the test ends."""
    with ExitStack() as open_:

        def build(port: int) -> Road:
            road = Road(port)
            open_.callback(road.close)
            return road

        yield build
