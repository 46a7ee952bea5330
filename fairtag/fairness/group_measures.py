"""The figures of one audited group: price gap, access ratio, surplus ratio, markup at equal cost.

sample = AuditSample.of(quotes, groups_of_one_attribute)
measures = measure_group(sample, "65+", seed=0, rules=AuditLimits(), tests=len(sample.names))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.fixed_effects import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

CERTAIN = 1 - 1e-9  # a page that is certain to sell would have infinite surplus
COST_BANDS = 20  # bands of unit cost in a category and price day; markups are compared within a band


@dataclass(frozen=True)
class AuditSample:
    """Quotes of the customers whose group of one attribute is known.

    Args:
        quotes: Rows of the quote log.
        user: (rows,) customer of each quote, from 0.
        member: (users,) group of each customer.
        names: Every group of the audit table, including groups that were never quoted a price.
        prices: Log prices by item and price day.
        below_list: Share of quotes below list, by item and price day.
        markup: Log markups by category, price day and cost band; None where the log lacks category or cost.
    """

    quotes: pd.DataFrame
    user: Ints
    member: NDArray[np.object_]
    names: tuple[str, ...]
    prices: fe.Panel
    below_list: fe.Panel
    markup: fe.Panel | None

    @property
    def rows(self) -> int:
        """Priced impressions."""
        return len(self.quotes)

    @classmethod
    def of(cls, quotes: pd.DataFrame, table: pd.DataFrame) -> AuditSample:
        """Join the quotes with the groups of one attribute, and with nothing else."""
        group = table.set_index(schema.USER_KEY)[schema.GROUP].astype(str)
        matched = quotes[quotes[schema.USER_KEY].isin(group.index)]
        user, keys = pd.factorize(matched[schema.USER_KEY])
        price = matched[schema.PRICE_MINOR].to_numpy(np.float64)
        listed = matched[schema.LIST_PRICE_MINOR].to_numpy(np.float64)
        codes = _strata(matched, [schema.ITEM_ID, schema.EPOCH, schema.CURRENCY])
        return cls(
            quotes=matched,
            user=user,
            member=group.reindex(keys).to_numpy(object),
            names=tuple(sorted(group.unique())),
            prices=fe.panel(user, codes, np.log(price)),
            below_list=fe.panel(user, codes, (price < listed).astype(np.float64)),
            markup=_markups(matched, user),
        )


def _strata(quotes: pd.DataFrame, names: list[str]) -> Ints:
    present = [name for name in names if name in quotes.columns]
    codes = quotes.groupby(present, sort=False, observed=True, dropna=False).ngroup()
    return np.asarray(codes, dtype=np.int64)


def _markups(quotes: pd.DataFrame, user: Ints) -> fe.Panel | None:
    """Log markups by category, price day and band of unit cost; None where the log lacks category or cost."""
    if schema.UNIT_COST_MINOR not in quotes.columns or schema.CATEGORY not in quotes.columns or quotes.empty:
        return None
    cost = quotes[schema.UNIT_COST_MINOR].to_numpy(np.float64)
    paid = cost > 0  # a free item has no markup
    if not paid.any():
        return None
    kept = quotes[paid]
    place = kept.groupby([schema.CATEGORY, schema.EPOCH], observed=True, sort=False)[schema.UNIT_COST_MINOR]
    band = np.minimum((place.rank(pct=True, method="average") * COST_BANDS).astype(np.int64), COST_BANDS - 1)
    codes = _strata(kept.assign(band=band), [schema.CATEGORY, schema.EPOCH, "band"])
    markup = np.log(kept[schema.PRICE_MINOR].to_numpy(np.float64) / cost[paid])
    return fe.panel(user[paid], codes, markup)


@dataclass(frozen=True)
class GroupMeasures:
    """Figures of one group, before p-values are corrected; fields as in :class:`fairtag.fairness.audit.Finding`."""

    rows: int
    users: int
    enough: bool
    strata: int
    gap: float
    low: float
    high: float
    standard_error: float
    p_value: float
    access: Estimate
    access_p: float
    surplus: Estimate | None
    equal_cost: Estimate | None


def measure_group(sample: AuditSample, name: str, *, seed: int, rules: AuditLimits, tests: int) -> GroupMeasures:
    """All figures of one group. A group that is too small gets no p-value and takes no part in the correction.

    Args:
        sample: The quotes of the group's attribute.
        name: The group.
        seed: Seed of resamples and permutations.
        rules: Thresholds.
        tests: Number of groups that are audited in all.
    """
    member: Flags = sample.member == name
    here = member[sample.user]
    estimate = fe.gap(sample.prices, member)
    low, high = _interval(estimate, seed, rules)
    enough = min(here.sum(), (~here).sum()) >= rules.rows and min(member.sum(), (~member).sum()) >= rules.users
    permutations = rules.permutations_for(tests) if enough else 0
    access = access_ratio(sample.below_list, member, seed=seed, limits=(rules.replicates, rules.confidence))
    return GroupMeasures(
        rows=int(here.sum()),
        users=int(member.sum()),
        enough=bool(enough),
        strata=estimate.informative,
        gap=estimate.value,
        low=low,
        high=high,
        standard_error=estimate.standard_error,
        p_value=(
            fe.permutation_p_value(sample.prices, member, seed=seed, permutations=permutations) if enough else np.nan
        ),
        access=access,
        access_p=_access_p(sample, member, access, seed, permutations) if enough else np.nan,
        surplus=surplus_ratio(
            sample.quotes, sample.user, member, seed=seed, limits=(rules.replicates, rules.confidence)
        ),
        equal_cost=_equal_cost(sample.markup, member, seed, rules),
    )


def _access_p(sample: AuditSample, member: Flags, access: Estimate, seed: int, permutations: int) -> float:
    """Permutation p-value of an access ratio below 1; 1 where the ratio is not below 1, which still counts as a test.

    The bootstrap cannot tell: where few prices are below list, a group may have none, and then every resample of it has
    none either. Permuted labels can.
    """
    if not access.value < 1:
        return 1.0
    p = fe.permutation_p_value(sample.below_list, member, seed=seed, permutations=permutations)
    return p if np.isfinite(p) else 1.0


def _interval(estimate: fe.Gap, seed: int, rules: AuditLimits) -> tuple[float, float]:
    draws = fe.bootstrap(estimate, seed=seed, replicates=rules.replicates)
    tail = (1 - rules.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _equal_cost(markup: fe.Panel | None, member: Flags, seed: int, rules: AuditLimits) -> Estimate | None:
    if markup is None:
        return None
    estimate = fe.gap(markup, member[: markup.users])
    return Estimate(estimate.value, *_interval(estimate, seed, rules))


def access_ratio(below_list: fe.Panel, group: Flags, *, seed: int, limits: tuple[int, float]) -> Estimate:
    """Access ratio: chance of a price below list for a group, over that of all others (Mantel and Haenszel, 1959).

    ``(sum_s A_s m_s / n_s) / (sum_s B_s k_s / n_s)``, where in stratum s the group has A_s prices below list among k_s
    and the others have B_s among m_s, and ``n_s = k_s + m_s``. Strata with only one side drop out.

    Args:
        below_list: Share of a customer's quotes below list, by stratum.
        group: Whether each customer is in the group, shape (users,).
        seed: Seed of the bootstrap over customers.
        limits: Replicates and confidence.

    Returns:
        1 where nobody was priced below list, infinite where only the group was, NaN where no stratum has both sides.
    """
    member = group[below_list.user]
    n = np.bincount(below_list.stratum, minlength=below_list.strata)
    k = fe.sums(below_list.stratum, member.astype(np.float64), below_list.strata)
    share = (k / np.maximum(n, 1))[below_list.stratum]
    top = fe.sums(below_list.user, below_list.outcome * member * (1 - share), below_list.users)
    bottom = fe.sums(below_list.user, below_list.outcome * ~member * share, below_list.users)
    if not ((share > 0) & (share < 1)).any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    if top.sum() == bottom.sum() == 0:
        return Estimate(1.0, 1.0, 1.0)
    return _ratio(top, bottom, seed, limits)


def surplus_ratio(
    quotes: pd.DataFrame, user: Ints, group: Flags, *, seed: int, limits: tuple[int, float]
) -> Estimate | None:
    """Surplus ratio: mean consumer surplus of a group's pages, over that of all others, under the demand model.

    Under logit demand with an outside option a page is worth ``log(1 + sum exp(u_i)) = -log(1 - sum q_i)`` utils (Small
    and Rosen, Econometrica 49, 1981). Tastes differ between groups, so a ratio away from 1 is no evidence of harm.

    Returns:
        None where the quotes carry no purchase probabilities.
    """
    if schema.PURCHASE_PROBABILITY not in quotes.columns or schema.QUOTE_ID not in quotes.columns or quotes.empty:
        return None
    if quotes[schema.PURCHASE_PROBABILITY].isna().any():  # demand was not learned
        return None
    page, _ = pd.factorize(quotes[schema.QUOTE_ID])
    pages = int(page.max()) + 1
    bought = fe.sums(page, quotes[schema.PURCHASE_PROBABILITY].to_numpy(np.float64), pages)
    worth = -np.log1p(-np.minimum(bought, CERTAIN))
    owner = np.zeros(pages, dtype=np.int64)
    owner[page] = user
    users = len(group)
    total, count = fe.sums(owner, worth, users), fe.sums(owner, np.ones(pages), users)
    here, there = np.where(group, 1.0, 0.0), np.where(group, 0.0, 1.0)
    draws = _totals(np.stack([total * here, count * here, total * there, count * there], axis=1), seed, limits[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (draws[:, 0] / draws[:, 1]) / (draws[:, 2] / draws[:, 3])
    return _summary(ratios, limits[1])


def _ratio(top: Floats, bottom: Floats, seed: int, limits: tuple[int, float]) -> Estimate:
    draws = _totals(np.stack([top, bottom], axis=1), seed, limits[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _summary(draws[:, 0] / draws[:, 1], limits[1])


def _totals(by_user: Floats, seed: int, replicates: int) -> Floats:
    """Column sums over all customers, then over resamples of them: shape (1 + replicates, columns)."""
    active = by_user[np.abs(by_user).sum(axis=1) > 0]
    rng = np.random.default_rng(seed)
    return np.concatenate([active.sum(axis=0)[None], fe.resampled_sums(rng, active, replicates)])


def _summary(values: Floats, confidence: float) -> Estimate:
    """The first value with the percentile interval of the others; a resample without the other side drops out."""
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Estimate(float(values[0]), float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="nearest")  # between infinities nothing is interpolated
    return Estimate(float(values[0]), float(low), float(high))
