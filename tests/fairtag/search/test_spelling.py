"""Misspelt queries find what was meant, and right ones are left alone."""

import random
import string

import numpy as np
import pytest

from fairtag.base.errors import ModelFolderMissing
from fairtag.base.text import tokens
from fairtag.search.spelling import LONGEST, MOST_WORDS, Speller, errors_between, frequent_words
from fairtag.search.word_index import WordIndex

TEXTS = [
    *[f"cordless drill {number}" for number in range(8)],
    "drill bit set",
    "cordless screwdriver for walls",
    "oak table",
    "oak table for two",
    "name label",
    "floor lamp",
    "desk lamp for the desk",
    "dog leash",
    "deck over coating",
    "bookcase in oak",
    "baking tray",
    "größe XL kühlschrank",
    "дрель аккумуляторная",
]


@pytest.fixture(scope="module")
def index():
    return WordIndex.build(TEXTS)


@pytest.fixture(scope="module")
def speller(index):
    return Speller.build(index, {"diary": 4, "burgundy": 3}, known={"couch", "trill", "lab"})


def corrected(query, speller, index):
    return " ".join(speller.correct(tokens(query), index))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cordles drill", "cordless drill"),  # a letter left out
        ("cordles dril", "cordless drill"),  # in both words
        ("cordless dirll", "cordless drill"),  # swapped
        ("corddless drill", "cordless drill"),  # doubled
        ("cordkess drill", "cordless drill"),  # the neighbouring key
        ("cordlses drlil", "cordless drill"),
        ("screwdrivr", "screwdriver"),
        ("scewdrivr", "screwdriver"),  # two errors in a long word
        ("oak tabel", "oak table"),  # as near to "label", which no text has beside "oak"
        ("flor lamp", "floor lamp"),  # as near to "for", which is in more texts
        ("desklamp", "desk lamp"),  # joined
        ("deckover", "deck over"),
        ("book case", "bookcase"),  # split
        ("cord less drill", "cordless drill"),
        ("kuhlschrank", "kühlschrank"),
        ("дрел", "дрель"),
        ("burgundi", "burgundy"),  # a word of customers, not of the catalogue
    ],
)
def test_a_slip_is_corrected(typed, meant, speller, index):
    assert corrected(typed, speller, index) == meant


@pytest.mark.parametrize(
    "right",
    [
        "cordless drill",
        "couch",  # a word of the language, although "couch" is not sold
        "trill",  # one letter from "drill"
        "diary",
        "drills",  # another form of a word of the shop
        "bake",  # "baking" is one
        "18v",
        "dri11",  # a number is no misspelling
        "la",  # too short to tell
        "lap",  # one letter from "lamp"
        "qwxzv blorpt",
        "电钻",
        "",
    ],
)
def test_a_right_word_and_nonsense_stay_as_they_are(right, index):
    speller = Speller.build(index, {"diary": 4}, known={"couch", "trill", "lap"})
    assert speller.correct(tokens(right), index) == tokens(right)


def test_every_single_slip_in_a_long_word_is_undone(speller, index):
    rng = random.Random(0)
    for word in ("cordless", "screwdriver", "coating", "bookcase"):
        for at in range(1, len(word) - 1):
            swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            other = rng.choice(string.ascii_lowercase)
            slips = (word[:at] + word[at + 1 :], word[:at] + other + word[at:], word[:at] + other + word[at + 1 :])
            for slip in (swapped, *slips):
                assert corrected(slip, speller, index) == word, slip


def test_no_word_of_the_catalogue_is_ever_changed(speller, index):
    for text in TEXTS:
        assert corrected(text, speller, index) == " ".join(tokens(text))


def test_the_distance_is_that_of_a_plain_recursion():
    def naive(left, right):
        if not left or not right:
            return len(left) + len(right)
        costs = [
            naive(left[:-1], right) + 1,
            naive(left, right[:-1]) + 1,
            naive(left[:-1], right[:-1]) + (left[-1] != right[-1]),
        ]
        if len(left) > 1 and len(right) > 1 and left[-1] == right[-2] and left[-2] == right[-1]:
            costs.append(naive(left[:-2], right[:-2]) + 1)
        return min(costs)

    rng = random.Random(1)
    for _ in range(150):
        left, right = ("".join(rng.choice("abc") for _ in range(rng.randint(0, 5))) for _ in range(2))
        assert errors_between(left, right) == naive(left, right), (left, right)


def test_nearest_finds_what_a_scan_of_all_words_finds(speller, index):
    from fairtag.search.spelling import _allowed

    rng = random.Random(2)
    words = list(speller.counts)
    for _ in range(300):
        word = rng.choice(words)
        for _slip in range(rng.randint(1, 2)):
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice(["", rng.choice("aeinrst")]) + word[at + rng.randint(0, 1) :]
        fair = {other: errors_between(word, other) for other in words}
        fair = {other: count for other, count in fair.items() if 0 < count <= _allowed(word, other)} if word else {}
        least = min(fair.values(), default=0)
        assert speller.nearest(word) == sorted((o, c) for o, c in fair.items() if c == least), word


def test_words_of_many_queries_are_words_and_a_slip_of_one_customer_is_not():
    queries = [["bush", "cutter"], ["bush", "shears"], ["tall", "bush"], ["buhs", "cutter"], ["bush", "bush"]]
    assert frequent_words(queries, 3) == {"bush": 4}


def test_a_hostile_query_is_bounded(speller, index, monkeypatch):
    asked = []
    nearest = Speller.nearest
    monkeypatch.setattr(Speller, "nearest", lambda self, word: asked.append(word) or nearest(self, word))
    speller.correct([f"cordles{letter}" for letter in string.ascii_lowercase], index)
    assert len(asked) == MOST_WORDS
    assert speller.nearest("c" * (LONGEST + 1)) == []


def test_an_index_is_read_back_as_it_was(speller, index, tmp_path):
    with pytest.raises(ModelFolderMissing, match=r"words\.json"):
        Speller.load(tmp_path / "none")
    again = Speller.load(speller.save(tmp_path / "spelling"))
    assert again.counts == speller.counts
    np.testing.assert_array_equal(again.hashes, speller.hashes)
    assert corrected("cordles couch dril", again, index) == "cordless couch drill"


def test_an_empty_catalogue_corrects_nothing():
    index = WordIndex.build(["", "!!"])
    assert corrected("cordles dril", Speller.build(index), index) == "cordles dril"
