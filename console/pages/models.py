"""Models: the decision in words, what each gate saw, champion and challenger, promote and roll back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from console.frame import Action, Page, Visit
from console.users import Role
from console.work import Deployment
from fairtag.base.errors import ConfigError
from fairtag.base.text import figure
from fairtag.model.decision import capability_rows

PASSING = ("pass", "not applicable")


def in_words(decision: Mapping[str, Any]) -> str:
    """The decision in a sentence or two."""
    rows = dict(capability_rows(decision))
    may = [name.replace("_", " ") for name, row in rows.items() if row["accepted"]]
    may_not = [name.replace("_", " ") for name, row in rows.items() if not row["accepted"]]
    champion = decision["champion"]["version"] if decision["champion"] else "no champion yet"
    first = f"Model {decision['challenger']['version']} was tried on the hold-out against {champion}."
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
    """The newest decision and the registered models."""
    settings, deployment = visit.work.settings, visit.work.deployment
    if settings.decision is None or not settings.decision.is_file():
        return await visit.absent(
            "this console knows no decision; start it with the folder of a run that evaluated one"
        )
    decision = await visit.blocking(visit.work.document, settings.decision, "decision")
    return await visit.render(
        "models.html",
        decision=decision,
        words=in_words(decision),
        capabilities=capability_rows(decision),
        gates=gate_rows(decision),
        versions=None,
        live=visit.work.shop.live_version,
        can_deploy=deployment is not None,
    )


async def registered(visit: Visit) -> Response:
    """The registered models alone: the first look into a registry takes seconds, and no page should wait for it."""
    versions = await visit.blocking(_deployment(visit).versions)
    return await visit.render("registered.html", versions=versions, live=visit.work.shop.live_version, can_deploy=True)


async def promote(visit: Visit) -> Response:
    """Make a registered, accepted model live."""
    version = visit.needed("version", "a version")
    return visit.back(await visit.blocking(_deployment(visit).promote, version, visit.user.name))


async def rollback(visit: Visit) -> Response:
    """Go back to the model before."""
    why = visit.needed("why", "a reason, in words,")
    return visit.back(await visit.blocking(_deployment(visit).rollback, visit.user.name, why))


def _deployment(visit: Visit) -> Deployment:
    if visit.work.deployment is None:
        raise ConfigError("this console deploys nothing; use `fairtag promote` and `fairtag rollback`")
    return visit.work.deployment


PAGE = Page(
    "models",
    "/models",
    "Models",
    "decisions, gates, champion and challenger",
    show,
    (Action("promote", Role.APPROVER, promote), Action("rollback", Role.APPROVER, rollback)),
    views={"registered": registered},
)
