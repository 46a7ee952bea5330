"""What a policy would change, before it counts: held-out or lately quoted pages priced again, in seconds.

    replay = prepare_replay(model, training_set, tables.audit_groups)      # once, seconds
    found = replay.preview(policy, current, on=date.today())               # each time, a fraction of a second
    found.changed, found.profit.value, found.items[0]

Profit and units are those that the model's own demand foresees, with intervals from its posterior and a bootstrap of
the customers: good enough to choose between policies. Whether a wider policy may go live is decided by demand models
that the prices were not chosen with (:mod:`fairtag.evaluation.policy_evaluation`). Prices are those before exploration,
and without price locks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.data.splits import time_split
from fairtag.evaluation.held_out_demand import DRAWS, HeldOutPages, interval, read_pages
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

Floats = NDArray[np.float64]

PAGES = 400  # of the hold-out; more narrow the intervals little
ITEMS = 10  # shown, those that change most
Z = 1.96  # of a two-sided 95 % interval
HOLD_OUT = "held-out pages"


@dataclass(frozen=True)
class Change:
    """A relative change with its 95 % interval: 0.02 is 2 % more."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupGap:
    """How much more a group pays for the same item than all others, as a share, before and after."""

    attribute: str
    group: str
    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True)
class ItemChange:
    """An item whose prices change, mean prices over the replayed pages in minor units."""

    item_id: str
    title: str
    list_price_minor: int
    before_minor: int
    after_minor: int
    pages: int
    profit_change: float

    @property
    def change(self) -> float:
        """Relative change of its mean price."""
        return self.after_minor / self.before_minor - 1


@dataclass(frozen=True)
class PolicyPreview:
    """What a policy would change on held-out pages.

    Args:
        pages: Pages that were priced again.
        prices: Prices on them.
        customers: Customers whose pages they are.
        changed: Share of the prices that change.
        lowered: Share of the prices that fall.
        raised: Share of the prices that rise.
        customers_affected: Share of the customers who see another price.
        personal: Share of the prices that a customer's data move, before and after.
        below_list: Share of the prices below list, before and after.
        profit: Expected profit a page.
        units: Expected units a page.
        widest: The widest ratio of two customers' prices of an item, before and after.
        gaps: Gap of each audited group, the widest first; empty without audit groups.
        items: The items that change most, the largest fall of profit first.
        currency: Of all money.
        on: The day that was previewed.
        log: What the pages are, in words.
    """

    pages: int
    prices: int
    customers: int
    changed: float
    lowered: float
    raised: float
    customers_affected: float
    personal: tuple[float, float]
    below_list: tuple[float, float]
    profit: Change
    units: Change
    widest: tuple[float, float]
    gaps: tuple[GroupGap, ...]
    items: tuple[ItemChange, ...]
    currency: str
    on: date
    log: str = HOLD_OUT


