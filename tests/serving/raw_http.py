"""Raw connections to an HTTP port, for requests that no client library would send."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit


def connect(url: str, *, host: str = "127.0.0.1", buffer: int | None = None, timeout: float = 30.0) -> socket.socket:
    """A connection to an endpoint.

    Args:
        url: Its address.
        host: Address of ours that it comes from.
        buffer: Bytes that the kernel keeps for us unread.
        timeout: Longest wait for anything, seconds.
    """
    opened = socket.socket()
    opened.settimeout(timeout)
    opened.bind((host, 0))
    if buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    where = urlsplit(url)
    opened.connect((where.hostname, where.port))
    return opened


def read_all(opened: socket.socket) -> bytes:
    """What the server sends until it closes, or until the time is up."""
    told = b""
    try:
        while part := opened.recv(65_536):
            told += part
    except OSError:
        pass
    return told


def post(path: str, body: bytes | str, *headers: str, length: int | None = None) -> bytes:
    """A POST of JSON as bytes."""
    content = body.encode() if isinstance(body, str) else body
    size = len(content) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def statuses(told: bytes) -> list[int]:
    """The statuses of all answers in what a server sent."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", told)]
