"""Experiments on live customers, a section of ``policy.yaml``: the arms, and which arm a customer is in.

>>> from fairtag.policy.shop_policy import read_policy
>>> policy = read_policy('''{"experiments": [{"name": "learned-1", "effect": 0.4, "arms": [
...     {"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}]}]}''')
>>> found = assign(policy.experiments, "customer-3", date(2026, 12, 1))
>>> found.experiment, found.arm, found == assign(policy.experiments, "customer-3", date(2027, 1, 1))
('learned-1', 'list', True)

A customer is assigned by a keyed hash, so that nothing is stored and every server computes the same arm. No arm shows a
price that the policy without the experiment would forbid: an experiment only narrows. At most one runs on a day, since
two could ask for two prices of one item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

from pydantic import model_validator

from fairtag.base.errors import ConfigError
from fairtag.base.keyed_draw import uniform
from fairtag.base.settings import Field, Settings
from fairtag.policy.policy_sections import Days

HOLDOUT: Final = "holdout"  # the arm of customers who take no part
SLACK: Final = 1e-9  # by which shares may miss 1
Prices = Literal["learned", "list", "uniform", "no-personal"]


@dataclass(frozen=True)
class Split:
    """How customers are split between arms.

    Args:
        name: Unique; part of the hash, so that experiments split customers independently.
        shares: Share of customers by arm, summing to 1; the first is the control.

    Raises:
        ConfigError: Fewer than two arms, a share that is not above 0, or shares that do not sum to 1.

    >>> test = Split("prices-1", {"control": 0.5, "treatment": 0.5})
    >>> test.arm("customer 17") == test.arm("customer 17")
    True
    """

    name: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check the shares."""
        shares = list(self.shares.values())
        if len(shares) < 2 or min(shares) <= 0 or abs(sum(shares) - 1) > SLACK:
            raise ConfigError(
                f"{self.name}: arms {dict(self.shares)} are refused; give two or more shares above 0 that sum to 1"
            )

    def arm(self, unit: str) -> str:
        """The arm of a customer: the same always and everywhere.

        Args:
            unit: What stands for the customer; a pseudonym where nobody may foretell the arm.
        """
        draw, edges = uniform((self.name, unit), "assign"), accumulate(self.shares.values())
        return next((arm for arm, edge in zip(self.shares, edges, strict=True) if draw < edge), list(self.shares)[-1])


class Arm(Settings):
    """One arm of an experiment: what its customers are shown."""

    name: str = Field(min_length=1, max_length=64, examples=["list"], description="What it is called.")
    share: float = Field(gt=0, lt=1, examples=[0.5], description="Its share of the customers who take part.")
    prices: Prices = Field(
        "learned",
        examples=["list"],
        description="Prices as the policy says (`learned`), the same without customers' data (`no-personal`), one cut "
        "from list for everything (`uniform`), or list prices (`list`).",
    )
    cut: float | None = Field(
        None, gt=0, lt=1, examples=[None], description="Share that a `uniform` arm takes off list, inside the limits."
    )

    @model_validator(mode="after")
    def _cut_goes_with_uniform(self) -> Arm:
        if (self.prices == "uniform") != (self.cut is not None):
            raise ConfigError(
                f"arm {self.name!r}: a cut and prices: uniform go together; write cut: 0.1, or leave both out"
            )
        return self


class Experiment(Days):
    """A live test of prices; its first arm is the control."""

    name: str = Field(
        min_length=1,
        max_length=64,
        examples=["learned-1"],
        description="What it is called; a new test has a new name, so that customers are split anew.",
    )
    arms: tuple[Arm, ...] = Field(
        examples=[[{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}]],
        description="Two or more, the control first; their shares sum to 1.",
    )
    holdout: float = Field(
        0.0, ge=0, lt=1, examples=[0.1], description="Share of all customers who take no part and see what others do."
    )
    effect: float = Field(
        gt=0,
        examples=[0.43],
        description="Change of profit a customer that the test is built for, currency units; `fairtag experiment plan` "
        "prints it.",
    )
    margin: float = Field(
        0.05,
        gt=0,
        lt=1,
        examples=[0.05],
        description="Largest tolerated fall of conversion, as a share of the control's.",
    )
    window_days: float = Field(
        7.0, gt=0, examples=[7.0], description="Days from a customer's first page that count for the customer."
    )
    confidence: float = Field(
        0.95, ge=0.5, lt=1, examples=[0.95], description="Level of the test, over all looks at it together."
    )
    stopped: bool = Field(False, examples=[False], description="Whether it was stopped (`fairtag experiment stop`).")

    @model_validator(mode="after")
    def _arms_fit(self) -> Experiment:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names) or HOLDOUT in names:
            raise ConfigError(f"experiment {self.name!r}: arms {names}; give each a name of its own, none {HOLDOUT!r}")
        Split(f"experiment {self.name!r}", {arm.name: arm.share for arm in self.arms})
        return self

    @cached_property
    def split(self) -> Split:
        """How customers are split, the holdout last; the first arm is the control."""
        shares = {arm.name: arm.share * (1 - self.holdout) for arm in self.arms}
        return Split(self.name, {**shares, HOLDOUT: self.holdout} if self.holdout else shares)

    def runs(self, day: date) -> bool:
        """Whether customers are assigned on a day."""
        return not self.stopped and self.hold(day)

    def same_test(self, other: Experiment) -> bool:
        """Whether they differ in nothing but how long they run."""
        ends = {"ends": None, "stopped": False}
        return self.model_copy(update=ends) == other.model_copy(update=ends)

    @property
    def words(self) -> str:
        """The experiment in one line."""
        arms = ", ".join(f"{arm.name} {arm.share:.0%} {_shown(arm)}" for arm in self.arms)
        days = [f"{word} {day}" for word, day in (("from", self.starts), ("to", self.ends)) if day is not None]
        held = f", {self.holdout:.0%} held out" if self.holdout else ""
        return f"{self.name} ({arms}{held}){''.join(f' {each}' for each in days)}{' stopped' if self.stopped else ''}"


