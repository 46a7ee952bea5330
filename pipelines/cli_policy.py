"""``fairtag policy``: checks, tries, applies and takes back what the shop allows."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError, DecisionRejected
from pipelines.api_key import Key, KeyFile, read_key
from pipelines.cli_stop import follow, show_change, show_history
from pipelines.policy_store import Run, Store, live_model, policy_store
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from fairtag.evaluation.policy_preview import PolicyPreview
    from fairtag.model.policy_change import AcceptedModel
    from fairtag.policy.shop_policy import ShopPolicy

app = typer.Typer(no_args_is_help=True)
console = Console(width=80)

File = Annotated[Path, typer.Argument(help="policy.yaml; docs/policy.md has an example.", metavar="FILE")]
TheRun = Annotated[Path, typer.Argument(help="Folder of the run whose model serves.", metavar="RUN")]
Model = Annotated[
    Path | None, typer.Option("--model", help="Model folder that serves, where no run is named.", metavar="FOLDER")
]
Why = Annotated[str, typer.Option(help="Why, in words; it is kept with the change.")]
Who = Annotated[str, typer.Option(help="Who makes the change; your login by default.")]
ApprovedBy = Annotated[str, typer.Option(help="Who approves it, where the policy in force asks for somebody else.")]
Url = Annotated[str | None, typer.Option(help="Endpoint to wait for, until it follows the change.")]


@app.command()
def check(file: File, run: Run = None, store: Store = None, model: Model = None) -> None:
    """Read a policy file; with a run, say what it would change and whether that needs an evaluation."""
    from fairtag.model.policy_change import require_fitting, unproven
    from fairtag.policy.live_policy import in_words
    from fairtag.policy.narrowing import differences
    from fairtag.policy.shop_policy import read_policy

    policy = read_policy(file)
    _say(f"{file} is a policy: {'; '.join(in_words(policy))}")
    if run is None and store is None:
        return
    accepted, versions = _model(run, model), policy_store(run, store)
    require_fitting(policy, accepted)
    history = versions.history()
    changed = differences(versions.current().policy, policy, accepted.policy)
    for each in changed:
        _say(f"  {each.effect:<8} {each.words}")
    beyond = unproven(policy, history, accepted)
    for problem in _unknown_names(policy, run, model):
        _say(f"  warning  {problem}")
    if not changed:
        _say("it changes nothing")
    elif beyond:
        _say(f"needs an evaluation: {', '.join(each.field for each in beyond)}; fairtag policy evaluate FILE RUN")
    else:
        _say("counts at once when it is applied: nothing goes beyond what was evaluated")


@app.command()
def show(
    run: Run = None,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version as JSON.")] = False,
) -> None:
    """Show the policy in force: its version, who made it and why, and the file to start a change from."""
    import yaml

    current = policy_store(run, store).current()
    if as_json:
        facts = {"version": current.version, "at": current.at, "who": current.who, "why": current.why}
        print(json.dumps({**facts, "policy": current.policy.document()}, indent=2))
        return
    print(
        f"# version {current.version}" + (f" by {current.who}, {current.at}: {current.why}" if current.version else "")
    )
    print(yaml.safe_dump(current.policy.document(), sort_keys=False, allow_unicode=True), end="")


@app.command()
def preview(
    file: File,
    run: TheRun = Path("runs/demo"),
    pages: Annotated[int, typer.Option(help="Held-out pages that are priced again.", min=1)] = 400,
    on: Annotated[datetime | None, typer.Option(help="Day for pins and promotions; today by default.")] = None,
    days: Annotated[
        float | None, typer.Option(help="Replay what the run's endpoint quoted in the last days instead.", min=0)
    ] = None,
) -> None:
    """Price held-out pages again under a policy, and show what would change; nothing is applied.

    Profit and units are what the model itself foresees; `evaluate` asks demand models that it never saw.
    """
    import pandas as pd

    from fairtag.base.tables import read_tables
    from fairtag.evaluation.policy_replay import prepare_replay
    from fairtag.evaluation.quoted_pages import quoted_replay
    from fairtag.model.policy_change import require_fitting
    from fairtag.model.pricing_model import load_pricing_model
    from fairtag.policy.shop_policy import read_policy

    policy, folder = read_policy(file), RunFolder(run.absolute())
    require_fitting(policy, _model(run, None))
    model = load_pricing_model(folder.live.resolve())
    if days is None:
        joined = pd.read_parquet(folder.training_set)
        replay = prepare_replay(model, joined, read_tables(folder.tables).audit_groups, pages=pages)
    else:
        log = str(folder.serving / "quotes")
        replay = quoted_replay(model, log, days=days, now=datetime.now(UTC), pages=pages)
    current = policy_store(run, None).current().policy
    found = replay.preview(policy, current, on=(on or datetime.now(UTC)).date())
    for table in preview_tables(found):
        console.print(table)


@app.command()
def evaluate(
    file: File,
    run: TheRun = Path("runs/demo"),
    out: Annotated[Path | None, typer.Option(help="Where the decision goes; FILE.decision.json by default.")] = None,
    limits: Annotated[
        str, typer.Option("--evaluation", help="Thresholds that differ, as JSON.", metavar="JSON")
    ] = "{}",
) -> None:
    """Judge a policy on the run's hold-out with the model that serves, and write its decision (5: rejected)."""
    from fairtag.model.decision import write_decision

    decision = _evaluate(file, run, limits)
    target = out or file.with_suffix(".decision.json")
    write_decision(target, decision)
    _say(f"{'accepted' if decision['accepted'] else 'rejected'}: {target}")
    if not decision["accepted"]:
        raise DecisionRejected(f"{file}: {_failed(decision)}")


