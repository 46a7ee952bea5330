"""Protected attributes are found however they are spelt and wherever they hide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base import schema
from fairtag.base.errors import ForbiddenAttribute, RequestError
from fairtag.fairness import forbidden
from fairtag.fairness.forbidden import (
    FORBIDDEN,
    NAMING_KEYS,
    find_forbidden,
    forbidden_attribute,
    refuse_forbidden,
    refuse_forbidden_features,
    words,
)

EVERY_SPELLING = [(attribute, phrase) for attribute, phrases in FORBIDDEN.items() for phrase in phrases]


@pytest.mark.parametrize(("attribute", "phrase"), EVERY_SPELLING)
def test_every_spelling_is_found_in_every_case_style(attribute, phrase):
    parts = phrase.split()
    styles = [
        "_".join(parts),
        "-".join(parts).upper(),
        parts[0] + "".join(p.title() for p in parts[1:]),
        "".join(p.title() for p in parts),
        "".join(parts),
        "user_" + "_".join(parts),
        "customer" + "".join(p.title() for p in parts),
        " ".join(parts) + "_2",
    ]
    # A longer phrase may be claimed by a shorter one of another attribute; refused it must be all the same.
    assert all(forbidden_attribute(style) is not None for style in styles)
    assert forbidden_attribute("_".join(parts)) in FORBIDDEN


@pytest.mark.parametrize(
    ("key", "attribute"),
    [
        ("\uff47\uff45\uff4e\uff44\uff45\uff52", "sex"),  # full-width
        ("g\u0435nd\u0435r", "sex"),  # Cyrillic
        ("\u0391g\u0395", "age"),  # Greek capitals
        ("Sèxe", "sex"),
        ("gen\u200bder", "sex"),  # zero-width space
        ("g_e_n_d_e_r", "sex"),
        ("USERGENDER", "sex"),
        ("shopperDOB", "age"),
        ("user.demographics.ageBand", "age"),
        ("latLng", "precise location"),
    ],
)
def test_tricks_of_script_and_separator_do_not_hide_a_key(key, attribute):
    assert forbidden_attribute(key) == attribute


@pytest.mark.parametrize("table", [*schema.TABLES, schema.QUOTES, schema.OUTCOMES], ids=lambda table: table.name)
def test_no_column_of_our_own_is_refused(table):
    assert [name for name in table.names if forbidden_attribute(name)] == []


@pytest.mark.parametrize(
    "key",
    [
        "page_size",
        "message",
        "package",
        "image",
        "language",
        "percentage",
        "agent",
        "platform",
        "tracer",
        "sextant",
        "agentic",
        "user_id",
        "session",
        "storage",
        "instances",
        "parameters",
        "datatype",
        "shape",
        "123",
        "-",
    ],
)
def test_innocent_words_that_contain_a_forbidden_one_pass(key):
    assert forbidden_attribute(key) is None


def test_the_path_of_a_nested_key_is_given():
    payload = {"instances": [{"query": "drill"}, {"user": {"profile": [{"x": 1}, {"Date-Of-Birth": "1990-01-01"}]}}]}
    assert list(find_forbidden(payload)) == [
        ("$.instances[1].user.profile[1].Date-Of-Birth", "Date-Of-Birth", "age"),
    ]


@pytest.mark.parametrize("naming", sorted(NAMING_KEYS))
def test_an_attribute_named_by_a_value_is_found(naming):
    payload = {"inputs": [{naming: "customer_gender", "data": ["f"]}]}
    assert [attribute for _, _, attribute in find_forbidden(payload)] == ["sex"]


def test_a_product_title_or_a_query_is_text_and_not_a_name():
    payload = {
        "query": "gender reveal balloons",
        "items": [{"name": "race car, age 3+"}, {"title": "Income tax guide"}],
    }
    assert list(find_forbidden(payload)) == []


def test_the_refusal_carries_path_and_status_and_never_the_value():
    with pytest.raises(ForbiddenAttribute) as caught:
        refuse_forbidden({"user": {"religion": "SECRET-VALUE"}}, "instances[0]")
    error = caught.value
    assert isinstance(error, RequestError)
    assert (error.field, error.status) == ("instances[0].user.religion", 422)
    assert "SECRET-VALUE" not in str(error)
    assert "religion" in str(error)


def test_a_payload_nested_a_hundred_thousand_deep_is_searched_without_recursion():
    payload = {"race": 1}
    for _ in range(100_000):
        payload = [payload]
    path, _, attribute = next(find_forbidden(payload))
    assert (path.count("[0]"), attribute) == (100_000, "race")


class Counting(dict):
    """A table that counts how often it is asked."""

    asked = 0

    def get(self, key, default=None):
        self.asked += 1
        return super().get(key, default)


def test_a_huge_key_costs_a_few_lookups_a_word_and_is_not_remembered(monkeypatch):
    phrases = Counting(forbidden._PHRASES)
    monkeypatch.setattr(forbidden, "_PHRASES", phrases)
    remembered = forbidden._cached.cache_info().currsize
    huge = "a b " * 10_000
    assert forbidden_attribute(huge) is None
    assert phrases.asked <= 20_000 * len(forbidden._SIZES), "a scan of every phrase at every place asks 100 times more"
    assert forbidden_attribute(huge + "gender") == "sex"
    assert forbidden._cached.cache_info().currsize == remembered


def test_thousands_of_different_keys_are_remembered_up_to_a_limit():
    refuse_forbidden({f"field_{k}_{'x' * (k % 40)}": 1 for k in range(6_000)})
    assert forbidden._cached.cache_info().currsize <= 4_096


def test_clean_payloads_and_features_pass():
    refuse_forbidden(
        {"query": "drill", "user_id": "u1", "page_size": 24, "items": [{"item_id": "i1", "list_price": 9}]}
    )
    refuse_forbidden_features(schema.USER_PRICING_FEATURES)
    with pytest.raises(ForbiddenAttribute, match=r"features\.zip_code"):
        refuse_forbidden_features(["recency_days", "zip_code"])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@pytest.mark.slow
def test_any_json_is_searched_without_an_error(payload):
    for path, key, attribute in find_forbidden(payload):
        assert path.startswith("$")
        assert attribute in FORBIDDEN
        assert words(key)


def test_keys_that_are_not_text_are_searched_as_text():
    assert [hit[2] for hit in find_forbidden({1: {"age": 3}, None: 2})] == ["age"]


@pytest.mark.parametrize(
    ("key", "attribute"),
    [
        ("customerEducation", "education"),
        ("education_level", "education"),
        ("OCCUPATION", "occupation"),
        ("job-title", "occupation"),
        ("isRetired", "retirement"),
        ("userRetired", "retirement"),
        ("familySize", "family status"),
        ("FAMILY_SIZE", "family status"),
        ("hhsize", "family status"),
        ("household members", "family status"),
    ],
)
def test_stand_ins_for_income_are_protected_in_any_spelling(key, attribute):
    assert forbidden_attribute(key) == attribute


@pytest.mark.parametrize("key", ["degree", "job", "college", "size", "family_pack", "career_id"])
def test_words_of_products_and_work_are_not(key):
    assert forbidden_attribute(key) is None
