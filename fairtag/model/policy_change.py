"""May this policy go live with this model? Narrowing counts at once; widening rests on an accepted decision.

    accepted = accepted_model(Path("runs/demo/live"))
    version = change_policy(store, policy, accepted, who="ada", why="winter sale", decision=None)
    unproven(policy, store.history(), accepted)     # what would need `fairtag policy evaluate` first; () for nothing

The evidence for a policy is the decision about the model, which accepted the policy in the model folder, and decisions
about single policies (:mod:`fairtag.evaluation.policy_evaluation`), each bound to one model and one policy by their
digests. A policy may go live if it only narrows something that there is evidence for. The endpoint asks the same
question again, so that a version without evidence for *its* model moves no price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fairtag.base.errors import ConfigError, DecisionError, DecisionMismatch, DecisionRejected
from fairtag.base.files import read_json
from fairtag.model.capabilities import PASSING
from fairtag.model.decision import GateResult, content_hash
from fairtag.model.manifest import read_manifest
from fairtag.model.signature import TrustedKeys, require_signature
from fairtag.policy.experiments import require_same_arms
from fairtag.policy.live_policy import NONE, LivePolicyStore, PolicyVersion
from fairtag.policy.narrowing import STOPPED, Difference, differences, widenings
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy, from_document

POLICY = "policy.json"
SCHEMA: Final = "fairtag.policy-decision/1"  # never that of a decision about a model, which lets it serve
STOPS: Final = frozenset({"at_list", "personal_prices.allowed", STOPPED})  # what nobody is asked to approve


@dataclass(frozen=True)
class AcceptedModel:
    """A model folder as far as a policy rests on it.

    Args:
        version: Version of the model.
        digest: Digest of its files.
        policy: What its decision accepted.
    """

    version: str
    digest: str
    policy: PricingPolicy


def accepted_model(model_folder: Path) -> AcceptedModel:
    """The policy that a model folder carries, without loading the model.

    Raises:
        ModelFolderMissing: There is no model folder.
    """
    manifest = read_manifest(model_folder)
    policy = PricingPolicy.from_json(read_json(model_folder / POLICY))
    return AcceptedModel(str(manifest["version"]), str(manifest["digest"]), policy)


def require_fitting(policy: ShopPolicy, model: AcceptedModel) -> None:
    """Raise where a policy asks for what another model would have to be fitted with, or an arm for what limits forbid.

    Raises:
        ConfigError: It does.
    """
    deepest = policy.over(model.policy).limits.max_discount
    for each in policy.experiments:
        for arm in (arm for arm in each.arms if (arm.cut or 0.0) > deepest):
            raise ConfigError(
                f"experiments: arm {arm.name!r} of {each.name!r} takes {arm.cut:.0%} off list, and limits.max_discount "
                f"is {deepest:.0%}; an arm stays inside the limits: make the cut smaller, or widen the limit first"
            )
    if needed := policy.needs_model(model.policy):
        raise ConfigError(
            f"{', '.join(needed)}: the model was fitted with other values; train one with this policy: "
            "fairtag run --policy FILE"
        )


def unknown_names(policy: ShopPolicy, items: Set[str], categories: Set[str]) -> list[str]:
    """Items and categories of a policy that the catalogue lacks, in words: nothing would happen to them.

    >>> unknown_names(from_document({"exclusions": {"items": ["A1", "A7"]}}), {"A1"}, set())
    ["item 'A7' is not in the catalogue"]
    """
    named = {each.item for each in policy.pins} | set(policy.exclusions.items)
    groups = set(policy.exclusions.categories) | set(policy.personal_prices.categories_off)
    for promotion in policy.promotions:
        named |= set(promotion.items)
        groups |= set(promotion.categories)
    unknown = [f"item {name!r} is not in the catalogue" for name in sorted(named - items)]
    return unknown + [f"category {name!r} is not in the catalogue" for name in sorted(groups - categories)]


def make_policy_decision(
    model: AcceptedModel,
    policy: ShopPolicy,
    data_fingerprint: str,
    gates: Sequence[GateResult],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """The decision about one policy with one model: accepted if every gate passes, with a hash over all of it.

    Args:
        model: The model that serves.
        policy: What may hold.
        data_fingerprint: Of the tables that it was judged on.
        gates: At least one.
        metrics: Figures for the report; JSON values.
    """
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "accepted": bool(gates) and all(gate.status in PASSING for gate in gates),
        "model": {"version": model.version, "digest": model.digest},
        "policy": {"digest": policy.digest, "document": policy.document()},
        "data_fingerprint": data_fingerprint,
        "gates": [asdict(gate) for gate in gates],
        "metrics": dict(metrics),
    }
    return {**body, "hash": content_hash(body)}


def require_policy_decision(
    decision: Mapping[str, Any], model_digest: str, policy_digest: str, trusted: TrustedKeys | None = None
) -> None:
    """Raise unless the document is an accepted decision about exactly this policy with this model.

    Args:
        decision: The document.
        model_digest: Of the model folder.
        policy_digest: Of the policy.
        trusted: Keys one of which must have signed the document; None asks for no signature.

    Raises:
        DecisionMismatch: It was altered, is about another model or policy, or no trusted key signed it.
        DecisionRejected: A gate did not pass.
    """
    if decision.get("schema") != SCHEMA:
        raise DecisionMismatch(f"schema {decision.get('schema')!r} is no decision about a policy; that is {SCHEMA!r}")
    if decision.get("hash") != content_hash(decision):
        raise DecisionMismatch("the policy's decision does not match its hash; it was altered after the evaluation")
    if trusted is not None:
        require_signature(decision, trusted)
    for name, given, wanted in (
        ("policy", decision["policy"]["digest"], policy_digest),
        ("model folder", decision["model"]["digest"], model_digest),
    ):
        if given != wanted:
            raise DecisionMismatch(
                f"the decision is about {name} {str(given)[:12]}, this is {wanted[:12]}; evaluate it again: "
                "fairtag policy evaluate FILE RUN"
            )
    failed = [gate for gate in decision["gates"] if gate["status"] not in PASSING]
    if not decision["accepted"] or failed:
        said = "; ".join(f"{gate['name']}: {gate['status']} (rule: {gate['rule']})" for gate in failed)
        raise DecisionRejected(f"the decision rejects this policy: {said or 'the document says so'}")


def evidence(
    history: Sequence[PolicyVersion], model: AcceptedModel, trusted: TrustedKeys | None = None
) -> tuple[ShopPolicy, ...]:
    """The policies that there is evidence for with a model: its own, and those with a decision of their own."""
    found = [ShopPolicy()]
    for version in history:
        if version.decision is None:
            continue
        try:
            require_policy_decision(version.decision, model.digest, version.policy.digest, trusted)
        except DecisionError:  # about another model, or nobody's word
            continue
        found.append(version.policy)
    return tuple(found)


def unproven(
    policy: ShopPolicy, history: Sequence[PolicyVersion], model: AcceptedModel, trusted: TrustedKeys | None = None
) -> tuple[Difference, ...]:
    """What a policy allows beyond everything that there is evidence for; nothing where it may go live as it is."""
    beyond = [_beyond(known, policy, model) for known in evidence(history, model, trusted)]
    return min(beyond, key=len)


def supported(
    policy: ShopPolicy, history: Sequence[PolicyVersion], model: AcceptedModel, trusted: TrustedKeys | None = None
) -> ShopPolicy:
    """The policy without what there is no evidence for with this model: that stays as the model's decision accepted."""
    if not unproven(policy, history, model, trusted):
        return policy
    document, deepest = policy.document(), model.policy.limits.max_discount
    for each in _beyond(ShopPolicy(), policy, model):
        _drop(document, each.field)
    kept = [each.model_dump(mode="json", exclude_unset=True) for each in policy.promotions if each.cut <= deepest]
    return from_document({**document, "promotions": kept})


