"""The policy of a shop is in the currency of its tables, or it is refused."""

import pandas as pd
import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.tables import Tables
from fairtag.training.model import shop_policy


def shop(code):
    empty = pd.DataFrame()
    return Tables(empty, empty, empty, empty, metadata={"currency": code})


def test_a_policy_that_names_no_currency_takes_that_of_the_tables():
    policy = shop_policy(shop("JPY"), '{"limits": {"max_discount": 0.1, "endings": [80], "ending_period": 100}}')
    assert (policy.currency, policy.limits.minor_per_unit, policy.limits.max_discount) == ("JPY", 1, 0.1)
    assert policy.limits.endings == (80,)


def test_a_policy_in_another_currency_than_the_tables_is_refused():
    changes = '{"currency": "USD"}'
    with pytest.raises(ConfigError, match=r"policy\.currency is USD, the tables are in EUR"):
        shop_policy(shop("EUR"), changes)
    assert shop_policy(shop("USD"), changes).currency == "USD"
