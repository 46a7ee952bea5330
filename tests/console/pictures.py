"""The pictures of docs/console.md: every page of a console over a run, at two widths, light and dark.

fairtag console runs/demo --port 8090
python tests/console/pictures.py http://127.0.0.1:8090 docs/console

Of a run's folder it takes the pictures of its results page and its report instead:

python tests/console/pictures.py runs/demo docs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from chromium import browser
from PIL import Image

WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}
COLOURS = 96  # of a palette: a third of the size, and no difference to see


def paths(tab: Any, address: str) -> dict[str, str]:
    """The address of each picture's page: with a search, two customers and an item that show something."""
    tab.visit(f"{address}/prices?only=below")
    item = tab.evaluate("document.querySelector('tbody a').href.split('item=')[1]")
    tab.visit(f"{address}/compare?q=drill")
    customer = tab.evaluate("document.querySelector('#cb').value")
    return {
        "storefront": "/?q=drill",
        "compare": "/compare?q=drill",
        "why": f"/why?item={item}&user={customer}&place=US-NY",
        "prices": "/prices?only=below",
        "price-of-an-item": f"/prices/item?item={item}",
        "policy": "/policy",
        "models": "/models",
        "experiments": "/experiments",
        "operations": "/operations",
        "fairness": "/fairness",
    }


def prepare(tab: Any, name: str) -> None:
    """What somebody would do before there is something to see."""
    if name == "policy":
        tab.evaluate(
            "(() => { const slider = document.getElementById('s-discount'); slider.value = 10;"
            "slider.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        tab.until("document.getElementById('preview').textContent.includes('prices change')")
    if name == "models":
        tab.until("!document.querySelector('[data-load]')")
    tab.evaluate("window.scrollTo(0, 0); document.activeElement?.blur()")


def of_the_run(tab: Any, run: Path, folder: Path) -> None:
    """The run's own pages, which need no console."""
    for name, page, size in (
        ("results-page", "page.html", (1000, 900)),
        ("monitoring-desktop", "reports/report.html", (1100, 1250)),
        ("monitoring-phone", "reports/report.html", (390, 1250)),
    ):
        for scheme in ("light", "dark"):
            tab.size(*size, scheme)
            tab.visit((run / page).absolute().as_uri())
            tab.evaluate("window.scrollTo(0, 0)")
            keep(tab, folder / f"{name}-{scheme}.png")


def keep(tab: Any, file: Path) -> None:
    """Write what is seen, in few colours."""
    tab.picture(file)
    Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(file, file.stat().st_size // 1000, "kB")


def main() -> None:
    address, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, browser(Path(profile)) as tab:
        if not address.startswith("http"):
            of_the_run(tab, Path(address), folder)
            return
        for name, path in paths(tab, address).items():
            for width, size in WIDTHS.items():
                for scheme in ("light", "dark"):
                    tab.size(*size, scheme)
                    tab.visit(address + path)
                    prepare(tab, name)
                    keep(tab, folder / f"{name}-{width}-{scheme}.png")


if __name__ == "__main__":
    main()
