"""docs/policy.md: its example is a policy, and its table is the code's."""

import re
from pathlib import Path

from fairtag.policy.policy_reference import reference_table
from fairtag.policy.shop_policy import read_policy

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_example_is_accepted(tmp_path):
    (tmp_path / "policy.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    policy = read_policy(tmp_path / "policy.yaml")
    assert policy.limits.max_discount == 0.2
    assert {"pins", "promotions", "exclusions", "endings", "personal_prices", "approval"} <= policy.document().keys()


def test_the_table_is_the_codes():
    assert reference_table() in PAGE, "write the output of fairtag.policy.policy_reference.reference_table"
