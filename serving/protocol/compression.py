"""Reads compressed request bodies (``Content-Encoding``), never past the limit of a body."""

from __future__ import annotations

import zlib

from fairtag.base.errors import RequestError

SPOKEN = "gzip, deflate"
MEMBERS = 16  # of a gzip body: each costs a new decompressor, and clients send one
_ANY_HEADER = zlib.MAX_WBITS | 32  # of gzip or zlib


def decompress(body: bytes, encoding: str, most: int) -> bytes:
    """A body without its encoding.

    Args:
        body: As it was sent.
        encoding: The ``Content-Encoding`` header.
        most: Most bytes of the result.

    Raises:
        RequestError: Status 415 for an encoding that is not spoken, 413 where the result is too large, 400 where the
            bytes are not what the encoding says.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise RequestError("content-encoding", encoding, f"it must be one of {SPOKEN}", status=415)
    parts: list[bytes] = []
    rest = body
    for _ in range(MEMBERS):
        part, rest = _member(rest, name, most - sum(map(len, parts)))
        parts.append(part)
        if not rest:
            return b"".join(parts)
    raise RequestError("content-encoding", encoding, f"the body may have {MEMBERS} compressed parts")


def _member(compressed: bytes, name: str, most: int) -> tuple[bytes, bytes]:
    """One compressed part, and what follows it."""
    reader = zlib.decompressobj(_ANY_HEADER)
    try:
        part = reader.decompress(compressed, most + 1)
    except zlib.error:
        raise RequestError("body", "(not shown)", f"its bytes must be {name}, as content-encoding says") from None
    if len(part) > most:
        raise RequestError("body", "too large", f"it may have {most} bytes after decompression", status=413)
    if not reader.eof:
        raise RequestError("body", "incomplete", f"its bytes must be {name}, as content-encoding says")
    return part, reader.unused_data
