"""The figures of one audited group, from quotes and one attribute's groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.ratios import Ratio, access_ratio, surplus_ratio

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COST_BANDS = 20  # bands of unit cost within a category and epoch; markups are compared within a band


@dataclass(frozen=True)
class Side:
    """The quotes of customers whose group of one attribute is known, as indices."""

    quotes: pd.DataFrame
    user: Ints
    member: NDArray[np.object_]  # group of each customer
    names: tuple[str, ...]  # every group of the audit table, also one that was never quoted a price
    prices: fe.Cells  # log price by item and epoch
    below_list: fe.Cells
    markup: fe.Cells | None

    @property
    def rows(self) -> int:
        """Priced impressions."""
        return len(self.quotes)

    @classmethod
    def of(cls, quotes: pd.DataFrame, table: pd.DataFrame) -> Side:
        """Join the quotes with the groups of one attribute; nothing else is joined to them, ever."""
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
            prices=fe.cells(user, codes, np.log(price)),
            below_list=fe.cells(user, codes, (price < listed).astype(np.float64)),
            markup=_markups(matched, user),
        )


def _strata(quotes: pd.DataFrame, names: list[str]) -> Ints:
    present = [name for name in names if name in quotes.columns]
    codes = quotes.groupby(present, sort=False, observed=True, dropna=False).ngroup()
    return np.asarray(codes, dtype=np.int64)


def _markups(quotes: pd.DataFrame, user: Ints) -> fe.Cells | None:
    """Log markups by category, epoch and band of unit cost; None where the log lacks category or cost."""
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
    return fe.cells(user[paid], codes, markup)


@dataclass(frozen=True)
class Measured:
    """Everything about one group before groups are compared."""

    rows: int
    users: int
    enough: bool
    strata: int
    gap: float
    low: float
    high: float
    standard_error: float
    p_value: float
    access: Ratio
    access_p: float
    surplus: Ratio | None
    equal_cost: Ratio | None


def measure(side: Side, name: str, *, seed: int, rules: AuditLimits, tests: int) -> Measured:
    """All figures of one group; a group too small has no p-value, so that it takes no part in the correction.

    Args:
        side: The quotes of its attribute.
        name: The group.
        seed: Of resamples and permutations.
        rules: Thresholds.
        tests: Groups audited in all.
    """
    member: Flags = side.member == name
    here = member[side.user]
    estimate = fe.gap(side.prices, member)
    low, high = _interval(estimate, seed, rules)
    enough = min(here.sum(), (~here).sum()) >= rules.rows and min(member.sum(), (~member).sum()) >= rules.users
    permutations = rules.permutations_for(tests) if enough else 0
    access = access_ratio(side.below_list, member, seed=seed, limits=(rules.replicates, rules.confidence))
    return Measured(
        rows=int(here.sum()),
        users=int(member.sum()),
        enough=bool(enough),
        strata=estimate.informative,
        gap=estimate.value,
        low=low,
        high=high,
        standard_error=estimate.standard_error,
        p_value=(
            fe.permutation_p_value(side.prices, member, seed=seed, permutations=permutations) if enough else np.nan
        ),
        access=access,
        access_p=_access_p(side, member, access, seed, permutations) if enough else np.nan,
        surplus=surplus_ratio(side.quotes, side.user, member, seed=seed, limits=(rules.replicates, rules.confidence)),
        equal_cost=_equal_cost(side.markup, member, seed, rules),
    )


def _access_p(side: Side, member: Flags, access: Ratio, seed: int, permutations: int) -> float:
    """How likely so little access is by chance; 1 where nobody would ask, which still counts as a test.

    The bootstrap cannot say: where few prices are below list a group may have had none, and every resample of it has
    none as well. Labels that change hands can.
    """
    if not access.value < 1:
        return 1.0
    p = fe.permutation_p_value(side.below_list, member, seed=seed, permutations=permutations)
    return p if np.isfinite(p) else 1.0


def _interval(estimate: fe.Gap, seed: int, rules: AuditLimits) -> tuple[float, float]:
    draws = fe.bootstrap(estimate, seed=seed, replicates=rules.replicates)
    tail = (1 - rules.confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _equal_cost(markup: fe.Cells | None, member: Flags, seed: int, rules: AuditLimits) -> Ratio | None:
    if markup is None:
        return None
    estimate = fe.gap(markup, member[: markup.users])
    return Ratio(estimate.value, *_interval(estimate, seed, rules))
