"""The pages, in the order of the menu. ``console/__init__.py`` says how one is added."""

from __future__ import annotations

from console.frame import Page
from console.pages import (
    compare,
    experiments,
    fairness,
    look,
    models,
    operations,
    policy,
    prices,
    stop,
    storefront,
    why,
)

PAGES: tuple[Page, ...] = (
    storefront.PAGE,
    compare.PAGE,
    why.PAGE,
    prices.PAGE,
    policy.PAGE,
    models.PAGE,
    experiments.PAGE,
    operations.PAGE,
    fairness.PAGE,
)
HIDDEN: tuple[Page, ...] = (look.PAGE, stop.PAGE)  # forms that every page shows; no place in the menu
