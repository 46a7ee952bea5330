"""The contract of the endpoint: the fields of a request and of an answer, and the rules that requests must meet.

A request asks for one page, and an answer is one page. :mod:`serving.protocol.tensors` has both as tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fairtag.base.errors import RequestError
from fairtag.fairness.forbidden import refuse_forbidden
from serving.settings import Limits

SEARCH = "search"
PRICE = "price"
TASKS = (SEARCH, PRICE)
DEFAULT_PAGE_SIZE = 24
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode's category Cc
MOST_MINOR = 2**53  # of one price: beyond it JSON loses whole numbers
LISTS = ("item_ids", "category", "brand", "facets", "fields")
SEARCH_ONLY = ("category", "brand", "price_min_minor", "price_max_minor", "facets")
JURISDICTION_PATTERN = r"^[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?$"  # ISO 3166: DE, US-NY


def _whole(value: object) -> object:
    """A whole number as an int: JSON has one kind of number, in which 8.0 is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)


class PageRequest(BaseModel):
    """One page to price."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="PageRequest")

    task: Annotated[
        Literal["search", "price"],
        Field(description="`search` finds items for a query; `price` prices items that your own search found."),
    ] = "search"
    query: Annotated[str | None, Field(description="What the customer typed; required for `search`.")] = None
    item_ids: Annotated[
        tuple[str, ...] | None, Field(description="Items in the order of your search; required for `price`.")
    ] = None
    user_id: Annotated[str | None, Field(description="Your id of the customer; without one no price is personal.")] = (
        None
    )
    session_id: Annotated[
        str | None,
        Field(
            description="A guest's session: the `session_id` of an earlier answer, or your own. `user_id` outranks it."
        ),
    ] = None
    jurisdiction: Annotated[
        str | None,
        Field(pattern=JURISDICTION_PATTERN, description="ISO 3166 code; without a known one no price is personal."),
    ] = None
    opted_out: Annotated[bool, Field(description="The customer refused personal prices.")] = False
    page_size: Annotated[
        int,
        Field(ge=1, description="Most items on the page; without it, `price` prices every item that you send."),
        WHOLE,
    ] = DEFAULT_PAGE_SIZE
    category: Annotated[
        tuple[str, ...] | None, Field(description="Only items of one of these categories; `search` only.")
    ] = None
    brand: Annotated[tuple[str, ...] | None, Field(description="Only items of one of these brands; `search` only.")] = (
        None
    )
    price_min_minor: Annotated[
        int | None, Field(ge=0, le=MOST_MINOR, description="Lowest list price, minor units; `search` only."), WHOLE
    ] = None
    price_max_minor: Annotated[
        int | None, Field(ge=0, le=MOST_MINOR, description="Highest list price, minor units; `search` only."), WHOLE
    ] = None
    facets: Annotated[
        tuple[Literal["category", "brand", "price"], ...] | None,
        Field(description="Facets to count among the items that match the query; `search` only."),
    ] = None
    as_typed: Annotated[
        bool, Field(description="Take the query's words as they are: correct none, read no price from them.")
    ] = False
    fields: Annotated[
        tuple[Literal["title", "description", "category", "brand", "url", "image"], ...] | None,
        Field(description="Columns of the catalogue that each item carries beside its title."),
    ] = None

    @property
    def most_items(self) -> int:
        """Most items on the page: of a `price` request that names no page size, all that it names."""
        if self.item_ids is None or "page_size" in self.model_fields_set:
            return self.page_size
        return len(self.item_ids)


class FacetValue(BaseModel):
    """How many matching items have one value of a facet."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="FacetValue")

    field: Literal["category", "brand", "price"]
    value: Annotated[str, Field(description="Category or brand; of a price range, its ends in currency units.")]
    count: Annotated[int, Field(ge=1, description="Items, under the page's other filters.")]
    low_minor: Annotated[int | None, Field(description="First list price of a range; null where it is no range.")]
    high_minor: Annotated[int | None, Field(description="Last list price of a range; null where it has no end.")]