def change_policy(
    store: LivePolicyStore,
    policy: ShopPolicy,
    model: AcceptedModel,
    *,
    who: str,
    why: str,
    approved_by: str = "",
    decision: Mapping[str, Any] | None = None,
    trusted: TrustedKeys | None = None,
    undoes: int = 0,
) -> PolicyVersion:
    """Make a policy live: a version of the store, once evidence and approval are there.

    Args:
        store: The live policy.
        policy: What is to hold.
        model: The model that serves.
        who: Who makes the change.
        why: Why, in words.
        approved_by: Who approves it, where the policy in force asks for somebody else.
        decision: The decision about this policy, where it is wider than what there is evidence for.
        trusted: Keys that decisions must be signed with; None asks for no signature.
        undoes: The version that it undoes.

    Raises:
        ConfigError: It changes nothing, needs another model, changes the arms of an experiment, or an approval is
            missing.
        DecisionRejected: It allows more, and there is no decision that accepts that.
        DecisionMismatch: The decision is about something else.
    """
    require_fitting(policy, model)
    history = store.history()
    before = history[-1] if history else NONE
    require_same_arms(policy.experiments, [each for version in history for each in version.policy.experiments])
    require_approval(before.policy, policy, model, who=who, approved_by=approved_by)
    if decision is not None:
        require_policy_decision(decision, model.digest, policy.digest, trusted)
    elif beyond := unproven(policy, history, model, trusted):
        raise DecisionRejected(
            f"this policy allows more than was evaluated ({'; '.join(each.words for each in beyond)}); "
            "evaluate it on held-out data first: fairtag policy evaluate FILE RUN, or apply --evaluate"
        )
    return store.change(
        policy, who=who, why=why, undoes=undoes, approved_by=approved_by, decision=decision, accepted=model.policy
    )


