"""A small S3 server that lets each access key do what SeaweedFS' configuration of identities says, and no more.

It holds objects in memory, and answers what s3fs asks of it. Its rules are those of SeaweedFS: ``Read`` for GET and
HEAD of an object and HEAD of a bucket, ``Write`` for PUT, POST and DELETE of an object, ``List`` for GET of a bucket,
``Admin`` for making a bucket; an action may end in ``:bucket``, and then holds there alone. Signatures are not checked:
the keys are.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY = re.compile(r"Credential=([^/]+)/")
BUCKETS = (
    "fairtag",
    "fairtag-quotes",
    "fairtag-outcomes",
    "fairtag-tables",
    "fairtag-audit",
    "fairtag-data",
    "fairtag-policy",
)


def may(identity: Mapping[str, Any], action: str, bucket: str) -> bool:
    """SeaweedFS' rule: ``Admin`` may all, an action alone holds everywhere, ``action:bucket`` in that bucket."""
    return bool({"Admin", action, f"{action}:{bucket}"} & set(identity["actions"]))


class S3:
    """The objects and identities of one server.

    Args:
        identities: The document that k8s/secrets.sh writes.
    """

    def __init__(self, identities: Mapping[str, Any]) -> None:
        self.identities = {each["credentials"][0]["accessKey"]: each for each in identities["identities"]}
        self.objects: dict[str, dict[str, bytes]] = {bucket: {} for bucket in BUCKETS}
        self.refused: list[tuple[str, str, str]] = []

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of one request."""
        split = urlsplit(path)
        bucket, _, key = unquote(split.path.lstrip("/")).partition("/")
        match = KEY.search(headers.get("authorization", ""))
        identity = self.identities.get(match.group(1)) if match else None
        action = self._action(method, bucket, key)
        if identity is None or not may(identity, action, bucket):
            self.refused.append((identity["name"] if identity else "nobody", action, bucket))
            return 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
        if bucket not in self.objects:
            return 404, b"<Error><Code>NoSuchBucket</Code></Error>"
        if not key:
            return 200, self._listing(bucket, parse_qs(split.query)) if method == "GET" else b""
        return self._object(method, bucket, key, body)

    def _action(self, method: str, bucket: str, key: str) -> str:
        if not key:
            return {"GET": "List", "HEAD": "Read"}.get(method, "Admin") if bucket else "List"
        return "Read" if method in ("GET", "HEAD") else "Write"

    def _object(self, method: str, bucket: str, key: str, body: bytes) -> tuple[int, bytes]:
        held = self.objects[bucket]
        if method == "PUT":
            held[key] = body
            return 200, b""
        if method == "DELETE":
            held.pop(key, None)
            return 204, b""
        if key not in held:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, held[key]

    def _listing(self, bucket: str, query: Mapping[str, list[str]]) -> bytes:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        files, folders = {}, set()
        for key, content in self.objects[bucket].items():
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                files[key] = len(content)
        parts = [
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>1</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            for key, size in sorted(files.items())
        ]
        parts += [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders)]
        head = f"<Name>{bucket}</Name><KeyCount>{len(parts)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f"<ListBucketResult>{head}{''.join(parts)}</ListBucketResult>".encode()


def _unchunked(headers: Mapping[str, str], body: bytes) -> bytes:
    """The content of a body in AWS' own chunks, each with its length and a signature."""
    if "aws-chunked" not in headers.get("content-encoding", ""):
        return body
    content = b""
    while body:
        head, _, body = body.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        content, body = content + body[:size], body[size + 2 :]
        if size == 0:
            break
    return content


@contextmanager
def serving(store: S3, port: int = 0) -> Iterator[str]:
    """Serve a store, on a port of its own or on one that it had before; gives its address."""

    held: set[socket.socket] = set()  # connections that clients keep open

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            held.add(self.request)
            super().setup()

        def finish(self) -> None:
            held.discard(self.request)
            with suppress(OSError):
                super().finish()

        def _reply(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = _unchunked(headers, self.rfile.read(int(headers.get("content-length", 0))))
            status, content = store.answer(self.command, self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/xml" if content.startswith(b"<") else "binary/octet-stream")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *_arguments: Any) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        for connection in list(held):  # who keeps one open finds that the server is gone
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
        thread.join(10)