class PageItem(BaseModel):
    """One priced item of a page; money in integer minor units."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="PageItem")

    item_id: str
    title: Annotated[str | None, Field(description="Its title; null where the catalogue has none.")]
    description: Annotated[str | None, Field(description="Only where `fields` asks for it; null if unknown.")] = None
    category: Annotated[str | None, Field(description="The same.")] = None
    brand: Annotated[str | None, Field(description="The same.")] = None
    url: Annotated[str | None, Field(description="The same: address of the product's page.")] = None
    image: Annotated[str | None, Field(description="The same: address of a picture.")] = None
    rank: Annotated[int, Field(ge=1, description="Position on the page, 1 first.")]
    similarity: Annotated[float, Field(ge=0, le=1, description="Similarity to the query and the customer.")]
    list_price_minor: Annotated[int, Field(ge=1, description="Catalogue price.")]
    price_minor: Annotated[int, Field(ge=1, description="Price to show and to charge.")]
    currency: Annotated[str, Field(description="ISO 4217 code.")]
    personalised: Annotated[bool, Field(description="Whether the customer's own data moved the price.")]
    reasons: Annotated[list[str], Field(description="Reason codes.")]
    purchase_probability: Annotated[
        float | None,
        Field(ge=0, le=1, description="Modelled, on this page at this price; null where demand was not learned."),
    ]


class Page(BaseModel):
    """A priced page."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), title="Page")

    quote_id: str
    quote: Annotated[str, Field(description="Signed prices of the page; send it to `:verify` at checkout.")]
    session_id: Annotated[
        str | None,
        Field(description="A guest's session, new where the request named none: keep it in a cookie and send it back."),
    ]
    task: Literal["search", "price"]
    issued_at: Annotated[str, Field(description="RFC 3339, UTC.")]
    expires_at: Annotated[str, Field(description="RFC 3339, UTC: the prices hold until then.")]
    epoch: Annotated[int, Field(description="Price day: within it a customer sees one price of an item.")]
    currency: str
    model_version: str
    personalised: Annotated[bool, Field(description="Whether any price on the page is personal.")]
    disclosure: Annotated[str | None, Field(description="Text that must be shown with the prices.")]
    feature_age_seconds: Annotated[
        float | None,
        Field(description="Age of the oldest feature used, since it was read or materialised."),
    ]
    degraded: Annotated[
        str | None, Field(description="What is missing, features or price locks; null when the page is whole.")
    ]
    corrected_query: Annotated[
        str | None, Field(description="What was searched for, where words were corrected; null if as typed.")
    ]
    price_min_minor: Annotated[
        int | None, Field(description="Lowest list price that was asked for, in a field or in the words.")
    ]
    price_max_minor: Annotated[int | None, Field(description="Highest list price, likewise.")]
    notice: Annotated[str | None, Field(description="What the customer should be told, such as why nothing was found.")]
    facets: Annotated[list[FacetValue], Field(description="Counts of the facets that were asked for.")]
    policy_version: Annotated[int, Field(description="Version of the live policy; 0 before its first change.")]
    experiment: Annotated[str | None, Field(description="The experiment that runs; null where none does.")]
    arm: Annotated[
        str | None,
        Field(description="The arm of this customer or session, the same for the experiment's whole life."),
    ]
    unknown_items: Annotated[list[str], Field(description="Items asked for that the model's catalogue lacks.")]
    unpriced_items: Annotated[
        list[str], Field(description="Items left out, as they have no list price of at least the smallest coin.")
    ]
    items: list[PageItem]


class VerifyRequest(BaseModel):
    """A quote to honour at checkout."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="VerifyRequest")

    quote: Annotated[str, Field(min_length=1, max_length=65_536, description="The page's `quote`.")]
    item_id: Annotated[str, Field(description="Item at checkout.")]
    user_id: Annotated[str | None, Field(description="Customer at checkout; leave it out if the page had none.")] = None
    price_minor: Annotated[
        int | None, Field(ge=0, description="Price at checkout; leave it out to ask for the price."), WHOLE
    ] = None


class TokenRequest(BaseModel):
    """A browser token to issue, asked for by the shop's server."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="TokenRequest")

    session_id: Annotated[
        str | None,
        Field(
            description="The guest's session: the `session_id` of an earlier answer, or your own. Without one, the "
            "token has a new one."
        ),
    ] = None
    origin: Annotated[str, Field(description="Origin of the web page, one of `FAIRTAG_ALLOWED_ORIGINS`.")]
    user_id: Annotated[str | None, Field(description="Your id of the customer; leave it out for a guest.")] = None
    jurisdiction: Annotated[
        str | None,
        Field(pattern=JURISDICTION_PATTERN, description="Fixes the place; without it the page may send one."),
    ] = None
    opted_out: Annotated[bool | None, Field(description="Fixes the consent; without it the page may send it.")] = None
    seconds: Annotated[
        int | None, Field(ge=1, description="Its life; `FAIRTAG_BROWSER_TOKEN_SECONDS` if left out."), WHOLE
    ] = None


