from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base.errors import ForbiddenAttribute, RequestError
from fairtag.fairness.forbidden import FORBIDDEN, forbidden_attribute
from serving.protocol.payload import (
    SEARCH_ONLY,
    Page,
    PageItem,
    PageRequest,
    VerifyRequest,
    parse_instances,
    parse_verify,
)
from serving.protocol.tensors import INPUTS, OUTPUTS, Tensor, page_tensors, parse_tensors, request_tensors, tensor_pages
from serving.settings import Limits

LIMITS = Limits()
SEARCH = {"task": "search", "query": "drill"}


def refusal(body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_instances(body, LIMITS)
    return caught.value


def test_the_shortest_search_is_a_query() -> None:
    (request,) = parse_instances({"instances": [{"query": "drill"}]}, LIMITS)
    assert request == PageRequest(task="search", query="drill", page_size=24)


@pytest.mark.parametrize(
    ("instance", "field", "rule"),
    [
        ({"task": "search"}, "instances[0].query", "needs a query"),
        ({"task": "price"}, "instances[0].item_ids", "needs item_ids"),
        ({"task": "haggle", "query": "x"}, "instances[0].task", "input should be 'search' or 'price'"),
        ({"query": "   "}, "instances[0].query", "not all blank"),
        ({"query": "x" * 513}, "instances[0].query", "1 to 512"),
        ({"query": "\ud800"}, "instances[0].query", "unicode"),
        ({"query": 5}, "instances[0].query", "valid string"),
        ({"query": "x", "page_size": 0}, "instances[0].page_size", "greater than or equal to 1"),
        ({"query": "x", "page_size": 101}, "instances[0].page_size", "1 to 100"),
        ({"query": "x", "page_size": "24"}, "instances[0].page_size", "valid integer"),
        ({"query": "x", "page_size": True}, "instances[0].page_size", "valid integer"),
        ({"query": "x", "page_size": math.nan}, "instances[0].page_size", "valid integer"),
        ({"query": "x", "opted_out": "no"}, "instances[0].opted_out", "valid boolean"),
        ({"query": "x", "jurisdiction": "Bavaria"}, "instances[0].jurisdiction", "pattern"),
        ({"query": "x", "user_id": ""}, "instances[0].user_id", "1 to 128"),
        ({"query": "x", "user_id": "a\nb"}, "instances[0].user_id", "control"),
        ({"query": "x", "item_ids": ["a"]}, "instances[0].item_ids", "task price"),
        ({"query": "x", "colour": "red"}, "instances[0].colour", "no such field"),
        ({"task": "price", "item_ids": []}, "instances[0].item_ids", "1 to 200"),
        ({"task": "price", "item_ids": ["a"] * 201}, "instances[0].item_ids", "1 to 200"),
        ({"task": "price", "item_ids": ["a", "b", "a"]}, "instances[0].item_ids", "once"),
        ({"task": "price", "item_ids": ["a", 7]}, "instances[0].item_ids[1]", "valid string"),
        ({"task": "price", "item_ids": "a"}, "instances[0].item_ids", "valid tuple"),
        ("drill", "instances[0]", "JSON object"),
        (None, "instances[0]", "JSON object"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(instance: Any, field: str, rule: str) -> None:
    error = refusal({"instances": [instance]})
    assert error.field == field
    assert rule in str(error).lower() or rule in str(error)
    assert error.status == 400


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"instances": {}}, {"instances": []}, {"instances": [SEARCH] * 17}]
)
def test_a_body_that_asks_for_no_pages_or_too_many_is_refused(body: Any) -> None:
    assert refusal(body).status == 400


def test_a_model_folder_is_refused_as_not_served_yet() -> None:
    assert refusal({"instances": [{"task": "bundle", "wish": "a garden party"}]}).status == 501


@pytest.mark.parametrize("attribute", sorted(spellings[0] for spellings in FORBIDDEN.values()))
def test_a_protected_attribute_is_refused_wherever_it_stands(attribute: str) -> None:
    for body in (
        {"instances": [{**SEARCH, attribute: "x"}]},
        {"instances": [{**SEARCH, "context": {"deep": [{attribute: 1}]}}]},
        {"instances": [SEARCH], attribute: "x"},
    ):
        error = refusal(body)
        assert isinstance(error, ForbiddenAttribute)
        assert error.status == 422


def test_a_protected_attribute_is_named_even_when_another_rule_is_broken_first() -> None:
    error = refusal({"instances": [{"task": "search", "page_size": 0, "gender": "f"}]})
    assert error.status == 422
    assert error.field == "instances[0].gender"


def test_no_message_shows_a_user_id_or_a_protected_value() -> None:
    shown = [
        str(refusal({"instances": [{**SEARCH, "user_id": 4711}]})),
        str(refusal({"instances": [{**SEARCH, "user_id": "secret-user" * 20}]})),
        str(refusal({"instances": [{**SEARCH, "religion": "secret-user"}]})),
    ]
    assert not any("secret-user" in text or "4711" in text for text in shown)


def test_no_field_of_ours_is_a_protected_attribute() -> None:
    ours = [*PageRequest.model_fields, *VerifyRequest.model_fields, *(spec.name for spec in (*INPUTS, *OUTPUTS))]
    assert [name for name in ours if forbidden_attribute(name)] == []


def test_a_verification_needs_a_quote_and_an_item() -> None:
    with pytest.raises(RequestError, match="item_id"):
        parse_verify({"quote": "x"}, LIMITS)
    with pytest.raises(ForbiddenAttribute):
        parse_verify({"quote": "x", "item_id": "a", "ethnicity": "x"}, LIMITS)
    assert parse_verify({"quote": "x", "item_id": "a"}, LIMITS).price_minor is None


def test_a_quote_that_is_refused_is_not_shown() -> None:
    with pytest.raises(RequestError) as caught:
        parse_verify({"quote": 12345, "item_id": "a"}, LIMITS)
    assert "12345" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELD = st.sampled_from([*PageRequest.model_fields, "gender", "wish"])


@settings(max_examples=1_500, deadline=None)
@given(st.dictionaries(FIELD | st.text(max_size=8), JSON, max_size=8))
@pytest.mark.slow
def test_any_json_is_either_a_request_or_a_refusal(instance: dict[str, Any]) -> None:
    try:
        (request,) = parse_instances({"instances": [instance]}, LIMITS)
    except RequestError:
        return
    assert request.query or request.item_ids


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(str.strip)
REQUEST = st.one_of(
    st.fixed_dictionaries(
        {"task": st.just("search"), "query": TEXT},
        optional={
            "user_id": TEXT,
            "session_id": TEXT,
            "opted_out": st.booleans(),
            "page_size": st.integers(1, 100),
            "category": st.lists(TEXT, min_size=1, max_size=3),
            "brand": st.lists(TEXT, min_size=1, max_size=3),
            "price_min_minor": st.integers(0, 2**53),
            "price_max_minor": st.integers(0, 2**53),
            "facets": st.lists(st.sampled_from(["category", "brand", "price"]), min_size=1),
            "as_typed": st.booleans(),
            "fields": st.lists(st.sampled_from(["title", "description", "category", "brand", "url"]), min_size=1),
        },
    ),
    st.fixed_dictionaries(
        {"task": st.just("price"), "item_ids": st.lists(TEXT, min_size=1, max_size=5, unique=True)},
        optional={"query": TEXT, "jurisdiction": st.sampled_from(["DE", "US-NY"])},
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(REQUEST, min_size=1, max_size=5))
def test_tensors_say_what_json_says(requests: list[dict[str, Any]]) -> None:
    tensors = request_tensors(requests)
    assert parse_tensors(tensors, None, LIMITS) == parse_instances({"instances": requests}, LIMITS)


TENSOR = st.builds(
    Tensor,
    st.sampled_from([*(spec.name for spec in INPUTS), "gender", "x"]),
    st.sampled_from(["BYTES", "BOOL", "INT32", "INT64", "FP32", "FP64", "??"]),
    st.lists(st.integers(-1, 3), max_size=3).map(tuple),
    st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), max_size=6),
)


