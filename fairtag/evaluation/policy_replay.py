"""Prices held-out or recently quoted pages again under any policy, in a fraction of a second.

    replay = prepare_replay(model, training_set, tables.audit_groups)      # once, seconds
    found = replay.preview(policy, current, on=date.today())               # each time, a fraction of a second

:mod:`fairtag.evaluation.policy_preview` says what a preview holds. Whatever rests on the pages alone is worked out
once, and what the policy in force does is kept: a trial pays for its own prices and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.data.splits import time_split
from fairtag.evaluation.audited_groups import AuditedGroup, audited_groups
from fairtag.evaluation.held_out_demand import DRAWS, HeldOutPages, interval, read_pages
from fairtag.evaluation.policy_preview import HOLD_OUT, Change, GroupGap, ItemChange, PolicyPreview
from fairtag.fairness import fixed_effects
from fairtag.model.pricing_model import PricingModel
from fairtag.page.day_corridor import own_corridor, terms_of
from fairtag.page.held_out import JURISDICTION, query_vectors, sample_pages
from fairtag.page.page_prices import choose_prices
from fairtag.page.problem import page_problem
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.item_terms import personal_place
from fairtag.policy.pricing_policy import EPOCH_ZERO
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.solver.cells import Cells

Floats = NDArray[np.float64]

PAGES = 400  # of the hold-out; more narrow the intervals little
ITEMS = 10  # shown, those that change most


@dataclass(frozen=True)
class ReplayedPrices:
    """Prices of the replayed impressions, arrays (n,): money, and whether a customer's data moved them."""

    price: Floats
    personal: NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a policy does on the replayed pages.

    Args:
        prices: Of the impressions.
        profit: Expected profit of each page under each posterior draw, (DRAWS, P), money.
        units: Expected units, likewise.
        item_profit: Expected profit of each impression, (n,), mean over the draws.
        widest: The widest ratio of two prices of an item at one list price.
        gaps: Gap of each audited group, in the order of :attr:`PolicyReplay.audited`.
    """

    prices: ReplayedPrices
    profit: Floats
    units: Floats
    item_profit: Floats
    widest: float
    gaps: tuple[fixed_effects.Gap, ...]


@dataclass(frozen=True)
class PolicyReplay:
    """Held-out pages, ready to be priced under any policy.

    Args:
        model: The model that serves.
        pages: The impressions.
        a: (DRAWS, n) posterior draws of the utilities.
        b: (DRAWS, n) of the slopes.
        groups: Audit groups of the customers, if there are any.
        log: What the pages are, in words.
    """

    model: PricingModel
    pages: HeldOutPages
    a: Floats
    b: Floats
    groups: pd.DataFrame | None
    log: str = HOLD_OUT
    _kept: list[tuple[ShopPolicy, date, Outcome]] = field(default_factory=list, init=False, repr=False, compare=False)

    def preview(
        self, policy: ShopPolicy, current: ShopPolicy | None = None, *, on: date, seed: int = 0
    ) -> PolicyPreview:
        """Price the pages under the policy in force and under another, and compare.

        What the policy in force does is kept until another one is in force: it is the same for each trial.

        Args:
            policy: What may hold.
            current: What holds; nothing beyond the model's own policy when None.
            on: The day for which pins and promotions are looked up.
            seed: Seed of the bootstrap.
        """
        before = self._in_force(current or ShopPolicy(), on)
        after = before if policy == (current or ShopPolicy()) else self.outcome(policy, on)
        unit, pages = self.model.policy.limits.minor_per_unit, self.pages
        step = np.rint((after.prices.price - before.prices.price) * unit)
        moved = step != 0
        listed = pages.listed - 0.5 / unit
        return PolicyPreview(
            pages=int(pages.page.max()) + 1,
            prices=len(step),
            customers=int(np.unique(pages.customer).size),
            changed=float(moved.mean()),
            lowered=float((step < 0).mean()),
            raised=float((step > 0).mean()),
            customers_affected=float(np.unique(pages.customer[moved]).size / np.unique(pages.customer).size),
            personal=_both(before, after, lambda each: each.prices.personal.mean()),
            below_list=_both(before, after, lambda each: (each.prices.price < listed).mean()),
            profit=_relative(before.profit, after.profit, pages, seed),
            units=_relative(before.units, after.units, pages, seed),
            widest=(before.widest, after.widest),
            gaps=self._gaps(before, after),
            items=self._items(before, after, moved),
            currency=self.model.policy.currency,
            on=on,
            log=self.log,
        )

    def _in_force(self, policy: ShopPolicy, on: date) -> Outcome:
        """What the policy in force does, kept until it or the day changes."""
        for kept, day, outcome in self._kept:
            if (kept, day) == (policy, on):
                return outcome
        found = self.outcome(policy, on)
        self._kept[:] = [(policy, on, found)]
        return found

    def outcome(self, policy: ShopPolicy, on: date) -> Outcome:
        """What a policy does on the pages on a day."""
        prices = self.prices(policy, on)
        profit, units = self._page_sums(prices.price)
        logs = np.log(prices.price)
        gaps = tuple(each.gap(logs) for each in self.audited)
        return Outcome(
            prices, profit, units, self._item_profit(prices.price), float(self._ratios(prices.price).max()), gaps
        )

    def prices(self, policy: ShopPolicy, on: date) -> ReplayedPrices:
        """The prices of all impressions under a policy on a day, as the endpoint makes them, in one batch."""
        document, pages = None if policy.empty else policy, self.pages
        model = self.model.under(document)
        model = replace(model, policy=replace(model.policy, exploration=0.0)) if model.policy.exploration else model
        _share_caches(self.model, model)
        epoch = int((on - EPOCH_ZERO).days * 24 // model.policy.epoch_hours)
        terms = terms_of(model, pages.item, epoch, document)
        problem = page_problem(
            model,
            pages.item,
            None,
            UserContext(),
            market=self._market,
            corridor=own_corridor(model, pages.item, terms),
            list_only=policy.at_list or not model.may_price,
            terms=terms,
        )
        may = personal_place(policy, JURISDICTION) and model.policy.personalise
        problem = replace(
            problem,
            similarity=pages.similarity,
            behaviour=pages.behaviour if may else None,
            habits=pages.behaviour if may else None,
        )
        chosen = choose_prices(problem, epoch)
        return ReplayedPrices(chosen.price, chosen.personal)

    @cached_property
    def _market(self) -> MarketContext:
        return MarketContext.of(self.pages.rows)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(P,) first impression of each page; impressions of a page stand together."""
        starts = np.asarray(np.flatnonzero(np.diff(self.pages.page, prepend=-1)), dtype=np.int64)
        assert starts.size == int(self.pages.page.max()) + 1, "impressions of a page stand together"
        return starts

    @cached_property
    def _cells(self) -> Cells:
        return self.model.demand.cells(self.pages.item, self.pages.page)

    @cached_property
    def _slope(self) -> Floats:
        """(DRAWS, n) slopes, per unit of money."""
        return np.asarray(self.b / self.pages.r, dtype=np.float64)

    def _page_sums(self, price: Floats) -> tuple[Floats, Floats]:
        """Expected profit and units of each page under each draw, (DRAWS, P) each."""
        pull = self._pull(self.a - self._slope * price)
        sums, bought = np.add.reduceat(pull, self._starts, axis=1), pull * self.model.demand.units_of(self.pages.item)
        sold = np.add.reduceat(bought, self._starts, axis=1)
        gains = np.add.reduceat(bought * (price - self.pages.cost), self._starts, axis=1)
        return gains / (1.0 + sums), sold / (1.0 + sums)

    def _item_profit(self, price: Floats) -> Floats:
        """Expected profit of each impression (n,), mean over the draws."""
        pages = self.pages
        pull = self._pull(self.a.mean(0) - self._slope.mean(0) * price)
        page = np.add.reduceat(pull, self._starts)
        share = pull * self.model.demand.units_of(pages.item) * pages.weight[pages.page]
        return np.asarray(share * (price - pages.cost) / (1.0 + page)[pages.page], dtype=np.float64)

    def _pull(self, utility: Floats) -> Floats:
        """Attractions (..., n) of utilities (..., n); near-identical items share theirs."""
        if not self.pages.on_sale.all():
            utility = np.where(self.pages.on_sale, utility, -np.inf)
        return np.asarray(np.exp(self._cells.adjust(utility)), dtype=np.float64)

    @cached_property
    def _offers(self) -> NDArray[np.int64]:
        """(n,) number of the item at its list price."""
        frame = pd.DataFrame({"item": self.pages.item, "listed": self.pages.listed})
        return np.asarray(frame.groupby(["item", "listed"]).ngroup(), dtype=np.int64)

    def _ratios(self, price: Floats) -> Floats:
        """Of each item at one list price, the ratio of its dearest and its cheapest price."""
        most, least = np.zeros(self._offers.max() + 1), np.full(self._offers.max() + 1, np.inf)
        np.maximum.at(most, self._offers, price)
        np.minimum.at(least, self._offers, price)
        return most / least

    @cached_property
    def audited(self) -> tuple[AuditedGroup, ...]:
        """The groups whose prices are compared; none without audit groups."""
        return audited_groups(self.pages, self.groups)

    def _gaps(self, before: Outcome, after: Outcome) -> tuple[GroupGap, ...]:
        """The gap of each audited group, the widest first."""
        found = [
            each.compared(*pair)
            for each, pair in zip(self.audited, zip(before.gaps, after.gaps, strict=True), strict=True)
        ]
        return tuple(sorted((each for each in found if np.isfinite(each.after)), key=lambda each: -abs(each.after)))

    def _items(self, before: Outcome, after: Outcome, moved: NDArray[np.bool_]) -> tuple[ItemChange, ...]:
        """The items whose profit falls most, then those whose price moves most."""
        if not moved.any():
            return ()
        unit, pages, catalogue = self.model.policy.limits.minor_per_unit, self.pages, self.model.catalogue
        frame = pd.DataFrame(
            {
                "item": pages.item,
                "listed": pages.listed,
                "before": before.prices.price,
                "after": after.prices.price,
                "gain": after.item_profit - before.item_profit,
            }
        )[moved]
        means = frame.groupby("item").agg(
            listed=("listed", "mean"),
            before=("before", "mean"),
            after=("after", "mean"),
            pages=("before", "size"),
            gain=("gain", "sum"),
        )
        worst = means.sort_values(["gain", "after"]).head(ITEMS)
        titles = catalogue[schema.TITLE].iloc[worst.index].fillna("").astype(str) if schema.TITLE in catalogue else None
        money = np.rint(worst[["listed", "before", "after"]].to_numpy(dtype=np.float64) * unit).astype(int).tolist()
        return tuple(
            ItemChange(
                self.model.item_ids[row], "" if titles is None else titles[row], listed, now, then, shown, gained
            )
            for row, (listed, now, then), shown, gained in zip(
                worst.index.tolist(), money, worst["pages"].tolist(), worst["gain"].tolist(), strict=True
            )
        )