class IssuedToken(BaseModel):
    """A browser token."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="IssuedToken")

    token: Annotated[str, Field(description="For the header `Authorization: Bearer TOKEN`.")]
    session_id: Annotated[
        str, Field(description="Its session. Keep it in a cookie and send it for the next token: the prices stay.")
    ]
    expires_at: Annotated[str, Field(description="RFC 3339, UTC.")]


class VerifiedQuote(BaseModel):
    """The price that an honoured quote guarantees."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), title="VerifiedQuote")

    quote_id: str
    item_id: str
    price_minor: int
    currency: str
    model_version: str
    expires_at: str


def parse_instances(body: object, limits: Limits) -> list[PageRequest]:
    """The pages a V1 body asks for: ``{"instances": [{...}, ...]}``.

    Raises:
        RequestError: Naming field, value and rule.
        ForbiddenAttribute: The body contains a protected attribute.
    """
    try:
        return _parse_body(body, limits)
    except RequestError:
        # A body that meets the contract cannot contain a protected attribute. One that breaks it is searched, so that
        # such data is refused for what it is and not as an unknown field.
        refuse_forbidden(body, "")
        raise


def _parse_body(body: object, limits: Limits) -> list[PageRequest]:
    if not isinstance(body, Mapping):
        raise RequestError("body", type(body).__name__, 'it must be a JSON object {"instances": [...]}')
    for name in body:
        if name != "instances":
            raise RequestError(f"body.{name}", "(not shown)", "the body may hold only `instances`")
    instances = body.get("instances")
    if not isinstance(instances, list):
        raise RequestError("instances", instances, "it must be a list of page requests")
    check_count(len(instances), "instances", limits)
    return [parse_request(instance, f"instances[{index}]", limits) for index, instance in enumerate(instances)]


def check_count(count: int, field: str, limits: Limits) -> None:
    """Refuse a request for no page or for more than the limit."""
    if not 1 <= count <= limits.instances:
        raise RequestError(field, f"{count} pages", f"ask for 1 to {limits.instances} pages in one request")


def parse_request(value: object, field: str, limits: Limits) -> PageRequest:
    """One page request, checked.

    Args:
        value: The decoded JSON value.
        field: Its path in the body, for messages.
        limits: Limits of a request.

    Raises:
        RequestError: Naming field, value and rule.
    """
    if not isinstance(value, Mapping):
        raise RequestError(field, value, "it must be a JSON object")
    if value.get("task") == "bundle":
        raise RequestError(
            f"{field}.task",
            "bundle",
            "bundles from a wish are not served yet; ask for search or price",
            status=501,
        )
    plain = {name: tuple(each) if isinstance(each, list) and name in LISTS else each for name, each in value.items()}
    try:
        request = PageRequest.model_validate(plain)
    except ValidationError as error:
        raise _request_error(error, field) from None
    _check(request, field, limits)
    return request


def parse_verify(body: object, limits: Limits) -> VerifyRequest:
    """A verification request, checked.

    Raises:
        RequestError: Naming field, value and rule.
    """
    if not isinstance(body, Mapping):
        raise RequestError("body", type(body).__name__, "it must be a JSON object")
    try:
        request = VerifyRequest.model_validate(dict(body))
    except ValidationError as error:
        refuse_forbidden(body, "")
        raise _request_error(error, "body", VerifyRequest) from None
    _check_id(request.item_id, "body.item_id", limits.id_characters)
    _check_id(request.user_id, "body.user_id", limits.id_characters)
    _check_encodable(request.quote, "body.quote")
    return request


