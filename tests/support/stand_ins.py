"""Stand-ins for the services around the code: an API on the loopback whose answers the test gives, and a cluster's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest

from support.loading import load


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The content as JSON."""
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded


class Api(Protocol):
    """What a test stands in for: it is told where it listens, and answers with a status and a body."""

    url: str

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """Status and JSON body."""
        ...


@contextmanager
def _listening(api: Api) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _respond(self) -> None:
            parts, length = urlsplit(self.path), int(self.headers.get("content-length") or 0)
            query = parse_qs(parts.query)
            status, body = api.answer(Asked(self.command, parts.path, query, self.headers, self.rfile.read(length)))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _respond

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def listen() -> Iterator[Callable[[Api], Any]]:
    """Puts a stand-in on a port of its own until the test ends, and hands it back."""
    with ExitStack() as open_:
        yield lambda api: open_.enter_context(_listening(api))


@pytest.fixture
def fake_cluster(listen: Callable[[Api], Any]) -> Any:
    """A stand-in for a cluster's API with one InferenceService (tests/fake_cluster.py), at its ``url``."""
    return listen(load("fake_cluster.py").FakeCluster())
