"""The disclosure table: dates, places, texts to the byte, and doubt resolved towards the customer."""

import json
from datetime import date, timedelta

import pytest

from fairtag.base.errors import ConfigError
from fairtag.policy.disclosure import DEFAULT, read_disclosures

TODAY = date(2026, 11, 22)
TABLE = read_disclosures()


def test_the_new_york_text_is_exact_to_the_byte():
    rule = TABLE.rule("US-NY", TODAY)
    assert rule.text.encode() == b"THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
    assert rule.text_is_statutory
    assert rule.personalisation


@pytest.mark.parametrize("code", ["EU", "DE", "fr", "DE-BY", "de_by", " European  Union ", "EL", "GR"])
def test_member_states_and_their_regions_take_the_union_rule(code):
    rule = TABLE.rule(code, TODAY)
    assert rule.jurisdiction == "EU"
    assert rule.personalisation
    assert "automated decision-making" in rule.text


@pytest.mark.parametrize("code", ["UK", "gb", "GB-SCT", "United Kingdom"])
def test_spellings_of_the_united_kingdom(code):
    assert TABLE.rule(code, TODAY).jurisdiction == "GB"


@pytest.mark.parametrize("code", [None, "", "XX", "US", "US-CA", "US-DE", "NO", "CH", "default", "DEFAULT", "💥"])
def test_an_unknown_place_has_no_personal_prices(code):
    rule = TABLE.rule(code, TODAY)
    assert rule.jurisdiction == DEFAULT
    assert not rule.personalisation
    assert rule.text is None


@pytest.mark.parametrize("code", ["US-MD", "US-CT", "CN"])
def test_personal_prices_are_off_where_the_law_restricts_them_in_ways_the_table_cannot_tell_apart(code):
    rule = TABLE.rule(code, TODAY)
    assert rule.jurisdiction == code
    assert not rule.personalisation
    assert rule.counsel


@pytest.mark.parametrize(
    "rule", [rule for rule in TABLE.rules if rule.jurisdiction != DEFAULT], ids=lambda r: r.jurisdiction
)
def test_each_rule_begins_on_its_day_and_not_before(rule):
    assert TABLE.rule(rule.jurisdiction, rule.effective) == rule
    assert TABLE.rule(rule.jurisdiction, rule.effective - timedelta(days=1)).jurisdiction == DEFAULT


def test_all_places_the_product_promises_are_there_with_a_source():
    assert {rule.jurisdiction for rule in TABLE.rules} == {DEFAULT, "EU", "US-NY", "US-MD", "US-CT", "CN", "GB"}
    assert all(rule.source for rule in TABLE.rules)
    assert all(rule.text for rule in TABLE.rules if rule.personalisation)


def row(**changes):
    base = {
        "jurisdiction": "EU",
        "effective": "2020-01-01",
        "personalisation": True,
        "text": "told",
        "text_is_statutory": False,
        "source": "s",
        "counsel": "",
    }
    return {**base, **changes}


OFF = row(jurisdiction="default", effective="1970-01-01", personalisation=False, text=None)


def table_of(tmp_path, rules, **changes):
    path = tmp_path / "disclosure.json"
    document = {"schema": "fairtag.disclosure/1", "version": "1", "aliases": {}, "rules": rules}
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_a_newer_row_replaces_an_older_one_on_its_day_and_an_ended_one_falls_back(tmp_path):
    rules = [
        OFF,
        row(until="2022-01-01"),
        row(effective="2021-01-01", text="newer", until="2022-01-01"),
    ]
    table = read_disclosures(table_of(tmp_path, rules))
    assert table.rule("EU", date(2020, 12, 31)).text == "told"
    assert table.rule("EU", date(2021, 1, 1)).text == "newer"
    assert table.rule("EU", date(2022, 1, 1)).jurisdiction == DEFAULT


def test_a_span_of_days_in_which_the_rule_changes_has_no_personal_prices(tmp_path):
    rules = [OFF, row(until="2022-01-01"), row(effective="2021-01-01", text="newer", until="2021-01-03")]
    table = read_disclosures(table_of(tmp_path, rules))
    assert table.rule_between("EU", date(2020, 12, 1), date(2020, 12, 31)).text == "told"
    assert table.rule_between("EU", date(2021, 1, 1), date(2021, 1, 2)).text == "newer"
    for first, last in (((2020, 12, 31), (2021, 1, 1)), ((2020, 12, 31), (2021, 1, 7)), ((2021, 12, 31), (2022, 1, 1))):
        assert table.rule_between("EU", date(*first), date(*last)).jurisdiction == DEFAULT


@pytest.mark.parametrize(
    ("rules", "changes", "message"),
    [
        ([OFF], {"schema": "other/1"}, "schema"),
        ([row()], {}, "exactly one rule"),
        ([OFF, OFF], {}, "exactly one rule"),
        ([OFF, row(text=None)], {}, "need a disclosure text"),
        ([row(jurisdiction="default")], {}, "must be off"),
        ([OFF, row(until="2019-01-01")], {}, "before it begins"),
        ([OFF], {"aliases": {"US-ZZ": ["ZED"]}}, "has no rule"),
        ([OFF, row(personalisation="false")], {}, "true or false"),
        ([OFF, row(effective="soon")], {}, "cannot be read"),
        ([OFF, {"jurisdiction": "EU"}], {}, "cannot be read"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, rules, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_disclosures(table_of(tmp_path, rules, **changes))


def test_the_table_is_in_the_wheel():
    from importlib import resources

    assert (resources.files("fairtag.policy") / "disclosure.json").is_file()
