"""How long the console's pages and actions take on a run, in a real browser: the table of docs/console.md.

    python tests/console/measure.py runs/demo
    python tests/console/measure.py http://127.0.0.1:8090

Each page is opened five times, each action done three times; the figures are medians. The first visit of each page is
apart: it is the one that reads what later ones find. The run's policy is changed and changed back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from chromium import browser

PORT = 8490
TIMES = 5


@contextmanager
def console(run: str) -> Iterator[str]:
    """A console over a run, as a person starts it; or the one that runs at an address."""
    if run.startswith("http"):
        yield run
        return
    address = f"http://127.0.0.1:{PORT}"
    line = [sys.executable, "-m", "pipelines.cli", "console", run, "--port", str(PORT)]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 120
            while True:
                try:
                    if httpx.get(f"{address}/healthz").is_success:
                        break
                except httpx.HTTPError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def pages(tab: Any, address: str, item: str) -> dict[str, tuple[float, float]]:
    """First paint of each page: of its first visit, and the median of the next ones; seconds."""
    paths = {
        "Storefront": "/",
        "Storefront, a search": "/?q=drill",
        "Compare, a search": "/compare?q=drill",
        "Why this price": f"/why?item={item}",
        "Prices": "/prices",
        "Prices, one item": f"/prices/item?item={item}",
        "Policy": "/policy",
        "Models": "/models",
        "Experiments": "/experiments",
        "Operations": "/operations",
        "Fairness": "/fairness",
    }
    found = {}
    for name, path in paths.items():
        seen = []
        for _ in range(1 + TIMES):
            tab.visit(address + path)
            seen.append(tab.first_paint())
        found[name] = (seen[0], statistics.median(seen[1:]))
    return found


def actions(tab: Any, address: str, item: str) -> dict[str, float]:
    """Seconds from a click or a key until the page shows what it did; medians."""

    def timed(path: str, act: Callable[[], None], condition: str) -> float:
        taken = []
        for _ in range(3):
            tab.visit(address + path)
            tab.evaluate("document.querySelector('#notice').dataset.seen = 'yes'")
            started = time.monotonic()
            act()
            tab.until(condition)
            taken.append(time.monotonic() - started)
        return statistics.median(taken)

    def form(selector: str, **values: str) -> Callable[[], None]:
        given = json.dumps(values)
        return lambda: tab.evaluate(
            f"(() => {{ const form = document.querySelector({json.dumps(selector)});"
            f"for (const [name, value] of Object.entries({given})) form.elements.namedItem(name).value = value;"
            "form.requestSubmit(); })()"
        )

    search = "document.querySelector('#results .facts')?.textContent.includes('paint')"
    swapped = "!document.body.classList.contains('busy') && "
    return {
        "search": timed("/?q=drill", form("form.search", q="paint"), search),
        "a facet": timed(
            "/?q=drill",
            lambda: tab.click(".facet input[type=checkbox]"),
            swapped + "location.search.includes('category=')",
        ),
        "into the basket": timed(
            "/?q=drill", lambda: tab.click(".card button[name=item]"), "document.querySelector('#basket .lines li')"
        ),
        "what if": timed(
            f"/why?item={item}", form("#whatif form", discount="0"), "document.querySelector('#whatif .lead')"
        ),
        "filter the table of prices": timed(
            "/prices", form("main form", q="drill"), swapped + "location.search.includes('q=drill')"
        ),
        "order it": timed("/prices", lambda: tab.click("thead a"), swapped + "location.search.includes('sort=')"),
        "preview a policy": timed(
            "/policy",
            lambda: tab.evaluate(
                "(() => { const s = document.querySelector('#s-discount'); s.value = Number(s.value) - 5;"
                "s.dispatchEvent(new Event('input', {bubbles: true})); })()"
            ),
            "document.querySelector('#preview')?.textContent.includes('Profit')",
        ),
    }


def main() -> None:
    run = sys.argv[1]
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # the browser's last processes still write there
    with folder as profile, console(run) as address, browser(Path(profile)) as tab:
        tab.size(1280, 900)
        tab.visit(f"{address}/prices")
        item = tab.evaluate("document.querySelector('tbody a').href.split('item=')[1]")
        print(
            f"load average {os.getloadavg()[0]:.1f}\n\n| page | first visit, s | later visits, s |\n| --- | --- | --- |"
        )
        for name, (first, later) in pages(tab, address, item).items():
            print(f"| {name} | {first:.2f} | {later:.2f} |")
        print("\n| action | seconds |\n| --- | --- |")
        for name, seconds in actions(tab, address, item).items():
            print(f"| {name} | {seconds:.2f} |")
        print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
