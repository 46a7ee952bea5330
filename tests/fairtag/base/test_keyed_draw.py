"""Keyed draws are uniform, independent between purposes, and never change."""

import numpy as np

from fairtag.base.keyed_draw import uniform

PINNED = 0.6508184578713495


def test_uniform_draws_are_uniform_and_parts_do_not_run_together():
    draws = np.array([uniform((str(k),), "test") for k in range(10_000)])
    assert 0 <= draws.min() < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.012
    assert uniform(("ab", "c"), "test") != uniform(("a", "bc"), "test")
    assert uniform(("a",), "one") != uniform(("a",), "two")
    assert uniform((1,), "test") == uniform(("1",), "test")


def test_the_first_draw_is_pinned_so_that_logs_stay_replayable():
    assert uniform(("user 1", "item 1", 20_000, "m1"), "explore") == PINNED
