"""Titles that are nearly the same are found among many, and those that a number or a size tells apart are not."""

from itertools import combinations

import numpy as np
import pytest

from fairtag.base.text import tokens
from fairtag.search.near_titles import NEAR, near_groups

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def similarity(one, other):
    """The plain definition: shared runs of three letters over all, none where numbers or short words differ."""

    def parts(title):
        words = tokens(title)
        long = [word for word in words if len(word) >= 3 and word.isalpha()]
        runs = {f" {word} "[at : at + 3] for word in long for at in range(len(word))}
        return runs, sorted(word for word in words if word not in long)

    (runs, same), (others, also) = parts(one), parts(other)
    return len(runs & others) / len(runs | others) if same == also and runs | others else float(same == also)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Blue stoneware mug", "BLUE Stoneware  mug!"),
        ("Blue stoneware mug", "Mug, stoneware, blue"),
        ("Blue stoneware mug", "Blue stonware mug"),
        ("USB-C cable 2m", "Usb C cable (2m)"),
        ("Kaffeemühle aus Buchenholz", "Kaffeemühle aus Buchenhölz"),
    ],
)
def test_case_order_marks_and_a_letter_make_no_other_title(one, other):
    assert near_groups([one, "Tea pot", other]) == [[0, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Blue stoneware mug 350 ml", "Blue stoneware mug 500 ml"),
        ("Linen apron L", "Linen apron XL"),
        ("Blue stoneware mug", "Green stoneware mug"),
        ("Beanie", "Beanie with logo"),
        ("", None),
    ],
)
def test_another_number_size_or_word_makes_another_title(one, other):
    assert near_groups([one, other]) == []


def test_every_pair_that_is_as_near_as_asked_is_found_among_random_titles():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(LETTERS, rng.integers(3, 9))) for _ in range(60)]
    titles = [" ".join(rng.choice(words, rng.integers(2, 6), replace=False)) for _ in range(150)]
    slips = [title[:at] + "q" + title[at + 1 :] for title in titles[::3] if (at := int(rng.integers(1, len(title))))]
    titles += slips
    for near in (NEAR, 0.9, 1.0):
        groups = near_groups(titles, near)
        pairs = combinations(range(len(titles)), 2)
        close = {(one, other) for one, other in pairs if similarity(titles[one], titles[other]) >= near}
        assert all((group[0], other) in close for group in groups for other in group[1:]), near
        leads = {group[0] for group in groups}
        alone = set(range(len(titles))) - {row for group in groups for row in group}
        assert not any(one in leads | alone and other in alone for one, other in close), near
        assert near < 1.0 or not close - {(group[0], other) for group in groups for other in group[1:]}


def test_a_chain_of_small_differences_does_not_join_what_is_far_apart():
    ends = ("qrstuvwx", "qrstuvyz", "qrstabyz", "cdstabyz")
    steps = [f"abcdefgh ijklmnop {end}" for end in ends]
    assert near_groups(steps)[0][0] == 0
    assert len(near_groups(steps)[0]) < len(steps)


@pytest.mark.slow
def test_many_titles_of_one_pattern_stay_cheap():
    """Twenty thousand titles that differ in a word: each meets a few others of a band, not all of them."""
    rng = np.random.default_rng(1)
    words = {"".join(rng.choice(LETTERS, 7)) for _ in range(20_000)}
    titles = [f"stoneware mug {word}" for word in sorted(words)]
    assert sum(map(len, near_groups(titles))) < len(titles)
