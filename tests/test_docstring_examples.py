"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNNABLE = re.compile(r"^ *>>> (?!.*\+SKIP).*$", re.MULTILINE)
PACKAGES = ("benchmarks", "components", "fairtag", "monitoring", "pipelines", "serving")
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if RUNNABLE.search(path.read_text(encoding="utf-8"))
)


def test_the_main_entry_points_of_pricing_have_examples():
    wanted = {
        "demand.fit",
        "demand.logit",
        "fairness.corridor",
        "fairness.fixed_effects",
        "model.decision",
        "page.explanation",
        "policy.disclosure",
        "policy.guardrails",
        "policy.pricing_policy",
        "price_model.price_model",
        "solver.anchor",
        "solver.page_solver",
        "stock.shadow_prices",
    }
    assert {f"fairtag.{name}" for name in wanted} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries warn about while they are imported
        module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0