@app.command()
def apply(
    file: File,
    run: Run = None,
    why: Why = "",
    who: Who = "",
    approved_by: ApprovedBy = "",
    decision: Annotated[
        Path | None, typer.Option(help="Accepted decision about this policy, where it allows more.", metavar="FILE")
    ] = None,
    evaluate_first: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate it first, where it allows more (minutes).")
    ] = False,
    store: Store = None,
    model: Model = None,
    url: Url = None,
    api_key: Key = None,
    key_file: KeyFile = None,
) -> None:
    """Make a policy live. What only narrows counts at once; what allows more needs an accepted decision."""
    from components.adapters.signing import trusted_keys
    from fairtag.base.files import read_json
    from fairtag.model.policy_change import change_policy, unproven
    from fairtag.policy.live_policy import in_words
    from fairtag.policy.shop_policy import read_policy

    policy, who = read_policy(file), _author(who, why)
    accepted, versions, trusted = _model(run, model), policy_store(run, store), trusted_keys()
    document = None if decision is None else read_json(decision)
    if document is None and evaluate_first and unproven(policy, versions.history(), accepted, trusted):
        if run is None:
            raise ConfigError("--evaluate needs the run's hold-out; name RUN, or a --decision that was made there")
        document = _evaluate(file, run, "{}")
    change = change_policy(
        versions,
        policy,
        accepted,
        who=who,
        why=why,
        approved_by=approved_by,
        decision=document,
        trusted=trusted,
    )
    show_change(change, in_words(change.policy), versions.missed)
    follow(url, read_key(key_file, api_key), change.version)


@app.command()
def history(run: Run = None, store: Store = None) -> None:
    """Show every version: who, when, why, what."""
    show_history(policy_store(run, store).history())


@app.command()
def undo(
    run: Run = None,
    why: Why = "",
    who: Who = "",
    approved_by: ApprovedBy = "",
    store: Store = None,
    model: Model = None,
    url: Url = None,
    api_key: Key = None,
    key_file: KeyFile = None,
) -> None:
    """Go back to what held before the last change."""
    from components.adapters.signing import trusted_keys
    from fairtag.model.policy_change import undo_policy
    from fairtag.policy.live_policy import in_words

    who, versions = _author(who, why), policy_store(run, store)
    change = undo_policy(
        versions, _model(run, model), who=who, why=why, approved_by=approved_by, trusted=trusted_keys()
    )
    show_change(change, in_words(change.policy), versions.missed)
    follow(url, read_key(key_file, api_key), change.version)