class Assignment(NamedTuple):
    """The experiment and the arm of one customer, and what the arm shows.

    Args:
        experiment: Name of the experiment.
        arm: Name of the arm, or :data:`HOLDOUT`.
        prices: What the arm shows.
        cut: Share off list of a ``uniform`` arm.
    """

    experiment: str
    arm: str
    prices: Prices = "learned"
    cut: float = 0.0

    @property
    def impersonal(self) -> bool:
        """Whether no customer's data may move the prices."""
        return self.prices != "learned"


def assign(experiments: Sequence[Experiment], unit: str, day: date) -> Assignment | None:
    """The arm of a customer on a day; None where no experiment runs.

    Args:
        experiments: Of the policy.
        unit: What stands for the customer or the guest's session.
        day: The date on which the price day begins, UTC.
    """
    running = next((each for each in experiments if each.runs(day)), None)
    if running is None:
        return None
    name = running.split.arm(unit)
    arm = next((each for each in running.arms if each.name == name), None)
    if arm is None:
        return Assignment(running.name, HOLDOUT)
    return Assignment(running.name, name, arm.prices, arm.cut or 0.0)


def declared(experiments: Sequence[Experiment], name: str = "") -> tuple[Experiment, ...]:
    """Experiments as they were declared last, each name once, in the order of their first declaration.

    Args:
        experiments: Of all versions of a policy, oldest first.
        name: Only this one; all when empty.

    Raises:
        ConfigError: There is none, or none of this name.
    """
    found = {each.name: each for each in experiments}
    if not found or (name and name not in found):
        known = ", ".join(found) or "none: the section experiments of policy.yaml declares one (docs/policy.md)"
        raise ConfigError(f"experiment {name!r}: no such experiment; there are {known}")
    return tuple(found[each] for each in found if name in ("", each))


def stopped(experiments: Sequence[Experiment], name: str) -> list[dict[str, Any]]:
    """The documents of experiments with one of them stopped.

    Raises:
        ConfigError: None of this name is there, or it is stopped already.
    """
    running = [each.name for each in experiments if not each.stopped]
    if name not in running:
        known = ", ".join(running) or "none"
        raise ConfigError(f"experiment {name!r}: there is none to stop; those that are not stopped: {known}")
    documents = [each.model_dump(mode="json", exclude_unset=True) for each in experiments]
    return [{**document, "stopped": True} if document["name"] == name else document for document in documents]


def require_one_at_a_time(experiments: Sequence[Experiment]) -> None:
    """Raise where two experiments have one name, or run on the same day.

    Raises:
        ConfigError: They do.
    """
    for number, each in enumerate(experiments):
        for other in experiments[:number]:
            if each.name == other.name:
                raise ConfigError(f"experiments.{number}: {each.name!r} is there twice; a new test needs a new name")
            if not each.stopped and not other.stopped and each.meet(other):
                raise ConfigError(
                    f"experiments.{number}: {each.name!r} and {other.name!r} run on the same days, and an item has one "
                    "price; give them other days, or stop one (fairtag experiment stop)"
                )


def require_same_arms(experiments: Sequence[Experiment], earlier: Sequence[Experiment]) -> None:
    """Raise where an experiment differs from an earlier one of its name: its customers would change arms.

    Args:
        experiments: What is to hold.
        earlier: What has held.

    Raises:
        ConfigError: It does.
    """
    known = {each.name: each for each in earlier}
    for each in experiments:
        if each.name in known and not each.same_test(known[each.name]):
            raise ConfigError(
                f"experiments: {each.name!r} has run with other settings ({known[each.name].words}); only ends and "
                "stopped may change, or customers would change arms: give the new test a new name"
            )


def _shown(arm: Arm) -> str:
    return f"list less {arm.cut:.0%}" if arm.cut is not None else arm.prices