def parse_token_request(body: object, limits: Limits) -> TokenRequest:
    """A request for a browser token, checked.

    Raises:
        RequestError: Naming field, value and rule.
    """
    if not isinstance(body, Mapping):
        raise RequestError("body", type(body).__name__, "it must be a JSON object")
    try:
        request = TokenRequest.model_validate(dict(body))
    except ValidationError as error:
        refuse_forbidden(body, "")
        raise _request_error(error, "body", TokenRequest) from None
    _check_id(request.session_id, "body.session_id", limits.id_characters)
    _check_id(request.user_id, "body.user_id", limits.id_characters)
    return request


def _check(request: PageRequest, field: str, limits: Limits) -> None:
    """The rules that depend on the task or on the limits."""
    _check_text(request.query, f"{field}.query", limits.query_characters)
    _check_id(request.user_id, f"{field}.user_id", limits.id_characters)
    _check_id(request.session_id, f"{field}.session_id", limits.id_characters)
    if request.page_size > limits.page_size:
        raise RequestError(f"{field}.page_size", request.page_size, f"it must be 1 to {limits.page_size}")
    for name, values in (("category", request.category), ("brand", request.brand)):
        _check_values(values, f"{field}.{name}", limits)
    if request.task == SEARCH:
        if request.query is None:
            raise RequestError(f"{field}.query", None, "the task search needs a query")
        if request.item_ids is not None:
            raise RequestError(f"{field}.item_ids", "[...]", "item_ids go with the task price")
        return
    for name in SEARCH_ONLY:
        if getattr(request, name) is not None:
            raise RequestError(f"{field}.{name}", "[...]", f"{name} goes with the task search")
    if request.item_ids is None:
        raise RequestError(f"{field}.item_ids", None, "the task price needs item_ids")
    _check_items(request.item_ids, f"{field}.item_ids", limits)


def _check_values(values: Sequence[str] | None, field: str, limits: Limits) -> None:
    """The values of a filter: some, each a short text."""
    if values is None:
        return
    if not 1 <= len(values) <= limits.filter_values:
        raise RequestError(field, f"{len(values)} values", f"send 1 to {limits.filter_values} values, or leave it out")
    for index, value in enumerate(values):
        _check_id(value, f"{field}[{index}]", limits.id_characters)


def _check_items(item_ids: Sequence[str], field: str, limits: Limits) -> None:
    if not 1 <= len(item_ids) <= limits.items:
        raise RequestError(field, f"{len(item_ids)} items", f"send 1 to {limits.items} items")
    for index, item_id in enumerate(item_ids):
        _check_id(item_id, f"{field}[{index}]", limits.id_characters)
    if len(set(item_ids)) < len(item_ids):
        repeated = next(item_id for item_id in item_ids if item_ids.count(item_id) > 1)
        raise RequestError(field, repeated, "an item may appear only once on a page")


def _check_text(text: str | None, field: str, longest: int) -> None:
    if text is None:
        return
    if not text.strip() or len(text) > longest:
        shown = text if len(text) <= longest else f"{len(text)} characters"
        raise RequestError(field, shown, f"it must be 1 to {longest} characters, not all blank")
    _check_encodable(text, field)


def _check_id(text: str | None, field: str, longest: int) -> None:
    if text is None:
        return
    if not text or len(text) > longest:
        raise RequestError(field, f"{len(text)} characters", f"it must be 1 to {longest} characters")
    if CONTROL.search(text):
        raise RequestError(field, "(not shown)", "it must hold no control character")
    _check_encodable(text, field)


def _check_encodable(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestError(field, "(not shown)", "it must be valid Unicode without lone surrogates") from None


def _request_error(error: ValidationError, field: str, model: type[BaseModel] = PageRequest) -> RequestError:
    """The first broken rule, in our own words and without a customer's id."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return RequestError(
            path, "(not shown)", f"there is no such field; the fields are {', '.join(model.model_fields)}"
        )
    private = any(name in path for name in ("user_id", "session_id", "quote"))
    shown: Any = "(not shown)" if private else first["input"]
    return RequestError(path, shown, first["msg"][:1].lower() + first["msg"][1:])