@dataclass(frozen=True)
class ReplayedPrices:
    """Prices of the replayed impressions, arrays (n,): money, and whether a customer's data moved them."""

    price: Floats
    personal: NDArray[np.bool_]


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

    def preview(
        self, policy: ShopPolicy, current: ShopPolicy | None = None, *, on: date, seed: int = 0
    ) -> PolicyPreview:
        """Price the pages under the policy in force and under another, and compare.

        Args:
            policy: What may hold.
            current: What holds; nothing beyond the model's own policy when None.
            on: The day for which pins and promotions are looked up.
            seed: Seed of the bootstrap.
        """
        before, after = (self.prices(each, on) for each in (current or ShopPolicy(), policy))
        unit, pages = self.model.policy.limits.minor_per_unit, self.pages
        step = np.rint((after.price - before.price) * unit)
        moved = step != 0
        listed = pages.listed - 0.5 / unit
        (profit, sold), (new_profit, new_sold) = (self._page_sums(each.price) for each in (before, after))
        return PolicyPreview(
            pages=int(pages.page.max()) + 1,
            prices=len(step),
            customers=int(np.unique(pages.customer).size),
            changed=float(moved.mean()),
            lowered=float((step < 0).mean()),
            raised=float((step > 0).mean()),
            customers_affected=float(np.unique(pages.customer[moved]).size / np.unique(pages.customer).size),
            personal=(float(before.personal.mean()), float(after.personal.mean())),
            below_list=(float((before.price < listed).mean()), float((after.price < listed).mean())),
            profit=_relative(profit, new_profit, pages.page_customer, seed),
            units=_relative(sold, new_sold, pages.page_customer, seed),
            widest=(self._widest(before.price), self._widest(after.price)),
            gaps=self._gaps(before.price, after.price),
            items=self._items(before.price, after.price, moved),
            currency=self.model.policy.currency,
            on=on,
            log=self.log,
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
            market=MarketContext.of(pages.rows),
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

    def _page_sums(self, price: Floats) -> tuple[Floats, Floats]:
        """Expected profit and units of each page under each draw, (DRAWS, P) each."""
        pages, count = self.pages, int(self.pages.page.max()) + 1
        pull = self._pull(self.a, self.b, price)
        starts = np.flatnonzero(np.r_[True, np.diff(pages.page) != 0])  # impressions of a page stand together
        sums = np.add.reduceat(pull, starts, axis=1)
        gains = np.add.reduceat(pull * (price - pages.cost), starts, axis=1)
        assert sums.shape[1] == count, "impressions of a page stand together"
        return gains / (1.0 + sums), sums / (1.0 + sums)

    def _pull(self, a: Floats, b: Floats, price: Floats) -> Floats:
        """Attractions (..., n) at utilities and slopes (..., n); near-identical items share theirs."""
        pages = self.pages
        utility = np.where(pages.on_sale, a - b * price / pages.r, -np.inf)
        return np.asarray(np.exp(self.model.demand.cells(pages.item, pages.page).adjust(utility)), dtype=np.float64)

    def _widest(self, price: Floats) -> float:
        """The widest ratio of two prices of an item at one list price."""
        frame = pd.DataFrame({"item": self.pages.item, "listed": self.pages.listed, "price": price})
        ends = frame.groupby(["item", "listed"])["price"].agg(["min", "max"])
        return float((ends["max"] / ends["min"]).max())

    def _gaps(self, before: Floats, after: Floats) -> tuple[GroupGap, ...]:
        """The gap of each group of each attribute within items, where both sides have customers."""
        if self.groups is None or self.groups.empty:
            return ()
        users, stratum = self.pages.rows[schema.USER_ID], pd.factorize(self.pages.item)[0].astype(np.int64)
        found = []
        for attribute, table in self.groups.groupby(schema.ATTRIBUTE, observed=True):
            own = users.map(table.set_index(schema.USER_ID)[schema.GROUP].astype(str))
            known = own.notna().to_numpy()
            if not known.any():
                continue
            user, keys = pd.factorize(users[known])
            member = own[known].groupby(user).first().to_numpy(object)
            panels = [fixed_effects.panel(user, stratum[known], np.log(each[known])) for each in (before, after)]
            found += [
                _group_gap(str(attribute), str(group), panels, member == group)
                for group in np.unique(member.astype(str))
                if 1 < int((member == group).sum()) < len(keys) - 1
            ]
        return tuple(sorted((each for each in found if np.isfinite(each.after)), key=lambda each: -abs(each.after)))

    def _items(self, before: Floats, after: Floats, moved: NDArray[np.bool_]) -> tuple[ItemChange, ...]:
        """The items whose profit falls most, then those whose price moves most."""
        if not moved.any():
            return ()
        unit, pages, catalogue = self.model.policy.limits.minor_per_unit, self.pages, self.model.catalogue
        gain = self._item_profit(after) - self._item_profit(before)
        frame = pd.DataFrame(
            {"item": pages.item, "listed": pages.listed, "before": before, "after": after, "gain": gain}
        )[moved]
        means = frame.groupby("item").agg(
            listed=("listed", "mean"),
            before=("before", "mean"),
            after=("after", "mean"),
            pages=("before", "size"),
            gain=("gain", "sum"),
        )
        worst = means.sort_values(["gain", "after"]).head(ITEMS)
        titles = catalogue[schema.TITLE].fillna("").astype(str).tolist() if schema.TITLE in catalogue else None
        money = np.rint(worst[["listed", "before", "after"]].to_numpy(dtype=np.float64) * unit).astype(int).tolist()
        return tuple(
            ItemChange(self.model.item_ids[row], titles[row] if titles else "", listed, now, then, shown, gained)
            for row, (listed, now, then), shown, gained in zip(
                worst.index.tolist(), money, worst["pages"].tolist(), worst["gain"].tolist(), strict=True
            )
        )

    def _item_profit(self, price: Floats) -> Floats:
        """Expected profit of each impression (n,), mean over the draws."""
        pages = self.pages
        pull = self._pull(self.a.mean(0), self.b.mean(0), price)
        page = np.bincount(pages.page, weights=pull)
        return np.asarray(pull * (price - pages.cost) / (1.0 + page)[pages.page], dtype=np.float64)


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


def _relative(before: Floats, after: Floats, customer: NDArray[np.int64], seed: int) -> Change:
    """Change of a mean over pages as a share of what it was, with its interval."""
    scale = float(before.mean())
    low, high = interval(after - before, customer, seed)
    value = float((after - before).mean())
    if scale == 0:
        return Change(0.0, 0.0, 0.0)
    ends = sorted((low / abs(scale), high / abs(scale)))
    return Change(value / abs(scale), ends[0], ends[1])


def _group_gap(attribute: str, group: str, panels: list[fixed_effects.Panel], member: NDArray[np.bool_]) -> GroupGap:
    before, after = (fixed_effects.gap(panel, member) for panel in panels)
    half = Z * after.standard_error
    return GroupGap(
        attribute,
        group,
        float(np.expm1(before.value)),
        float(np.expm1(after.value)),
        float(np.expm1(after.value - half)),
        float(np.expm1(after.value + half)),
    )
