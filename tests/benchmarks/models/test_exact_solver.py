import numpy as np
import pytest

from benchmarks.models.exact_solver import PAGE, Size, adam_prices, ascent_prices, draw_menu, draw_pages, run
from fairtag.solver.page_solver import page_value, solve_pages


@pytest.fixture(scope="module")
def result():
    return run(Size(pages=40, ascent_pages=3, single_solves=5, repeats=2))


def test_the_rows_that_the_readme_is_made_from_are_there(result):
    values = {row.metric: row.value for row in result.rows}
    assert len(values) == len(result.rows)
    assert {
        "adam_over_exact_time",
        "adam_value_lost",
        "lbfgsb_over_exact_time",
        "lbfgsb_value_lost",
        "batch_interval",
        "batch_peak_memory",
        f"page_{PAGE}_menu",
    } <= set(values)
    assert all(np.isfinite(value) for value in values.values())
    assert values["unconverged"] == 0


def test_no_rival_finds_more_value_than_the_solver(result):
    lost = {row.metric: row.value for row in result.rows if "value_lost" in row.metric}
    assert min(lost.values()) >= -1e-12
    assert lost["lbfgsb_value_lost_worst"] < 1e-6
    assert lost["adam_value_lost_worst"] < 0.05
    assert lost["adam_default_rate_value_lost"] > 1e-3  # 200 steps of 0.001 do not get far from list
    assert lost["lbfgsb_anchored_one_start_value_lost"] > 1e-3  # an ascent stays on the peak it starts under


def test_the_rivals_climb_the_same_hill():
    pages = draw_pages(2, PAGE, seed=5)
    exact = solve_pages(*pages)
    at_list, _ = page_value(pages.hi, *pages[:3])
    for prices in (adam_prices(pages, 0.01), ascent_prices(pages, starts=2)):
        assert ((prices >= pages.lo - 1e-12) & (prices <= pages.hi + 1e-12)).all()
        value, _ = page_value(prices, *pages[:3])
        assert (value > at_list).all()
        assert (value <= exact.value + 1e-12).all()


def test_most_prices_of_the_pages_are_free_to_move():
    pages = draw_pages(200, PAGE, seed=0)
    y = solve_pages(*pages).y
    assert ((y > pages.lo) & (y < pages.hi)).mean() > 0.6


def test_the_menu_lies_inside_the_bounds():
    pages = draw_pages(3, PAGE, seed=6)
    menu = draw_menu(pages)
    assert menu.shape == (3, PAGE, 32)
    assert ((menu >= pages.lo[..., None]) & (menu <= pages.hi[..., None])).all()
