"""Policy: what the shop allows, with sliders and a preview; draft, approve, history, undo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from starlette.responses import Response

from console.form_numbers import typed_number
from console.frame import Action, Page, Visit
from console.policy_change import approve, assess, propose
from console.users import Role
from fairtag.base import schema
from fairtag.base.errors import ConfigError, FairtagError, MissingDataError, RequestError, UnavailableError
from fairtag.base.yaml_text import read_yaml
from fairtag.evaluation.policy_preview import PolicyPreview
from fairtag.model.policy_change import AcceptedModel, unknown_names
from fairtag.policy.narrowing import Difference
from fairtag.policy.shop_policy import ShopPolicy, from_document

HOLD_OUT, QUOTES = "hold-out", "quotes"  # what the choice of replayed pages may be
DAYS, MOST_DAYS = 7, 31
CONFLICT = 409


@dataclass(frozen=True)
class Slider:
    """One setting that a slider moves.

    Args:
        name: Of the field in the form.
        label: What it is.
        section: ``limits``, or empty for the top of the document.
        setting: Its name there.
        least: Lowest value, per cent.
        most: Highest value, per cent.
        step: Per cent.
        ratio: Whether the document has it as a ratio: 25 % are written 1.25.
    """

    name: str
    label: str
    section: str
    setting: str
    least: float
    most: float
    step: float
    ratio: bool = False

    def shown(self, value: float) -> float:
        """A value of the document, per cent."""
        return round(100 * (value - 1 if self.ratio else value), 4)

    def written(self, percent: float) -> float:
        """A value per cent, as the document has it."""
        return round(percent / 100 + (1 if self.ratio else 0), 6)


SLIDERS = (
    Slider("discount", "Largest discount from list", "limits", "max_discount", 0, 60, 1),
    Slider("margin", "Smallest margin", "limits", "min_margin", 0, 50, 1),
    Slider("corridor", "Corridor: dearest above cheapest", "limits", "corridor_ratio", 0, 50, 1, ratio=True),
    Slider("exploration", "Prices drawn at random, to learn", "", "exploration", 0, 20, 0.5),
    Slider("confidence", "How sure a price must be to leave list", "", "confidence", 50, 99, 1),
)


def plain_words(change: Difference) -> str:
    """A change as the sliders name it; as the document does where no slider moves it.

    >>> plain_words(Difference("limits.max_discount", "0.3", "0.1", "narrows"))
    'Largest discount from list: 30 % → 10 %'
    """
    for slider in SLIDERS:
        if change.field == (f"{slider.section}.{slider.setting}" if slider.section else slider.setting):
            try:
                ends = [f"{slider.shown(float(value)):.4g} %" for value in (change.before, change.after)]
            except ValueError:  # a range, or nothing: as the document says it
                return change.words
            return f"{slider.label}: {ends[0]} → {ends[1]}"
    return change.words


def values_of(policy: ShopPolicy, model: AcceptedModel) -> dict[str, float]:
    """Where the sliders stand under a policy, per cent."""
    held = policy.over(model.policy)
    return {
        slider.name: slider.shown(getattr(held.limits if slider.section else held, slider.setting))
        for slider in SLIDERS
    }


def policy_of(visit: Visit, model: AcceptedModel) -> ShopPolicy:
    """The policy that the posted form describes: its document, and what the sliders change in it.

    Raises:
        ConfigError: The document is no policy.
        RequestError: A slider is no number.
    """
    text = visit.given("document")
    try:
        document = read_yaml(text) if text else {}
    except ValueError as error:
        raise ConfigError(f"policy: not YAML ({error})") from error
    if not isinstance(document, dict):
        raise ConfigError("policy: not a table of settings, such as at_list: false")
    policy = from_document(document)
    before = values_of(policy, model)
    limits: dict[str, float] = {}
    top: dict[str, float] = {}
    for slider in SLIDERS:
        given = visit.given(slider.name)
        percent = typed_number(slider.name, given) if given else before[slider.name]
        if percent != before[slider.name]:
            (limits if slider.section else top)[slider.setting] = slider.written(percent)
    changes: dict[str, Any] = {**top, **({"limits": limits} if limits else {})}
    allowed = visit.given("personal") == "yes"
    if allowed != policy.personal_prices.allowed:
        changes["personal_prices"] = {"allowed": allowed}
    return policy.changed(**changes) if changes else policy


def pages_of(visit: Visit) -> float | None:
    """Which pages the posted form wants priced again: None for the hold-out, or the days of the quote log.

    Raises:
        RequestError: The days are no number of days.
    """
    if _chosen(visit) != QUOTES:
        return None
    given = visit.given("days") or str(DAYS)
    if not (given.isdecimal() and 0 < int(given) <= MOST_DAYS):
        raise RequestError("days", given, f"must be a whole number of days from 1 to {MOST_DAYS}")
    return float(given)


def _chosen(visit: Visit) -> str:
    """Whether the hold-out or the quote log is replayed: by default the hold-out, where there is one or neither."""
    work = visit.work
    return visit.given("pages") or (QUOTES if work.settings.quotes and not work.has_hold_out else HOLD_OUT)


async def show(visit: Visit) -> Response:
    """The policy in force."""
    if visit.work.policy is None:
        return await visit.absent(
            "this console does not know the live policy; start it with the run's folder, or set "
            "FAIRTAG_CONSOLE_POLICY_STORE"
        )
    if need := visit.work.shop.missing:
        return await visit.absent(need)
    current = (await visit.blocking(visit.work.require_policy().current)).policy
    return await _page(visit, current, preview=None)


async def preview(visit: Visit) -> Response:
    """The page with what the form's policy would change; nothing is kept."""
    model = await visit.blocking(visit.work.accepted_model)
    policy = policy_of(visit, model)
    current = (await visit.blocking(visit.work.require_policy().current)).policy
    found: PolicyPreview | None = None
    trouble = ""
    try:
        replay = await visit.blocking(visit.work.replay, pages_of(visit))
        found = await visit.blocking(replay.preview, policy, current, on=datetime.now(UTC).date())
    except (MissingDataError, UnavailableError) as error:
        trouble = str(error)
    return await _page(visit, policy, preview=found, trouble=trouble)


