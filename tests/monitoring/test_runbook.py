"""The runbook table and docs/operations.md: a section for each check, with everything a person on call needs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from monitoring.__main__ import main as monitoring
from monitoring.runbook import check_names, runbook_entry
from pipelines.cli import main as fairtag

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"


PARTS = ("Meaning", "Likely cause", "First action", "Fix", "Roll back", "Wake")


def sections():
    """Heading -> text of each section of the alerts."""
    alerts = re.split(r"^## The alerts$", RUNBOOK.read_text(), flags=re.MULTILINE)[1]
    alerts = re.split(r"^## ", alerts, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", alerts, flags=re.MULTILINE | re.DOTALL))


def test_every_section_has_its_six_parts_in_order_and_a_command():
    found = sections()
    assert len(found) >= len({runbook_entry(check).section for check in check_names()}) + 3  # and the endpoint's own
    for heading, text in found.items():
        places = [text.find(f"**{part}.**") for part in PARTS]
        assert min(places) >= 0, f"{heading} lacks {PARTS[places.index(-1)]}"
        assert places == sorted(places), heading
        assert "```sh" in text, f"{heading} has no command"


def test_every_check_is_known_with_or_without_its_attribute_and_is_named_in_its_section():
    assert runbook_entry("price_gap:income x age").section == "price-gap"
    found = sections()
    for check in check_names():
        entry = runbook_entry(check)
        assert entry.title
        assert f"`{check}`" in found[entry.section], f"{entry.section} does not name {check}"


def test_a_heading_speaks_of_the_direction():
    known = runbook_entry("price_level")
    headings = [known.heading(change) for change in (0.1, -0.1, None)]
    assert headings == [f"The same items cost {word} than in training" for word in ("more", "less", "more or less")]
    assert not any("|" in runbook_entry(check).heading() for check in check_names())


# --- the runbook's commands are run ----------------------------------------------------------------------------------

CLUSTER = (
    "kubectl",
    "chronyc",
    "curl",
    "fairtag lineage",
    "fairtag rollback --registry",
    "fairtag submit",
    "fairtag canary",
)


@pytest.fixture
def deploy() -> Callable[[Path, str], str]:
    """Makes a model folder with an accepted decision live in a run; its version."""
    from components.adapters.kserve import deploy_model_folder
    from fairtag.model.decision import GateResult, make_decision
    from fairtag.model.manifest import write_manifest

    def make(run: Path, name: str) -> str:
        folder = run.parent / name
        folder.mkdir()
        (folder / "weights").write_text(name)
        manifest = write_manifest(folder, {})
        challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
        gate = GateResult("relevance", 1.0, "any", "pass")
        decision = make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={})
        deploy_model_folder(folder, decision, str(run), timeout=1.0)
        return str(manifest["version"])

    return make


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a line as a person on call would, in a folder of its own; exit code and output."""

    def run(line: str, values: dict[str, str]) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        program, *words = [values.get(word, word) for word in shlex.split(line)]
        if program == "fairtag":
            code = fairtag(words)
        elif words[:2] == ["-m", "monitoring"]:
            code = monitoring(words[2:])
        else:
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
            return done.returncode, done.stdout + done.stderr
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def moves() -> list[str]:
    """The commands of the moves that recur in the runbook, in their order."""
    text = RUNBOOK.read_text().split("Four moves recur below.")[1].split("\n## ")[0]
    return re.findall(r"`(fairtag [^`]+)`", " ".join(text.split()))


@pytest.mark.slow
def test_every_move_of_the_runbook_is_a_command_that_works(
    tmp_path: Path, command: Callable[..., tuple[int, str]], deploy: Callable[[Path, str], str]
) -> None:
    run = tmp_path / "run"
    first, _second = deploy(run, "a"), deploy(run, "b")
    found = [line for line in moves() if line.startswith(("fairtag stop", "fairtag rollback --run"))]
    assert [line.split()[:2] for line in found] == [["fairtag", "stop"]] * 4 + [["fairtag", "rollback"]]
    said = [command(line, {"RUN": str(run), "TEXT": "costs are wrong"}) for line in found]
    assert [code for code, _ in said] == [0] * len(found), said
    stop, undo, history, personal, rollback = (text for _, text in said)
    assert "everything at list price" in stop
    assert "prices as the model decides" in undo
    assert "costs are wrong" in history
    assert "personal prices off" in personal
    assert first in rollback


def jobs() -> list[str]:
    """The commands of the alerts that need no cluster, each once."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", "\n".join(sections().values()), re.DOTALL))
    lines = [line for line in blocks.splitlines() if line and not line.startswith(CLUSTER)]
    return list(dict.fromkeys(lines))


def test_every_first_action_is_a_command_of_this_tree_or_of_a_cluster() -> None:
    assert len(jobs()) >= 8
    known = (
        "python -m monitoring",
        "python -c",
        "fairtag verify --help",
        "fairtag policy history",
        "fairtag experiment report",
    )
    assert all(line.startswith(known) for line in jobs())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what the jobs import, which a program does not turn into errors
def test_the_first_actions_of_the_alerts_run_to_their_reports(
    shop: Any, tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    quotes, outcomes = shop.log(pages=6_000, hours=48, start=shop.day - pd.Timedelta(days=1))
    arms = [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}]
    tested = ShopPolicy().changed(experiments=[{"name": "learned-1", "effect": 0.4, "arms": arms}])
    LivePolicyStore(tmp_path / "serving" / "policy").change(tested, who="ada", why="a test")
    values = {
        "URL": str(quotes),
        "DIR": str(shop.profile),
        "TIME": "2026-02-10T00:00:00Z",
        "look": str(tmp_path / "reports"),
        "RUN": str(tmp_path),
    }
    places = {"--outcomes URL": f"--outcomes {outcomes}", "--audit FILE": f"--audit {shop.audit}"}
    places |= {"--secret FILE": f"--secret {shop.secret}", "'FILE'": repr(str(next(quotes.glob("*.parquet"))))}
    for line in jobs():
        if " stock " in line:
            continue  # tests/monitoring/jobs/test_stock.py has a shop with orders
        filled = line
        for placeholder, value in places.items():
            filled = filled.replace(placeholder, value)
        code, said = command(filled, values)
        if " monitoring " in line:  # 3 without that line is a result: the report says what it cannot tell, and why
            assert "report: " in said, (line, code, said[-600:])
            assert "cannot tell: " not in said, (line, code, said[-600:])
        else:
            assert code == 0, (line, said[-600:])