def undo_policy(
    store: LivePolicyStore,
    model: AcceptedModel,
    *,
    who: str,
    why: str,
    approved_by: str = "",
    trusted: TrustedKeys | None = None,
) -> PolicyVersion:
    """Go back to what held before the newest change that is not undone yet; the same rules hold as for a change.

    Raises:
        ConfigError: There is nothing to undo, or an approval is missing.
        DecisionRejected: What held before was evaluated with another model.
    """
    policy, undoes = store.before_last()
    return change_policy(
        store, policy, model, who=who, why=why, approved_by=approved_by, trusted=trusted, undoes=undoes
    )


def require_approval(
    before: ShopPolicy, policy: ShopPolicy, model: AcceptedModel, *, who: str, approved_by: str = ""
) -> None:
    """Raise unless the approval rules of the policy in force let this person make this change.

    A stop (everything at list, personal prices off) asks for nobody's approval; to take it back may.

    Raises:
        ConfigError: Somebody else must make or approve it.
    """
    changed = differences(before, policy, model.policy)
    wider, rules = any(each.effect == "widens" for each in changed), before.approval
    if not wider and {each.field for each in changed} <= STOPS:
        return
    allowed = rules.widen if wider else rules.narrow
    responsible = (approved_by or who) if wider else who
    kind = "allows more" if wider else "narrows"
    if allowed and responsible not in allowed:
        raise ConfigError(f"{responsible!r} may not approve a change that {kind}; {', '.join(allowed)} may")
    asked = rules.second_person == "always" or (rules.second_person == "widening" and wider)
    if asked and approved_by in ("", who):
        raise ConfigError(
            f"a change that {kind} needs a second person (approval.second_person: {rules.second_person}); name "
            f"somebody else than {who!r} with --approved-by"
        )


def _beyond(known: ShopPolicy, policy: ShopPolicy, model: AcceptedModel) -> tuple[Difference, ...]:
    """What a policy allows beyond another; who may approve moves no price."""
    wider = widenings(known, policy, model.policy)
    return tuple(each for each in wider if not each.field.startswith("approval."))


def _drop(document: dict[str, Any], field: str) -> None:
    """Take one setting out of a document."""
    section, _, name = field.partition(".")
    if name:
        document.get(section, {}).pop(name, None)
    else:
        document.pop(section, None)
    if field == "limits.endings":
        document.pop("endings", None)
        document.get("limits", {}).pop("ending_period", None)
