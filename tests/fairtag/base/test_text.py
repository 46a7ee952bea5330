"""Texts in their normal form, whatever a shop or a customer sends."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base import schema, text


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        (pd.NA, ""),
        ("  two\n\tlines ", "two lines"),
        ("<b>Big</b> bolts &amp; nuts", "Big bolts & nuts"),
        ("bolts < 10 mm, 3>2", "bolts < 10 mm, 3>2"),
        ("a<script>alert('x')</script>b", "a b"),
        ("&lt;img src=x onerror=y&gt; lamp", "lamp"),
        ("<!-- hidden --> shown", "shown"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("ﬁlter ①", "filter 1"),
        ("nul\x00 bell\x07", "nul bell"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("right \u202eto left", "right to left"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\U0001f469\u200d\U0001f467 family", "\U0001f469\u200d\U0001f467 family"),
        ("אבג מקדחה", "אבג מקדחה"),
        ("电钻 18V", "电钻 18V"),
    ],
)
def test_a_text_has_one_plain_form(given_text, expected):
    assert text.normalise(given_text) == expected


class Watched:
    """A pattern that keeps the length of the longest text it was let loose on."""

    def __init__(self, pattern):
        self.pattern, self.longest = pattern, 0

    def sub(self, replacement, subject):
        self.longest = max(self.longest, len(subject))
        return self.pattern.sub(replacement, subject)


@pytest.mark.parametrize("hostile", ["x" * 10**7, "<" * 10**6, "<script " * 10**5, "&lt;" * 10**5, "\ufdfa" * 10**6])
def test_of_an_enormous_text_only_the_beginning_is_worked_on(hostile, monkeypatch):
    watched = [Watched(pattern) for pattern in (text._BLOCK, text._TAG, text._ENTITY)]
    for name, pattern in zip(("_BLOCK", "_TAG", "_ENTITY"), watched, strict=True):
        monkeypatch.setattr(text, name, pattern)
    assert len(text.normalise(hostile)) <= text.MAX_CHARACTERS
    assert max(pattern.longest for pattern in watched) <= 4 * text.MAX_CHARACTERS


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_characters="<&"), max_size=200))
def test_normalising_twice_changes_nothing(raw):
    once = text.normalise(raw)
    assert text.normalise(once) == once
    once.encode()  # no lone surrogate is left


def test_words_fold_case_and_a_spaceless_script_gives_its_signs():
    assert text.tokens("Ryobi 18V_drill STRASSE Straße") == ["ryobi", "18v", "drill", "strasse", "strasse"]
    assert text.tokens("电钻18v") == ["电", "钻", "18v"]
    assert text.tokens("\U0001f600 !!") == []


def test_item_text_says_nothing_twice_and_leaves_out_what_is_absent():
    assert text.item_text("Acme Drill", "18 V", "Tools", "ACME") == "Acme Drill. Tools. 18 V"
    assert text.item_text("Drill", None, None, np.nan) == "Drill"
    assert text.item_text(None) == ""


def test_item_texts_reads_a_table_with_and_without_the_optional_columns():
    items = pd.DataFrame({schema.TITLE: ["Drill", None], schema.CATEGORY: ["Tools", "Paint"]})
    assert text.item_texts(items) == ["Drill. Tools", "Paint"]
    assert text.item_texts(items.iloc[:0]) == []
