"""A load generator in its own process: it keeps a number of HTTP requests in flight and times each.

``run_load(LoadSpec(url, bodies, concurrency=32, seconds=4.0))`` starts ``python -m benchmarks.serving.load`` and reads
its one JSON line. The generator speaks only as much HTTP/1.1 over asyncio streams as it needs, so that on shared cores
it takes little time from the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class LoadSpec:
    """What to send.

    Args:
        url: Where requests are posted.
        bodies: JSON bodies, sent in turn; none is sent twice before all were sent.
        concurrency: Requests in flight.
        seconds: How long the load is measured.
        warm_seconds: How long it runs before that.
        first: Index of the first body, so that repeated runs send new ones.
    """

    url: str
    bodies: Sequence[str]
    concurrency: int
    seconds: float
    warm_seconds: float = 1.0
    first: int = 0


@dataclass(frozen=True)
class LoadResult:
    """Response times in milliseconds, answers a second, all answers, and those whose status was not 200."""

    p50: float
    p99: float
    throughput: float
    requests: int
    failed: int


def run_load(spec: LoadSpec) -> LoadResult:
    """Run the generator in its own process and wait for it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.json"
        file.write_text(json.dumps(asdict(spec)), encoding="utf-8")
        line = [sys.executable, "-m", "benchmarks.serving.load", str(file)]
        done = subprocess.run(line, check=True, capture_output=True, text=True)  # noqa: S603 - our own module
    return LoadResult(**json.loads(done.stdout))


async def _client(
    spec: LoadSpec, bodies: itertools.count[int], begin: float, end: float, times: list[float], failed: list[int]
) -> None:
    parts = urlsplit(spec.url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
    while (started := time.perf_counter()) < end:
        body = spec.bodies[next(bodies) % len(spec.bodies)].encode()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status = await _answer(reader)
        if started >= begin:
            times.append(time.perf_counter() - started)
            if status != 200:
                failed.append(status)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(lower[at + 15 : lower.index(b"\r\n", at)]))
    else:  # chunked
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    return int(head[9:12])


async def _run(spec: LoadSpec) -> LoadResult:
    times: list[float] = []
    failed: list[int] = []
    begin = time.perf_counter() + spec.warm_seconds
    end = begin + spec.seconds
    bodies = itertools.count(spec.first)
    await asyncio.gather(*(_client(spec, bodies, begin, end, times, failed) for _ in range(spec.concurrency)))
    p50, p99 = np.percentile(times, [50, 99]) * 1_000
    return LoadResult(float(p50), float(p99), len(times) / spec.seconds, len(times), len(failed))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_run(LoadSpec(**json.loads(Path(sys.argv[1]).read_text())))))))
