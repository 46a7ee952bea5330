"""Changes of the live policy from the console: at once where that is allowed, otherwise as a draft for somebody else.

The rules are those of :mod:`fairtag.model.policy_change`: narrowing counts at once, widening rests on an accepted
decision, and the policy in force says who must approve. What a role may do comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.drafts import Draft
from console.users import Role, User
from console.work import Work
from fairtag.base.errors import ConfigError, DecisionError
from fairtag.model.policy_change import AcceptedModel, change_policy, require_approval, require_fitting, unproven
from fairtag.policy.narrowing import Difference, differences
from fairtag.policy.shop_policy import ShopPolicy, from_document


@dataclass(frozen=True)
class Assessment:
    """What a policy would change, and what stands in its way.

    Args:
        changes: Each difference from the policy in force.
        widens: Whether one of them allows more.
        unproven: What it allows beyond everything that was evaluated.
        refusal: Why it cannot go live at all, such as a setting that needs another model; empty where it can.
    """

    changes: tuple[Difference, ...]
    widens: bool
    unproven: tuple[Difference, ...]
    refusal: str = ""

    @property
    def role(self) -> Role:
        """Who may make it live."""
        return Role.APPROVER if self.widens else Role.MERCHANDISER


def assess(work: Work, policy: ShopPolicy, model: AcceptedModel) -> Assessment:
    """What a policy would change."""
    store = work.require_policy()
    history = store.history()
    current = history[-1].policy if history else ShopPolicy()
    changes = differences(current, policy, model.policy)
    refusal = ""
    try:
        require_fitting(policy, model)
    except ConfigError as error:
        refusal = str(error)
    return Assessment(
        changes, any(each.effect == "widens" for each in changes), unproven(policy, history, model), refusal
    )


def propose(work: Work, policy: ShopPolicy, user: User, why: str) -> str:
    """Make a policy live at once where that is allowed, otherwise keep it as a draft; what was done, in words.

    Raises:
        ConfigError: It changes nothing, or needs another model.
    """
    model = work.accepted_model()
    found = assess(work, policy, model)
    if not found.changes:
        raise ConfigError("this changes nothing: the policy in force says the same")
    if found.refusal:
        raise ConfigError(found.refusal)
    if not (reason := _needs_others(work, policy, user, found, model)):
        made = change_policy(work.require_policy(), policy, model, who=user.name, why=why)
        return f"Version {made.version}: {'; '.join(made.difference)}. Endpoints follow within 30 seconds."
    version = work.require_policy().newest()
    draft = work.drafts.add(policy.document(), who=user.name, why=why, version=version)
    return f"Kept as draft {draft.id}: {reason}."


def approve(work: Work, draft: Draft, user: User) -> str:
    """Make a draft live; what was done, in words.

    Raises:
        ConfigError: The user's role or the policy in force asks for somebody else.
        DecisionError: It allows more than was evaluated.
    """
    model, policy = work.accepted_model(), from_document(draft.document)
    role = assess(work, policy, model).role
    if not user.may(role):
        raise ConfigError(f"making this live takes the role {role.word}; you are {user.role.word}")
    made = change_policy(work.require_policy(), policy, model, who=draft.who, why=draft.why, approved_by=user.name)
    work.drafts.close(draft.id)
    return f"Version {made.version}: {'; '.join(made.difference)}. Endpoints follow within 30 seconds."


def _needs_others(work: Work, policy: ShopPolicy, user: User, found: Assessment, model: AcceptedModel) -> str:
    """Why a user may not make a policy live alone; empty where they may."""
    if found.unproven:
        return f"it allows more than was evaluated ({words_of(found.unproven)}): evaluate it with `fairtag policy`"
    if not user.may(found.role):
        return f"making it live takes the role {found.role.word}"
    try:
        current = work.require_policy().current().policy
        require_approval(current, policy, model, who=user.name)
    except (ConfigError, DecisionError) as error:
        return str(error)
    return ""


def words_of(changes: Sequence[Difference]) -> str:
    """Differences in one line."""
    return "; ".join(each.words for each in changes)
