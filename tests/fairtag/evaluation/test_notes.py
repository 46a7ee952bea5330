"""Items with an outcome of their own are named in the decision, each kind with what happens to it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fairtag.evaluation.notes import special_items

TITLES = {
    "dear": "Oak table",
    "unknown": "Oak chair",
    "free": "Pattern to download",
    "one": "Blue stoneware mug",
    "same": "blue stoneware MUG",
    "near": "Mug, blue stonware",
    "still": "Cast iron tea pot",
}


@pytest.fixture
def notes():
    def of(shown=None, categories=(), nest=None, nests=(), **options):
        cost = {"dear": 12.0, "unknown": np.nan, "free": 0.0}
        model = SimpleNamespace(
            item_ids=list(TITLES),
            catalogue=pd.DataFrame({"title": list(TITLES.values())}),
            market=SimpleNamespace(
                unit_cost=np.array([cost.get(item, 4.0) for item in TITLES]), list_price=np.full(len(TITLES), 10.0)
            ),
            demand=SimpleNamespace(
                report={"elasticity": list(categories), "nests": list(nests)},
                nest=np.arange(len(TITLES)) if nest is None else np.array(nest),
            ),
        )
        empty = pd.DataFrame({"item_id": [], "price": [], "list_price": []})
        return {note["what"]: note for note in special_items(model, empty if shown is None else shown, **options)}

    return of


@pytest.mark.parametrize(
    ("what", "items", "outcome"),
    [
        ("items of unknown cost", ["unknown"], "at list price"),
        ("items that cost nothing", ["free"], "smallest coin"),
        ("items that cost as much as list or more", ["dear"], "at list price"),
        ("items with the title of another", ["one", "same"], "one by one"),
        ("items with nearly the title of another", ["near"], "one by one"),
    ],
)
def test_each_kind_of_item_has_its_outcome(notes, what, items, outcome):
    note = notes()[what]
    assert (note["count"], note["examples"]) == (len(items), items)
    assert outcome in note["outcome"]


def test_near_identical_items_are_named_with_the_evidence_of_their_category(notes):
    evidence = {"category": "mugs", "nests": 1, "items": 3, "pages": 1200, "reason": "nested logit: they share demand"}
    none = {"category": "tables", "nests": 0, "items": 0, "pages": 0, "reason": ""}
    found = notes(nest=[0, 1, 2, 3, 3, 3, 6], nests=[evidence, none])
    assert found["near-identical items"]["examples"] == ["one", "same", "near"]
    assert "one price" in found["near-identical items"]["outcome"]
    told = found["category mugs: near-identical items"]
    assert (told["count"], told["outcome"]) == (
        3,
        "1 group, seen together on 1,200 pages; nested logit: they share demand",
    )
    assert "category tables: near-identical items" not in found
    assert "items with the title of another" not in found
    assert "items with nearly the title of another" not in found


def test_an_item_whose_price_never_varied_follows_its_category(notes):
    """Its list price may change: what counts is whether it was ever sold at another share of list."""
    shown = pd.DataFrame(
        {
            "item_id": ["still", "still", "one", "one"],
            "price": [10.0, 12.0, 9.0, 10.0],
            "list_price": [10.0, 12.0, 10.0, 10.0],
        }
    )
    note = notes(shown)["items whose price never varied"]
    assert note["examples"] == ["still"]
    assert "response of their category" in note["outcome"]
    assert "items whose price never varied" not in notes()


def test_a_category_without_a_response_stays_at_list_and_says_why(notes):
    rows = [
        {"category": "mugs", "priced": False, "reason": "stays at list price: its prices never varied"},
        {"category": "tables", "priced": True, "reason": ""},
    ]
    found = notes(categories=rows)
    assert found["category mugs"]["outcome"] == "stays at list price: its prices never varied"
    assert "category tables" not in found


def test_how_near_is_a_setting(notes):
    assert "items with nearly the title of another" not in notes(near_titles=1.0)