@settings(max_examples=1_500, deadline=None)
@given(st.lists(TENSOR, max_size=4), st.none() | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2))
@pytest.mark.slow
def test_any_tensors_are_either_requests_or_a_refusal(tensors: list[Tensor], parameters: dict[str, int] | None) -> None:
    try:
        requests = parse_tensors(tensors, parameters, LIMITS)
    except RequestError:
        return
    assert all(request.query or request.item_ids for request in requests)


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (Tensor("query", "FP32", (1,), [1.0]), "datatype must be BYTES"),
        (Tensor("query", "BYTES", (2,), ["a"]), "holds 2"),
        (Tensor("query", "BYTES", (1, 1), ["a"]), "must have 1 axes"),
        (Tensor("query", "BYTES", (-1,), ["a"]), "must have 1 axes"),
        (Tensor("query", "BYTES", (1,), [1]), "must be UTF-8 text"),
        (Tensor("page_size", "INT32", (1,), [2**31]), "32 bits"),
        (Tensor("opted_out", "BOOL", (1,), [1]), "true or false"),
        (Tensor("colour", "BYTES", (1,), ["red"]), "no such tensor"),
    ],
)
def test_a_broken_tensor_is_named_with_its_rule(tensor: Tensor, rule: str) -> None:
    with pytest.raises(RequestError, match=rule):
        parse_tensors([tensor], None, LIMITS)


