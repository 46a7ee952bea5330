"""The study of two real experiments, on made-up tables of their shape."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import personal_gain as study
from fairtag.base.errors import MissingDataError


def mails(n, gain):
    """Customers of whom half like one mail and half the other."""
    rng = np.random.default_rng(0)
    mens, arm = rng.integers(0, 2, n), rng.integers(0, 3, n)
    liked = np.where(arm == 0, 0.0, np.where((arm == 1) == (mens == 1), gain, -gain))
    visit = rng.random(n) < 0.3 + liked
    return pd.DataFrame(
        {
            "recency": rng.integers(1, 12, n),
            "history": rng.exponential(200, n),
            "mens": mens,
            "womens": 1 - mens,
            "newbie": rng.integers(0, 2, n),
            "zip_code": rng.choice(["Urban", "Rural"], n),
            "channel": rng.choice(["Phone", "Web"], n),
            "segment": np.array(study.MAILS)[arm],
            "visit": visit.astype(int),
            "conversion": visit.astype(int),
            "spend": visit * 10.0,
        }
    )


@pytest.mark.parametrize(("gain", "advice"), [(0.2, 1.0), (0.0, 0.0)])
def test_a_planted_difference_between_customers_is_found_and_none_is_not(tmp_path, gain, advice):
    (tmp_path / "hillstrom").mkdir()
    mails(3_000, gain).to_parquet(tmp_path / "hillstrom" / "hillstrom.parquet")
    trial = study.mail_trial(tmp_path)
    rows = {row.metric: row for row in study.gain_rows("mail", trial, study.evaluate(trial, trial.outcomes["visits"]))}
    assert rows["personalise_mail"].value == advice
    if gain:
        assert rows["mail_gain"].low < 0.2 < rows["mail_gain"].high + 0.05


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"letters\.parquet is absent"):
        study.gift_trial(tmp_path)
