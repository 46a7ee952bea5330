"""From ``git clone`` to the first priced query of a small shop: clone, run, serve, quote, as the tutorial has it.

Installation is left out: it is the packages' time, and the same for every shop. The clone runs with the packages of
the process that measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from benchmarks.result import Result, Row
from benchmarks.serving.servers import OURS, end, free_port
from serving.protocol.client import RestClient

CHECKOUT = Path(__file__).resolve().parents[2]
KINDS = ("mug", "plate", "tea pot", "apron")
MATERIALS = ("stoneware", "linen", "oak", "steel", "glass")
COLOURS = ("blue", "green")
READY_SECONDS = 300.0


def run() -> Result:
    """A shop of 40 items and 100 orders, then one of 10 items alone."""
    rows = [*_measured("small", 40, 100), *_measured("tiny", 10, 0)]
    notes = (
        "Seconds of the clock on two cores, with other work on the machine; processor seconds are those of the run's "
        "own processes. Both shops are served at list price, and their pages say what comes next.",
    )
    return Result(tuple(rows), notes)


def _measured(name: str, items: int, orders: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        clone, shop = Path(scratch) / "fairtag", Path(scratch) / "shop"
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(clone)], check=True)  # noqa: S603, S607 - git of the path
        cloned = time.monotonic()
        write_shop(shop, items, orders)
        used = os.times()
        _fairtag(clone, "run", "--dataset", "csv", "--data", str(shop), "--max-steps", "0", "--out", "runs/first")
        ran, after = time.monotonic(), os.times()
        priced, at_list = _first_query(clone)
        ended = time.monotonic()
        page = (clone / "runs" / "first" / "page.html").read_text(encoding="utf-8")
    return [
        Row(f"{name}_items", items, unit="items"),
        Row(f"{name}_orders", orders, unit="orders"),
        Row(f"{name}_clone_seconds", cloned - began, unit="s"),
        Row(f"{name}_run_seconds", ran - cloned, unit="s"),
        Row(
            f"{name}_run_cpu_seconds",
            after.children_user + after.children_system - used.children_user - used.children_system,
            unit="s of processor",
        ),
        Row(f"{name}_query_seconds", ended - ran, unit="s"),
        Row(f"{name}_total_seconds", ended - began, unit="s", reference=180.0),
        Row(f"{name}_priced", priced, unit="items of the page"),
        Row(f"{name}_at_list", at_list, unit="of them at list price"),
        Row(f"{name}_says_what_is_next", float("what comes next" in page), unit="1: yes"),
    ]


def _fairtag(clone: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        _line(*arguments), cwd=clone, env=_environment(clone), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"fairtag {' '.join(arguments)}: {done.stderr.strip()[-500:]}")


def _line(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def _environment(clone: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(clone)}


def _first_query(clone: Path) -> tuple[int, int]:
    """Serve the run and ask once; items on the page, and those at list price."""
    port = free_port()
    serve = _line("serve", "runs/first", "--port", str(port), "--grpc-port", "-1")
    address = f"http://127.0.0.1:{port}"
    endpoint = subprocess.Popen(  # noqa: S603 - our own command
        serve, cwd=clone, env=_environment(clone), stdout=subprocess.DEVNULL
    )
    try:
        with RestClient(address, OURS) as client:
            late = time.monotonic() + READY_SECONDS
            while not client.ready():
                if endpoint.poll() is not None or time.monotonic() > late:
                    raise RuntimeError("the endpoint did not become ready")
                time.sleep(0.1)
        line = _line("quote", "blue stoneware mug", "--jurisdiction", "DE", "--url", address, "--json")
        done = subprocess.run(  # noqa: S603 - our own command
            line, cwd=clone, env=_environment(clone), capture_output=True, text=True, check=True
        )
    finally:
        end(endpoint)
    items = json.loads(done.stdout)["items"]
    return len(items), sum(item["price_minor"] == item["list_price_minor"] for item in items)


def write_shop(folder: Path, items: int, orders: int) -> None:
    """The files of a shop with few items, and orders of a few customers over ten weeks where there are any."""
    folder.mkdir()
    names = [f"{colour} {material} {kind}" for kind, material, colour in product(KINDS, MATERIALS, COLOURS)][:items]
    lines = [f"K{at:02},{name},{9 + at % 13}.90" for at, name in enumerate(names)]
    (folder / "items.csv").write_text("\n".join(["item_id,title,list_price", *lines]) + "\n", encoding="utf-8")
    (folder / "metadata.json").write_text('{"currency": "EUR"}', encoding="utf-8")
    if not orders:
        return
    rows = ["order_id,item_id,ts,user_id,quantity,price"]
    for at in range(orders):
        item = (at * 7) % items
        day = f"2026-{1 + at * 10 // orders // 4:02}-{1 + at * 70 // orders % 28:02}"
        rows.append(f"O{at:03},K{item:02},{day}T{8 + at % 12:02}:00:00Z,customer-{at % 17},1,{9 + item % 13}.90")
    (folder / "orders.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