def test_a_protected_attribute_is_refused_as_a_tensor_and_as_a_parameter() -> None:
    query = Tensor("query", "BYTES", (1,), ["drill"])
    with pytest.raises(ForbiddenAttribute):
        parse_tensors([query, Tensor("gender", "BYTES", (1,), ["f"])], None, LIMITS)
    with pytest.raises(ForbiddenAttribute):
        parse_tensors([query], {"religion": "x"}, LIMITS)


ITEM = st.fixed_dictionaries(
    {
        "item_id": TEXT,
        "title": st.none() | TEXT,
        "rank": st.integers(1, 99),
        "similarity": st.floats(0, 1),
        "list_price_minor": st.integers(1, 10**9),
        "price_minor": st.integers(1, 10**9),
        "currency": st.just("EUR"),
        "personalised": st.booleans(),
        "reasons": st.lists(st.sampled_from(["ANCHOR", "OPTED_OUT"]), max_size=2),
        "purchase_probability": st.floats(0, 1),
    }
)
FACET = st.fixed_dictionaries(
    {
        "field": st.sampled_from(["category", "brand", "price"]),
        "value": TEXT,
        "count": st.integers(1, 10**6),
        "low_minor": st.none() | st.integers(0, 2**53),
        "high_minor": st.none() | st.integers(0, 2**53),
    }
)
TEXTS = ("description", "category", "brand", "url", "image")
PAGE = st.fixed_dictionaries(
    {
        "quote_id": TEXT,
        "quote": TEXT,
        "session_id": st.none() | TEXT,
        "task": st.sampled_from(["search", "price"]),
        "issued_at": TEXT,
        "expires_at": TEXT,
        "epoch": st.integers(0, 10**6),
        "currency": st.just("EUR"),
        "model_version": TEXT,
        "personalised": st.booleans(),
        "disclosure": st.none() | TEXT,
        "feature_age_seconds": st.none() | st.floats(0, 1e9),
        "degraded": st.none() | TEXT,
        "policy_version": st.integers(0, 99),
        "experiment": st.none() | TEXT,
        "arm": st.none() | TEXT,
        "corrected_query": st.none() | TEXT,
        "price_min_minor": st.none() | st.integers(0, 2**53),
        "price_max_minor": st.none() | st.integers(0, 2**53),
        "notice": st.none() | TEXT,
        "facets": st.lists(FACET, max_size=3),
        "unknown_items": st.lists(TEXT, max_size=3),
        "unpriced_items": st.lists(TEXT, max_size=3),
        "items": st.lists(ITEM, max_size=4),
    }
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PAGE, min_size=1, max_size=3))
def test_pages_survive_the_way_through_tensors(pages: list[dict[str, Any]]) -> None:
    assert tensor_pages(page_tensors(pages)) == pages
    assert set(pages[0]) == set(Page.model_fields)
    assert {spec.name for spec in OUTPUTS} - set(TEXTS) == {tensor.name for tensor in page_tensors(pages)}
    assert all({*item, *TEXTS} == set(PageItem.model_fields) for page in pages for item in page["items"])


@settings(max_examples=50, deadline=None)
@given(st.lists(PAGE, min_size=1, max_size=3), st.lists(st.sampled_from(TEXTS), unique=True, min_size=1), st.data())
def test_texts_that_were_asked_for_survive_too(pages: list[dict[str, Any]], fields: list[str], data: Any) -> None:
    for item in (item for page in pages for item in page["items"]):
        item |= {name: data.draw(st.none() | TEXT) for name in fields}
    assert tensor_pages(page_tensors(pages)) == pages


@pytest.mark.parametrize("name", SEARCH_ONLY)
def test_filters_and_facets_go_with_a_search_alone(name: str) -> None:
    value: Any = 5 if name.endswith("minor") else ["category"] if name == "facets" else ["tools"]
    parse_instances({"instances": [{"query": "drill", name: value}]}, LIMITS)
    error = refusal({"instances": [{"task": "price", "item_ids": ["1"], name: value}]})
    assert f"{name} goes with the task search" in str(error)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("category", [], "send 1 to 50 values"),
        ("brand", ["x"] * 51, "send 1 to 50 values"),
        ("category", ["a\x00b"], "no control character"),
        ("price_max_minor", -1, "greater than or equal to 0"),
        ("price_min_minor", 1.5, "valid integer"),
        ("facets", ["colour"], "'category', 'brand' or 'price'"),
        ("fields", ["unit_cost"], "'title', 'description'"),
        ("as_typed", 1, "valid boolean"),
    ],
)
def test_a_broken_filter_is_named_with_its_rule(field: str, value: Any, rule: str) -> None:
    error = refusal({"instances": [{**SEARCH, field: value}]})
    assert field in error.field
    assert rule in str(error)
