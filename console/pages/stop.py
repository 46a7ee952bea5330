"""The stop button, which every page shows, its undo, and whether the endpoint follows.

With scripts the buttons open a dialog on the page that somebody is on. Without them, or where they broke, they load a
page with the same form: a stop rests on nothing but HTML.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from console.frame import Action, Page, Visit
from console.users import STOP_ROLE, Denied
from fairtag.base.errors import RequestError
from fairtag.model.policy_change import AcceptedModel, require_approval, undo_policy
from fairtag.policy.live_policy import in_words
from fairtag.policy.pricing_policy import PricingPolicy

UNKNOWN = AcceptedModel(
    "", "", PricingPolicy()
)  # where this console has no model; each endpoint asks for its own evidence


async def show(visit: Visit) -> Response:
    """Nothing to see here: back to the storefront."""
    return visit.back(to="/")


async def confirm_stop(visit: Visit) -> Response:
    """The form of the stop, as a page of its own."""
    return await _confirm(visit, "stop")


async def confirm_undo(visit: Visit) -> Response:
    """The form of the undo, as a page of its own."""
    return await _confirm(visit, "undo")


async def _confirm(visit: Visit, what: str) -> Response:
    if not visit.user.may(STOP_ROLE):
        raise Denied(f"this takes the role {STOP_ROLE.word}; you are {visit.user.role.word}")
    visit.work.require_policy()
    return await visit.render("stop.html", what=what)


async def stop(visit: Visit) -> Response:
    """Everything at list price, or personal prices off."""
    what, why = visit.given("what", "all"), visit.needed("why", "a reason, in words,")
    if what not in ("all", "personal"):
        raise RequestError("what", what, "must be all or personal")
    store = visit.work.require_policy()

    def change() -> str:
        current = store.current().policy
        narrowed = {"personal_prices": {"allowed": False}} if what == "personal" else {"at_list": True}
        made = store.change(current.changed(**narrowed), who=visit.user.name, why=why)
        return f"Version {made.version}: {'; '.join(in_words(made.policy))}. Endpoints follow within 30 seconds."

    return visit.back(await visit.blocking(change))


async def undo(visit: Visit) -> Response:
    """Go back to what held before the last change."""
    why, store = visit.needed("why", "a reason, in words,"), visit.work.require_policy()
    await visit.blocking(visit.work.require_unchanged, visit.given("version"))

    def change() -> str:
        if visit.work.shop.has_model:  # the rules of a change hold for its undo
            made = undo_policy(store, visit.work.accepted_model(), who=visit.user.name, why=why)
        else:  # each endpoint asks for the evidence with the model that it serves
            require_approval(store.current().policy, store.before_last()[0], UNKNOWN, who=visit.user.name)
            made = store.undo(who=visit.user.name, why=why)
        return f"Version {made.version}: {'; '.join(in_words(made.policy))}. Endpoints follow within 30 seconds."

    return visit.back(await visit.blocking(change))


async def status(visit: Visit) -> Response:
    """The version of the live policy here, and the one that the endpoint follows; null where it does not say."""
    state = await visit.blocking(visit.work.policy_state)
    followed = (await visit.work.endpoint.metrics()).get("fairtag_policy_version")
    return JSONResponse({"policy": state.change.version, "endpoint": None if followed is None else int(followed)})


PAGE = Page(
    "stop",
    "/",
    "Stop",
    "the stop button",
    show,
    (Action("stop", STOP_ROLE, stop, urgent=True), Action("undo", STOP_ROLE, undo)),
    views={"stop": confirm_stop, "undo": confirm_undo, "status": status},
)
