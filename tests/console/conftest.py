"""A console over a stand-in for the endpoint, and a browser without a screen: Starlette's test client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from console.app import console_app
from console.endpoint import Endpoint
from console.settings import ConsoleSettings

TITLES = {"i1": "Cordless drill <18 V>", "i2": "Garden hose", "i3": "Reading lamp"}
LISTED = {"i1": 5_999, "i2": 2_999, "i3": 3_999}


@dataclass
class FakeEndpoint:
    """Answers as an endpoint does; a customer pays 10 % below list, a guest 5 %.

    Args:
        asked: Every request that came: path and body.
        refuse: Status and body of every answer instead.
        policy_version: Of the live policy that it follows.
        at_list: Whether that policy puts everything at list.
        model_version: Of the model that it serves.
        quote_id: Of its next pages.
    """

    asked: list[tuple[str, Any]] = field(default_factory=list)
    refuse: tuple[int, dict[str, Any]] | None = None
    policy_version: int = 0
    at_list: bool = False
    model_version: str = "m1"
    quote_id: str = "q1"

    def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        self.asked.append((request.url.path, body))
        if self.refuse is not None:
            return httpx.Response(self.refuse[0], json=self.refuse[1])
        if request.url.path == "/metrics":
            return httpx.Response(200, text=f"# HELP x\nfairtag_policy_version {self.policy_version}.0\n")
        if request.url.path == "/v2/models/fairtag":
            return httpx.Response(200, json={"name": "fairtag", "versions": [self.model_version]})
        if request.url.path.endswith(":predict"):
            return httpx.Response(200, json={"predictions": [self.page(each) for each in body["instances"]]})
        if request.url.path.endswith(":explain"):
            return httpx.Response(200, json={"explanations": [self.explanation(each) for each in body["instances"]]})
        if request.url.path.endswith(":verify"):
            return httpx.Response(200, json={**body, "expires_at": "2999-01-01T00:00:00Z", "currency": "EUR"})
        return httpx.Response(200, json={"ready": True})

    def price(self, item: str, user: str | None) -> int:
        share = 1.0 if self.at_list else 0.9 if user else 0.95
        return round(LISTED[item] * share)

    def page(self, request: dict[str, Any]) -> dict[str, Any]:
        user = request.get("user_id")
        items = request.get("item_ids") or list(TITLES)
        return {
            "quote_id": self.quote_id,
            "quote": "signed",
            "session_id": None if user else "guest-session",
            "expires_at": "2999-01-01T00:00:00+00:00",
            "currency": "EUR",
            "model_version": "m1",
            "disclosure": "SET BY AN ALGORITHM" if user else None,
            "degraded": "stopped" if self.at_list else None,
            "corrected_query": None,
            "notice": None,
            "policy_version": self.policy_version,
            "experiment": None,
            "arm": None,
            "facets": [{"field": "category", "value": "tools", "count": 2, "low_minor": None, "high_minor": None}],
            "items": [
                {
                    "item_id": item,
                    "title": TITLES[item],
                    "category": "tools",
                    "brand": "Acme",
                    "rank": rank,
                    "list_price_minor": LISTED[item],
                    "price_minor": self.price(item, user),
                    "currency": "EUR",
                    "personalised": bool(user),
                    "reasons": ["DEMAND_PRICE_SENSITIVE"],
                }
                for rank, item in enumerate(items, start=1)
            ],
        }

    def explanation(self, request: dict[str, Any]) -> dict[str, Any]:
        items = []
        for item in request["item_ids"]:
            price, base = self.price(item, request.get("user_id")), LISTED[item] - 100
            parts = {"market": 50, "behaviour": price - base - 50}
            items.append(
                {
                    "item_id": item,
                    "title": TITLES[item],
                    "list_price_minor": LISTED[item],
                    "base_minor": base,
                    "price_minor": price,
                    "contributions_minor": parts,
                    "summary": "Below the list price.",
                }
            )
        return {"items": items}


class Browser(TestClient):
    """A test client that sends a form with the token of the page that it saw last."""

    token = ""

    def see(self, path: str, status: int = 200) -> str:
        """The HTML of a page."""
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
        self.token = found.group(1) if found else ""
        return answer.text

    def submit(self, path: str, status: int = 200, **fields: str) -> str:
        """Send a form and follow where it leads."""
        answer = self.post(path, data={"csrf": self.token, **fields})
        assert answer.status_code == status, answer.text
        return answer.text


@pytest.fixture
def endpoint() -> FakeEndpoint:
    return FakeEndpoint()


@pytest.fixture
def console(tmp_path: Path, endpoint: FakeEndpoint) -> Iterator[Callable[..., Browser]]:
    """Opens a console with some settings in a browser."""
    opened: list[Browser] = []

    def open_(*, deployment: Any = None, **settings: Any) -> Browser:
        known = {"state_dir": tmp_path / "state", "policy_store": str(tmp_path / "policy")}
        known |= {"outcomes": str(tmp_path / "outcomes")}
        made = ConsoleSettings(**{**known, **settings})
        asked = Endpoint("http://endpoint", transport=httpx.MockTransport(endpoint.answer))
        browser = Browser(console_app(made, endpoint=asked, deployment=deployment), base_url="http://127.0.0.1:8090")
        opened.append(browser)
        browser.__enter__()
        return browser

    yield open_
    for browser in opened:
        browser.__exit__(None, None, None)