async def propose_(visit: Visit) -> Response:
    """Make the form's policy live, or keep it as a draft; not where it rests on a policy that is no longer in force."""
    why = visit.needed("why", "a reason, in words,")
    model = await visit.blocking(visit.work.accepted_model)
    policy = policy_of(visit, model)
    if between := await visit.blocking(visit.work.changed_since, visit.given("version")):
        visit.refusal = between
        visit.session.notice = (
            f"Not applied: {between}. What you set is still here, and beside it what it would change now. Apply it "
            "again if you mean that."
        )
        return await _page(visit, policy, preview=None, status=CONFLICT)
    return visit.back(await visit.blocking(propose, visit.work, policy, visit.user, why), "/policy")


async def approve_(visit: Visit) -> Response:
    """Make a draft live."""
    await visit.blocking(visit.work.require_unchanged, visit.given("version"))
    draft = await visit.blocking(visit.work.drafts.find, visit.needed("draft", "a draft"))
    return visit.back(await visit.blocking(approve, visit.work, draft, visit.user), "/policy")


async def drop(visit: Visit) -> Response:
    """Drop a draft."""
    draft = await visit.blocking(visit.work.drafts.find, visit.needed("draft", "a draft"))
    await visit.blocking(visit.work.drafts.close, draft.id)
    return visit.back(f"Draft {draft.id} is dropped.", "/policy")


async def document(visit: Visit) -> Response:
    """A draft, or the policy in force, as policy.yaml: for ``fairtag policy evaluate``."""
    name = visit.asked("draft")
    if name:
        content = (await visit.blocking(visit.work.drafts.find, name)).document
    else:
        content = (await visit.blocking(visit.work.require_policy().current)).policy.document()
    headers = {"content-disposition": 'attachment; filename="policy.yaml"'}
    return Response(_yaml(content), media_type="application/yaml", headers=headers)


async def _page(
    visit: Visit, policy: ShopPolicy, *, preview: PolicyPreview | None, trouble: str = "", status: int = 200
) -> Response:
    work = visit.work
    model = await visit.blocking(work.accepted_model)
    history = await visit.blocking(work.require_policy().history)
    drafts = []
    for draft in await visit.blocking(work.drafts.open):
        try:
            found = await visit.blocking(assess, work, from_document(draft.document), model)
            drafts.append({"draft": draft, "found": found, "trouble": ""})
        except FairtagError as error:
            drafts.append({"draft": draft, "found": None, "trouble": str(error)})
    current = history[-1].policy if history else ShopPolicy()
    return await visit.render(
        "policy.html",
        status,
        sliders=SLIDERS,
        plain=plain_words,
        values=values_of(policy, model),
        current_values=values_of(current, model),
        shown=policy,
        document=_yaml({name: value for name, value in policy.document().items() if name != "schema"}),
        found=await visit.blocking(assess, work, policy, model),
        preview=preview,
        replayed=_chosen(visit),
        days=visit.given("days") or DAYS,
        most_days=MOST_DAYS,
        trouble=trouble,
        drafts=drafts,
        history=list(reversed(history))[:30],
        model=model,
        why=visit.given("why"),
        unknown=await visit.blocking(_unknown, visit, policy),
        slow=await visit.blocking(_reads_first, visit),
    )


def _unknown(visit: Visit, policy: ShopPolicy) -> list[str]:
    """What a policy names that the catalogue lacks."""
    items = visit.work.shop.items
    return unknown_names(policy, set(items[schema.ITEM_ID].astype(str)), set(visit.work.shop.categories()))


def _reads_first(visit: Visit) -> bool:
    """Whether the next preview must first read its pages, which takes a while."""
    try:
        return not visit.work.replay_is_ready(pages_of(visit))
    except RequestError:
        return False


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True) if document else ""


PAGE = Page(
    "policy",
    "/policy",
    "Policy",
    "what the shop allows: try, draft, approve, undo",
    show,
    (
        Action("preview", Role.VIEWER, preview, audited=False),
        Action("propose", Role.MERCHANDISER, propose_),
        Action("approve", Role.MERCHANDISER, approve_),
        Action("drop", Role.MERCHANDISER, drop),
    ),
    views={"policy.yaml": document},
)
