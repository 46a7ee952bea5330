"""Models: the decision in words, what each gate saw, champion and challenger, promote and roll back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from console.frame import Action, Page, Visit
from console.users import Denied, Role
from console.work import Deployment
from fairtag.base.errors import ConfigError, RequestError
from fairtag.base.text import figure
from fairtag.model.decision import capability_rows

DIGEST = 12  # characters of a model's digest that name it
PASSING = ("pass", "not applicable")


def in_words(decision: Mapping[str, Any]) -> str:
    """The decision in a sentence or two."""
    rows = dict(capability_rows(decision))
    may = [name.replace("_", " ") for name, row in rows.items() if row["accepted"]]
    may_not = [name.replace("_", " ") for name, row in rows.items() if not row["accepted"]]
    first = f"Model {decision['challenger']['version']} was tried on the hold-out"
    if decision["champion"]:
        first += f" against {decision['champion']['version']}."
    else:
        first += "; there was no champion to compare it with."
    if not may:
        return f"{first} It was rejected: it may serve nothing."
    second = f"It may serve {_listed(may)}"
    return f"{first} {second}, and not yet {_listed(may_not)}." if may_not else f"{first} {second}."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def gate_rows(decision: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each gate saw, those that stand against something first."""
    rows = [
        {
            **gate,
            "passes": gate["status"] in PASSING,
            "seen": "" if gate["value"] is None else figure(gate["value"]),
            "interval": "" if gate["low"] is None else f"{figure(gate['low'])} to {figure(gate['high'])}",
        }
        for gate in decision["gates"]
    ]
    return sorted(rows, key=lambda row: bool(row["passes"]))


async def show(visit: Visit) -> Response:
    """The newest decision, the model that serves, and the registered models."""
    settings, work = visit.work.settings, visit.work
    decision: dict[str, Any] | None = None
    if settings.decision is not None and settings.decision.is_file():
        decision = await visit.blocking(work.document, settings.decision, "decision")
    return await visit.render(
        "models.html",
        decision=decision,
        words=in_words(decision) if decision else "",
        capabilities=capability_rows(decision) if decision else (),
        gates=gate_rows(decision) if decision else [],
        versions=None,
        live=work.shop.live_version,
        served=await work.endpoint.model_version(),
        before=await visit.blocking(work.deployment.before) if work.deployment else "",
        can_deploy=work.deployment is not None,
    )


async def registered(visit: Visit) -> Response:
    """The registered models alone: the first look into a registry takes seconds, and no page should wait for it."""
    versions = await visit.blocking(_deployment(visit).versions)
    return await visit.render("registered.html", versions=versions, live=visit.work.shop.live_version, can_deploy=True)


async def status(visit: Visit) -> Response:
    """The model that is live here, and the one that the endpoint serves; null where it does not say."""
    served = await visit.work.endpoint.model_version()
    return JSONResponse({"live": visit.work.shop.live_version, "endpoint": served or None})


async def confirm_promotion(visit: Visit) -> Response:
    """Ask once more before a model goes live: what is live now, and what would be."""
    deployment, number = _may_deploy(visit), visit.asked("version")
    versions = await visit.blocking(deployment.versions)
    chosen = next((each for each in versions if each["version"] == number), None)
    if chosen is None:
        raise RequestError("version", number, "is not registered", status=404)
    return await _confirm(visit, "promote", number=number, model=chosen["model-digest"][:DIGEST], role=chosen["alias"])


async def confirm_rollback(visit: Visit) -> Response:
    """Ask once more before the model before is live again."""
    before = await visit.blocking(_may_deploy(visit).before)
    if not before:
        raise ConfigError("no model was live before this one: there is none to go back to")
    return await _confirm(visit, "rollback", number="", model=before, role="")


async def promote(visit: Visit) -> Response:
    """Make a registered, accepted model live."""
    version, why = visit.needed("version", "a version"), visit.needed("why", "a reason, in words,")
    _require_unchanged(visit)
    return visit.back(await visit.blocking(_deployment(visit).promote, version, visit.user.name, why), "/models")


async def rollback(visit: Visit) -> Response:
    """Go back to the model before."""
    why = visit.needed("why", "a reason, in words,")
    _require_unchanged(visit)
    return visit.back(await visit.blocking(_deployment(visit).rollback, visit.user.name, why), "/models")


async def _confirm(visit: Visit, action: str, **facts: Any) -> Response:
    live, served = visit.work.shop.live_version, await visit.work.endpoint.model_version()
    if live == facts["model"]:
        raise ConfigError(f"model {live} is live already")
    return await visit.render(
        "models_confirm.html",
        action=action,
        live=live,
        stranger=served if served and served != live else "",
        url=visit.work.endpoint.url,
        **facts,
    )


def _require_unchanged(visit: Visit) -> None:
    """Refuse what was confirmed while another model was live: somebody, or another tab, was quicker.

    Raises:
        ConfigError: Another model is live now.
    """
    seen, live = visit.needed("live", "the model that is live"), visit.work.shop.live_version
    if seen != live:
        raise ConfigError(f"model {live} went live since you looked, in place of {seen}; look again and confirm anew")


def _may_deploy(visit: Visit) -> Deployment:
    if not visit.user.may(Role.APPROVER):
        raise Denied(f"this takes the role {Role.APPROVER.word}; you are {visit.user.role.word}")
    return _deployment(visit)


def _deployment(visit: Visit) -> Deployment:
    if visit.work.deployment is None:
        raise ConfigError(
            "this console may not change models: on a cluster use `fairtag canary`, `fairtag promote` and `fairtag "
            "rollback`, for a run on this machine `fairtag console RUN`"
        )
    return visit.work.deployment


PAGE = Page(
    "models",
    "/models",
    "Models",
    "decisions, gates, champion and challenger",
    show,
    (Action("promote", Role.APPROVER, promote), Action("rollback", Role.APPROVER, rollback)),
    views={
        "registered": registered,
        "status": status,
        "promote": confirm_promotion,
        "rollback": confirm_rollback,
    },
)