def prepare_replay(
    model: PricingModel,
    training_set: pd.DataFrame,
    groups: pd.DataFrame | None = None,
    *,
    pages: int = PAGES,
    seed: int = 0,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
) -> PolicyReplay:
    """Read held-out pages and what the model foresees on them.

    Args:
        model: The model that serves.
        training_set: Impressions with their features, hold-out included.
        groups: Audit groups, for the fairness figures.
        pages: Most pages; fewer are faster, and their intervals wider.
        seed: Seed of the sample and of the draws.
        vectors: Embedding of each query; encoded where None.

    Raises:
        MissingDataError: No held-out impression shows an item of the model.
    """
    late = training_set[time_split(training_set).part(training_set[schema.TS], "hold_out")]
    late = late[late[schema.ITEM_ID].isin(model.row_of)]
    if late.empty:
        raise MissingDataError("no held-out impression shows an item of the model; preview needs the run's own tables")
    return replay_of(model, late, groups, pages=pages, seed=seed, vectors=vectors)


def replay_of(
    model: PricingModel,
    late: pd.DataFrame,
    groups: pd.DataFrame | None = None,
    *,
    pages: int = PAGES,
    seed: int = 0,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    log: str = HOLD_OUT,
) -> PolicyReplay:
    """The same of impressions that were chosen before, such as those of the shop's quote log.

    Args:
        model: The model that serves.
        late: Impressions with their features, all of them of items that the model knows.
        groups: Audit groups, for the fairness figures.
        pages: Most pages.
        seed: Seed of the sample and of the draws.
        vectors: Embedding of each query; encoded where None.
        log: What the pages are, in words.
    """
    sample = sample_pages(late, pages, seed).sort_values(schema.PAGE_ID, kind="stable")
    found = query_vectors(model, sample) if vectors is None else vectors
    held = read_pages(model, sample, found)
    a, b = np.zeros((DRAWS, len(sample))), np.zeros((DRAWS, len(sample)))
    for page in range(int(held.page.max()) + 1):
        at = np.flatnonzero(held.page == page)
        a[:, at], b[:, at] = model.demand.draws(
            held.item[at],
            held.similarity[at],
            held.behaviour[at[0]],
            n_draws=DRAWS,
            seed=seed,
            covariates=held.covariates[at],
        )
    return PolicyReplay(model, held, a, b, groups, log)


def _share_caches(source: PricingModel, model: PricingModel) -> None:
    """What does not depend on the policy is worked out once."""
    for name in ("item_ids", "row_of", "categories", "market"):
        vars(model)[name] = getattr(source, name)


def _relative(before: Floats, after: Floats, pages: HeldOutPages, seed: int) -> Change:
    """Change of a mean over visits as a share of what it was, with its interval."""
    share = pages.weight / pages.weight.mean()
    scale = float((before * share).mean())
    low, high = interval(after - before, pages.page_customer, seed, pages.weight)
    value = float(((after - before) * share).mean())
    if scale == 0:
        return Change(0.0, 0.0, 0.0)
    ends = sorted((low / abs(scale), high / abs(scale)))
    return Change(value / abs(scale), ends[0], ends[1])


def _both(before: Outcome, after: Outcome, figure: Callable[[Outcome], Any]) -> tuple[float, float]:
    return float(figure(before)), float(figure(after))
