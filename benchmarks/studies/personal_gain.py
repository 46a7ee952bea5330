"""Two real experiments: does a choice for each customer beat the best single arm?

In hillstrom customers of a shop were drawn a men's e-mail, a women's e-mail or none. In charity_price donors were drawn
an offer to match each dollar they give by none, one, two or three. A model fitted on the other folds predicts each
customer's outcome under each arm; only the customer's own history is used, no demographics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from benchmarks.result import Result, Row
from fairtag.base.errors import MissingDataError
from fairtag.evaluation.personal_gain import PersonalGain, personal_gain

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS, SEED = 10, 0
PENALTIES = np.logspace(0, 6, 13)
MAILS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
MAIL_HISTORY = ("recency", "history", "mens", "womens", "newbie")
DONOR_HISTORY = ("hpa", "ltmedmra", "freq", "years", "year5", "mrm2", "dormant")
NOTES = (
    f"Gain: mean outcome a customer under the personal choice less that under the best single arm, doubly robust, 95 % "
    f"interval; models and best arm of each of {FOLDS} folds come from the others. Models: ridge regression on the "
    "customer's own history, one for each arm.",
    "personalise_*: 1 where the whole interval lies above 0, else 0: then the advice is the single arm for everybody.",
    "charity: gifts, not purchases. Neither experiment drew prices of goods.",
)


@dataclass(frozen=True)
class Trial:
    """A randomised experiment.

    Args:
        arms: Names of the arms.
        arm: (n,) drawn arm.
        features: (n, k) the customer's history before the draw.
        outcomes: (n,) by name.
    """

    arms: Sequence[str]
    arm: Ints
    features: Floats
    outcomes: dict[str, Floats]


def run(data: Path) -> Result:
    """Evaluate both experiments.

    Raises:
        MissingDataError: A file is absent.
    """
    rows, verdicts = [], []
    for name, trial in (("mail", mail_trial(data)), ("gift", gift_trial(data))):
        for outcome, values in trial.outcomes.items():
            found = evaluate(trial, values)
            rows += gain_rows(f"{name}_{outcome}", trial, found)
            verdicts.append(f"{name}_{outcome}: {found.verdict}.")
    return Result(tuple(rows), (*NOTES, *verdicts))


def mail_trial(data: Path) -> Trial:
    """The shop's e-mails; visits, purchases and spend of two weeks."""
    table = _read(data / "hillstrom" / "hillstrom.parquet")
    places = pd.get_dummies(table[["zip_code", "channel"]]).to_numpy(dtype=np.float64)
    features = np.column_stack([table[list(MAIL_HISTORY)].to_numpy(dtype=np.float64), places])
    outcomes = {
        name: table[column].to_numpy(dtype=np.float64)
        for name, column in (("visits", "visit"), ("purchases", "conversion"), ("spend", "spend"))
    }
    return Trial(MAILS, table["segment"].map(MAILS.index).to_numpy(dtype=np.int64), features, outcomes)


def gift_trial(data: Path) -> Trial:
    """The charity's letters; whether and how much was given."""
    table = _read(data / "charity_price" / "letters.parquet").dropna(subset=["out_amountgive"])
    history = table[list(DONOR_HISTORY)].astype(np.float64)
    features = history.fillna(history.median()).to_numpy()
    outcomes = {"givers": table["out_gavedum"], "amount": table["out_amountgive"]}
    return Trial(
        [f"match {ratio}:1" for ratio in range(4)],
        table["match_ratio"].to_numpy(dtype=np.int64),
        features,
        {name: column.to_numpy(dtype=np.float64) for name, column in outcomes.items()},
    )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise MissingDataError(f"{path} is absent; --data names the folder that holds {path.parent.name}")
    return pd.read_parquet(path)


def evaluate(trial: Trial, outcome: Floats) -> PersonalGain:
    """Predict every fold by models of the others, and value the choice that follows."""
    n, arms = len(outcome), len(trial.arms)
    fold = np.random.default_rng(SEED).permutation(n) % FOLDS
    predicted = np.zeros((n, arms))
    for number in range(FOLDS):
        own = fold == number
        scale = StandardScaler().fit(trial.features[~own])
        for arm in range(arms):
            others = ~own & (trial.arm == arm)
            model = RidgeCV(PENALTIES).fit(scale.transform(trial.features[others]), outcome[others])
            predicted[own, arm] = model.predict(scale.transform(trial.features[own]))
    share = np.bincount(trial.arm, minlength=arms) / n
    return personal_gain(outcome, trial.arm, share[trial.arm], predicted, fold=fold)


def gain_rows(name: str, trial: Trial, found: PersonalGain) -> list[Row]:
    """Both values, the gain, and the advice."""
    names = ", ".join(sorted({trial.arms[arm] for arm in found.best.tolist()}))
    rows = [
        Row(f"{name}_{kind}", each.value, *each.interval(), reference=reference)
        for kind, each, reference in (("personal", found.personal, None), ("single_arm", found.single, names))
    ]
    return [
        *rows,
        Row(f"{name}_gain", found.gain.value, *found.interval, reference=0.0),
        Row(f"personalise_{name}", float(found.personalise), unit="1: yes"),
    ]
