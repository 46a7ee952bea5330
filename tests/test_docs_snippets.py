"""The code in the documents runs: snippets of Python print what their page shows, the tutorial's tables can be read."""

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fairtag.data.own_tables import read_csv
from fairtag.policy.pricing_policy import PricingPolicy

DOCS = Path(__file__).resolve().parents[1] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def shown(page: str) -> list[tuple[str, str]]:
    """Each snippet of Python that a block without a language follows: the snippet and what it prints."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def printed(code: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, {})
    return output.getvalue()


@pytest.mark.parametrize("page", ["how-to/ab-test.md", "how-to/guardrails.md"])
def test_a_snippet_prints_what_its_page_shows(page: str) -> None:
    pairs = shown(page)
    assert len(pairs) == len(blocks(page, "python")) > 0
    for code, output in pairs:
        assert printed(code) == output


def test_the_settings_of_the_guardrails_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(.+?)` \|", (DOCS / "how-to" / "guardrails.md").read_text(), re.MULTILINE)
    document = PricingPolicy().to_json()
    limits, policy = document.pop("limits"), {name: value for name, value in document.items() if name != "schema"}
    policy["personal_prices.allowed"] = policy.pop("personalise")
    expected = {f"limits.{name}": json.dumps(value) for name, value in limits.items()}
    expected |= {name: json.dumps(value) for name, value in policy.items()}
    assert len(rows) > 10
    assert dict(rows) == {name: expected.get(name) for name, _ in rows}


def test_the_tables_written_by_hand_can_be_read(tmp_path: Path) -> None:
    files = re.findall(r"^`(\w+\.csv)`:\n\n```csv\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in files} == {"items.csv", "users.csv", "impressions.csv", "orders.csv"}
    for name, text in files:
        (tmp_path / name).write_text(text)
    tables = read_csv(tmp_path)
    assert len(tables.items) == 3
    assert len(tables.impressions) == 3


def test_the_shop_of_the_tutorial_can_be_made(tmp_path: Path) -> None:
    (script,) = [code for code in blocks("tutorial.md", "python") if "make_shop.py" in code]
    (tmp_path / "make_shop.py").write_text(script)
    line = [sys.executable, "make_shop.py", "kitchen", "200"]
    made = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    tables = read_csv(tmp_path / "kitchen")
    items, users = len(tables.latest_items()), tables.users["user_id"].nunique()
    assert made.stdout.startswith(f"{items} items, {users:,} users, 1,600 impressions")
    assert tables.metadata["currency"] == "EUR"
    assert not tables.metadata["observational"]
    assert len(tables.orders) == tables.impressions["purchased"].sum() > 20
