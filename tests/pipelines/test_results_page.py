"""A priced page as a person reads it: in HTML and on the screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fairtag.base.types import Reason
from fairtag.page.explanation_words import REASONS
from pipelines.cli import main
from pipelines.display import page_table
from pipelines.results_page import render

DISCLOSURE = "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
REQUEST = {"task": "search", "query": "oak <b>bookcase", "user_id": "U1", "jurisdiction": "US-NY", "opted_out": False}


def item(number: int, price: int, listed: int = 10_000, **changes: Any) -> dict[str, Any]:
    codes = ["DEMAND_HIGH_INTENT", "PRICE_ENDING"]
    one = {
        "item_id": f"i{number}",
        "title": None,
        "rank": number,
        "price_minor": price,
        "list_price_minor": listed,
        "reasons": codes,
    }
    return {**one, "currency": "USD", "personalised": price != listed, **changes}


def page(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    facts = {"currency": "USD", "model_version": "m1", "quote_id": "q1", "quote": "signed", "degraded": None}
    return {**facts, "expires_at": "2026-11-29T15:34:00Z", "disclosure": DISCLOSURE, "items": list(items), **changes}


TITLE = 'Oak <script>alert("x")</script> [bold]bookcase'
PAGE = page(item(1, 7_500, title=TITLE), item(2, 10_000), item(3, 11_000))


def rows(html: str) -> list[str]:
    return re.findall(r"<li>.*?</li>", html, re.DOTALL)


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(Reason)
    assert len(set(REASONS.values())) == len(REASONS)


def test_the_list_price_is_struck_through_where_the_price_is_lower_and_nowhere_else() -> None:
    lower, same, higher = rows(render(REQUEST, PAGE))
    assert "75.00 USD" in lower
    assert "<s>100.00 USD</s>" in lower
    assert "\N{MINUS SIGN}25 %" in lower
    assert "<s>" not in same + higher
    assert "list price 100.00 USD" in higher


def test_a_page_stands_alone_and_what_a_shop_writes_cannot_become_markup() -> None:
    html = render(REQUEST, PAGE)
    assert "<script" not in html
    assert "oak &lt;b&gt;bookcase" in html
    assert not re.search(r"(src|href)=|url\(|@import|http", html)


def test_the_disclosure_is_there_byte_for_byte_and_its_absence_is_said() -> None:
    assert f">{DISCLOSURE}<" in render(REQUEST, PAGE)
    without = render(REQUEST, {**PAGE, "disclosure": None})
    assert DISCLOSURE not in without
    assert "No price on this page is personal" in without


def test_reasons_are_in_plain_words_and_an_unknown_code_stays_as_it_is() -> None:
    html = render(REQUEST, page(item(1, 7_500, reasons=["STOCK_SCARCE", "NEW_CODE"])))
    assert ">few left in stock<" in html
    assert ">NEW_CODE<" in html


def test_an_item_without_a_title_is_shown_by_its_id_and_yen_have_no_decimals() -> None:
    html = render({"item_ids": ["i9"]}, page(item(9, 1_200, 1_500, currency="JPY"), currency="JPY"))
    assert "<h2>i9</h2>" in html
    assert "1,200 JPY" in html
    assert "1 item of the shop's own search" in html.replace("&#39;", "'")


def test_on_the_screen_a_page_fits_eighty_columns_with_titles_beside_ids() -> None:
    console = Console(record=True, width=80)
    console.print(page_table(REQUEST, PAGE))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    assert "[bold]" in shown
    assert "i1" in shown
    assert DISCLOSURE in shown


def test_a_page_shows_all_its_items_or_says_how_many_it_hides() -> None:
    long = page(*(item(number, 900) for number in range(1, 10)))
    shown = {}
    for most in (6, None):
        console = Console(record=True, width=80)
        console.print(page_table(REQUEST, long, most=most, remedy="--all shows them"))
        shown[most] = console.export_text()
    assert "and 3 more of 9 items; --all shows them" in shown[6]
    assert "i9" not in shown[6]
    assert "i9" in shown[None]
    assert "more of" not in shown[None]


class FakeEndpoint:
    """Answers every search with the page."""

    url: str

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        return 200, {"predictions": [PAGE for _ in asked.body["instances"]]}


def test_quote_writes_the_page_with_its_titles(
    listen: Callable[[FakeEndpoint], FakeEndpoint], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = listen(FakeEndpoint())
    file = tmp_path / "page.html"
    assert main(["quote", "oak", "--url", endpoint.url, "--html", str(file)]) == 0
    assert "written to" in capsys.readouterr().out
    html = file.read_text(encoding="utf-8")
    assert "<h2>Oak &lt;script&gt;" in html
    assert "<h2>i2</h2>" in html


def test_what_a_search_did_to_the_query_is_said_on_the_screen_and_in_the_page() -> None:
    nothing = page(corrected_query="cordless drill", notice="Nothing in the shop is like this.")
    console = Console(record=True, width=80)
    console.print(page_table(REQUEST, nothing))
    for shown in (console.export_text(), render(REQUEST, nothing).replace("&#39;", "'")):
        assert "Searched for 'cordless drill'." in shown
        assert "Nothing in the shop is like this." in shown