def preview_tables(found: PolicyPreview) -> list[Table]:
    """A preview as tables of 80 columns."""
    from fairtag.base.money import currency

    coin = currency(found.currency)
    sums = Table("what changes", "now", "then", title=f"{found.pages:,} {found.log}, as on {found.on}", width=80)
    sums.add_row(
        "prices that change", "", f"{found.changed:.1%} ({found.lowered:.1%} lower, {found.raised:.1%} higher)"
    )
    sums.add_row("customers who see another price", "", f"{found.customers_affected:.1%} of {found.customers:,}")
    for name, change in (("profit a page", found.profit), ("units a page", found.units)):
        sums.add_row(f"expected {name}", "", f"{change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%})")
    for name, pair in (("prices below list", found.below_list), ("personal prices", found.personal)):
        sums.add_row(name, f"{pair[0]:.1%}", f"{pair[1]:.1%}")
    sums.add_row("widest ratio of two customers' prices", f"{found.widest[0]:.2f}", f"{found.widest[1]:.2f}")
    for gap in found.gaps[:3]:
        name = f"gap of {gap.attribute} {gap.group}"
        sums.add_row(name, f"{gap.before:+.2%}", f"{gap.after:+.2%} ({gap.low:+.2%} to {gap.high:+.2%})")
    tables = [sums]
    if found.items:
        items = Table("item", "list", "now", "then", "profit", title="Items that lose most", width=80)
        for item in found.items:
            prices = (coin.text(each) for each in (item.list_price_minor, item.before_minor, item.after_minor))
            items.add_row(f"{item.item_id} {item.title[:24]}", *prices, f"{item.profit_change:+.2f}")
        tables.append(items)
    return tables


def _evaluate(file: Path, run: Path, limits: str) -> dict[str, Any]:
    """The decision about a policy, signed where the environment has the key of decisions."""
    import pandas as pd

    from components.adapters.signing import signed
    from fairtag.base.settings import parse
    from fairtag.base.tables import read_tables
    from fairtag.evaluation.limits import EvaluationLimits
    from fairtag.evaluation.policy_evaluation import evaluate_policy
    from fairtag.policy.shop_policy import read_policy

    folder = RunFolder(run.absolute())
    decision = evaluate_policy(
        folder.live.resolve(),
        read_policy(file),
        read_tables(folder.tables),
        pd.read_parquet(folder.training_set),
        limits=parse(EvaluationLimits, limits, "evaluation"),
        progress=lambda line: _say(f"evaluate: {line}"),
    )
    for gate in decision["gates"]:
        _say(f"evaluate: {gate['name']}: {gate['status']} ({gate['rule']})")
    return signed(decision)


def _failed(decision: dict[str, Any]) -> str:
    from fairtag.model.capabilities import PASSING

    failed = [gate for gate in decision["gates"] if gate["status"] not in PASSING]
    return "; ".join(f"{gate['name']}: {gate['status']} (rule: {gate['rule']})" for gate in failed)


def _model(run: Path | None, folder: Path | None) -> AcceptedModel:
    from fairtag.model.policy_change import accepted_model

    found = accepted_model(folder) if folder is not None else live_model(run)
    if found is None:
        raise ConfigError(
            "which model serves? Name a run where one is live, or its folder with --model; what was accepted with it "
            "decides what a policy may do"
        )
    return found


def _unknown_names(policy: ShopPolicy, run: Path | None, folder: Path | None) -> list[str]:
    """Items and categories of a policy that the catalogue lacks: nothing would happen to them."""
    import pandas as pd

    from fairtag.base import schema
    from fairtag.model.policy_change import unknown_names
    from fairtag.model.pricing_model import CATALOGUE

    model = folder or (RunFolder(run.absolute()).live if run is not None else None)
    if model is None or not (model / CATALOGUE).is_file():
        return []
    catalogue = pd.read_parquet(model / CATALOGUE, columns=[schema.ITEM_ID, schema.CATEGORY])
    return unknown_names(policy, set(catalogue[schema.ITEM_ID]), set(catalogue[schema.CATEGORY].astype(str)))


def _author(who: str, why: str) -> str:
    if not why:
        raise ConfigError("--why is missing; say in words why, for those who find prices changed")
    return who or getpass.getuser()


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
