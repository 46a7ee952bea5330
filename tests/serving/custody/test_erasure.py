"""A customer who is erased is found nowhere any more, and everybody else is as before."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, UnavailableError
from fairtag.base.pseudonym import user_key
from serving.custody import erasure
from serving.custody.__main__ import main
from serving.custody.erasure import Places, erase, of_run
from serving.custody.logs import erase_journal
from serving.custody.pseudonyms import Subjects, names_of, read_ids
from serving.custody.stores import erase_features, erase_redis_locks
from serving.stores.feast_store import open_reader
from serving.stores.journal import Segment
from serving.stores.lock_file import NAME

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
ANNA = Subjects(frozenset({"anna"}))
KEYS = {name: {user_key(name, key) for key in (OLD, NEW)} for name in ("anna", "bert")}


def counts(report: erasure.ErasureReport) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in report.erased:
        found[each.store] = found.get(each.store, 0) + each.count
    return found


def rows_of(run: Path) -> pd.DataFrame:
    files = sorted((run / "serving" / "quotes").rglob("*.parquet"))
    return pd.concat([pq.read_table(file).to_pandas() for file in files])


def lock_names(run: Path) -> set[str]:
    with closing(sqlite3.connect(run / "serving" / "locks" / NAME)) as database:
        return {key.rpartition(":")[2] for (key,) in database.execute("SELECT key FROM claims")}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run folder of :func:`run` is made once."""
    return tmp_path_factory.mktemp("used")


@pytest.fixture
def run(used: Path, serve: Callable[..., Any], tmp_path: Path) -> Path:
    """A run folder whose endpoint two customers and a guest asked, before and after a rotation of the user key."""
    made = used / "run"
    if not made.exists():
        for keys in (f"{OLD.hex()}", f"{NEW.hex()}\n{OLD.hex()}"):
            with serve(run_dir=made / "serving", user_key=keys) as running:
                for who in ({"user_id": "anna"}, {"user_id": "bert"}, {"session_id": "guest-of-today"}):
                    running.page(query=f"drill for {next(iter(who.values()))}", **who)
        tables = made / "tables"
        tables.mkdir()
        users = pd.DataFrame({schema.USER_ID: ["anna", "bert"], "recency_days": [1.0, 2.0]})
        users.to_parquet(tables / "users.parquet")
        pd.DataFrame({schema.ITEM_ID: ["anna"]}).to_parquet(tables / "items.parquet")  # an item of that name
        outcomes = made / "serving" / "outcomes"
        outcomes.mkdir()
        ids = rows_of(made).drop_duplicates(schema.QUOTE_ID)[[schema.QUOTE_ID, schema.USER_KEY]]
        ids[[schema.QUOTE_ID]].to_parquet(outcomes / "outcomes-20261129T000000.parquet")
        reports = made / "reports"
        reports.mkdir()
        quote = ids[ids[schema.USER_KEY].isin(KEYS["anna"])][schema.QUOTE_ID].iloc[0]
        examples = {"examples": [f"quote {quote}", min(KEYS["anna"]), "annabel", min(KEYS["bert"])]}
        (reports / "fairness.json").write_text(json.dumps(examples))
        (made / "page.html").write_text("<p>for <b>anna</b>, who looked for hannah</p>")
        (made / "notes.txt").write_text("called anna about her order")
        model = made / "model_folder"
        model.mkdir()
        (model / "manifest.json").write_text('{"note": "anna"}')
    shutil.copytree(made, tmp_path / "own", symlinks=True)
    return tmp_path / "own"


def places(run: Path, **more: Any) -> Places:
    return of_run(run, run / "serving", (NEW, OLD), **more)


def contents(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_a_dry_run_finds_what_an_erasure_erases_and_changes_nothing(run: Path) -> None:
    before = contents(run)
    dry = erase(ANNA, places(run), dry_run=True)
    after = contents(run)
    assert {name for name in before if after[name] != before[name]} <= {f"serving/locks/{NAME}-shm"}
    assert counts(dry) == counts(erase(ANNA, places(run)))
    assert counts(dry)["quote log"] > 0


def test_a_customer_is_erased_under_every_user_key_and_nobody_else_is(run: Path) -> None:
    before = rows_of(run)
    assert {"anna", "bert"} == {name for name, keys in KEYS.items() if keys <= set(before[schema.USER_KEY])}
    anna, bert = names_of(ANNA, (NEW, OLD)), names_of(Subjects(frozenset({"bert"})), (NEW, OLD))
    assert anna.locks & lock_names(run)
    others = lock_names(run) - anna.locks
    report = erase(ANNA, places(run))
    after = rows_of(run)
    theirs = before[schema.USER_KEY].isin(KEYS["anna"])
    assert counts(report)["quote log"] == theirs.sum()
    pd.testing.assert_frame_equal(after.reset_index(drop=True), before[~theirs].reset_index(drop=True))
    assert lock_names(run) == others >= {*bert.locks} & others
    assert bert.locks & others, "the other customer's prices stay locked"
    raw = (run / "serving" / "locks" / NAME).read_bytes()
    assert not any(name.encode() in raw for name in anna.locks), "also not in the free pages of the file"
    assert pd.read_parquet(run / "tables" / "users.parquet")[schema.USER_ID].tolist() == ["bert"]
    assert pd.read_parquet(run / "tables" / "items.parquet")[schema.ITEM_ID].tolist() == ["anna"]
    outcomes = pd.read_parquet(run / "serving" / "outcomes")[schema.QUOTE_ID]
    assert set(outcomes) == set(after[schema.QUOTE_ID])


def test_reports_lose_the_name_and_what_cannot_be_written_over_is_named(run: Path) -> None:
    model = (run / "model_folder" / "manifest.json").read_bytes()
    report = erase(ANNA, places(run))
    found = json.loads((run / "reports" / "fairness.json").read_text())["examples"]
    assert found == ["quote erased", "erased", "annabel", min(KEYS["bert"])]
    assert (run / "page.html").read_text() == "<p>for <b>erased</b>, who looked for hannah</p>"
    assert (run / "model_folder" / "manifest.json").read_bytes() == model, "its digests would not fit any more"
    left = [each for each in report.erased if each.problem]
    assert [Path(each.place).name for each in left] == ["notes.txt"]
    assert not report.complete
    assert "anna" not in json.dumps(report.as_json()).replace("notes", ""), "the report itself names nobody"
    assert any("Models" in text for text in report.as_json()["cannot_erase"])
    (run / "notes.txt").unlink()
    assert erase(ANNA, places(run)).complete


def test_an_erasure_that_is_stopped_anywhere_ends_the_same_when_it_is_run_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "notes.txt").unlink()
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    assert erase(ANNA, places(whole)).complete
    for step in ("erase_lock_file", "erase_table_rows", "erase_names", "erase_journal", "erase_rows"):
        stopped = tmp_path / step
        shutil.copytree(run, stopped)
        with monkeypatch.context() as patched:
            patched.setattr(erasure, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                erase(ANNA, places(stopped))
        erase(ANNA, places(stopped))
        pd.testing.assert_frame_equal(rows_of(stopped), rows_of(whole))
        assert lock_names(stopped) == lock_names(whole)
        assert len(pd.read_parquet(stopped / "serving" / "outcomes")) == len(
            pd.read_parquet(whole / "serving" / "outcomes")
        )
        again = erase(ANNA, places(stopped))
        assert (again.complete, sum(counts(again).values())) == (True, 0), "a second one has nothing to do"


def test_a_guest_is_erased_by_the_session(run: Path) -> None:
    guest = Subjects(sessions=frozenset({"guest-of-today"}))
    names, rows = names_of(guest, (NEW, OLD)).locks, len(rows_of(run))
    assert names & lock_names(run)
    assert counts(erase(guest, places(run)))["price locks"] > 0
    assert not names & lock_names(run)
    assert len(rows_of(run)) == rows, "nothing in the quote log says which rows are a guest's"
    assert rows_of(run)[schema.USER_KEY].isna().any()


def test_a_dead_endpoints_journal_does_not_bring_anybody_back(run: Path, serve: Callable[..., Any]) -> None:
    journal = run / "serving" / "journal"
    name = "quotes-20261129T000000-0123456789ab"
    row = {column: (values or [None])[0] for column, values in rows_of(run).head(1).to_dict("list").items()}
    lines = []
    for number, who in enumerate(("anna", "bert")):
        record = {
            **row,
            schema.USER_KEY: min(KEYS[who]),
            schema.QUOTE_ID: f"j{number}",
            schema.TS: 1_800_000_000_000_000,
        }
        record |= {schema.ITEM_ID: ["item-001"], schema.REASONS: [["ANCHOR"]]}
        lines.append(orjson.dumps(record, default=str))
    lines.append(min(KEYS["anna"]).encode() + b" cut off in the mid")
    (journal / f"{name}.jsonl").write_bytes(b"\n".join(lines))
    assert erase_journal(journal, KEYS["anna"], dry_run=True) == (2, 0)
    assert counts(erase(ANNA, places(run)))["journal"] == 2
    left = (journal / f"{name}.jsonl").read_bytes()
    assert min(KEYS["bert"]).encode() in left
    assert not any(key.encode() in left for key in KEYS["anna"])


def test_a_running_endpoints_pages_are_waited_for(run: Path) -> None:
    """What it has in its journal will be in a file soon; until then an erasure is not complete."""
    (run / "notes.txt").unlink()
    segment = Segment(run / "serving" / "journal" / "quotes-20261129T000001-0123456789ab.jsonl")
    segment.append({schema.USER_KEY: min(KEYS["anna"]), schema.QUOTE_ID: "late"})
    slept: list[float] = []
    report = erase(ANNA, places(run), wait_seconds=3, sleep=slept.append)
    assert (report.complete, len(slept)) == (False, 3)
    assert "running endpoint" in next(each.problem for each in report.erased if each.problem)

    def written(_seconds: float) -> None:
        file = next((run / "serving" / "quotes").rglob("*.parquet"))
        frame = pq.read_table(file).to_pandas()
        frame[schema.USER_KEY] = min(KEYS["anna"])
        frame.to_parquet(file.with_name("quotes-20261129T000001-0123456789ab.parquet"))
        segment.remove()

    assert erase(ANNA, places(run), sleep=written).complete
    assert not set(rows_of(run)[schema.USER_KEY]) & KEYS["anna"]


def test_a_log_that_cannot_be_read_is_not_called_clean(run: Path) -> None:
    file = next((run / "serving" / "quotes").rglob("*.parquet"))
    file.write_bytes(b"no parquet")
    before = contents(run)
    with pytest.raises(UnavailableError, match="nobody can say whose rows it holds"):
        erase(ANNA, places(run))
    assert contents(run) == before, "it is said before anything is changed"


def test_nobody_is_erased_by_mistake(tmp_path: Path) -> None:
    for wrong in ({}, {"users": frozenset({" "})}):
        with pytest.raises(ConfigError):
            Subjects(**wrong)
    (tmp_path / "ids").write_text("\nanna\n  bert \n")
    assert read_ids(tmp_path / "ids") == {"anna", "bert"}
    (tmp_path / "ids").write_text("\n")
    with pytest.raises(ConfigError, match="holds no id"):
        read_ids(tmp_path / "ids")


@pytest.mark.parametrize(("user", "kept"), [("17", "item 17, 170, u-17"), ("u1", "u11 u1 menu1")])
def test_short_ids_and_numbers_count_only_where_they_stand_by_themselves(tmp_path: Path, user: str, kept: str) -> None:
    (tmp_path / "reports").mkdir()
    file = tmp_path / "reports" / "fairness.json"
    file.write_text(json.dumps([user, kept]))
    hits = erasure.erase_names(tmp_path, {user}, set(), dry_run=False)
    assert (len(hits.changed), json.loads(file.read_text())) == (1, ["erased", kept])


@pytest.fixture(scope="module")
def feast_folder(handmade: ModuleType, materialised: Callable[..., Path], used: Path) -> Path:
    return materialised(used / "features", handmade.tables())


@pytest.mark.slow
def test_online_features_in_sqlite_are_erased(feast_folder: Path) -> None:
    gone = {"user-3", "nobody"}
    assert open_reader(feast_folder).user("user-3") is not None
    assert erase_features(feast_folder, gone, dry_run=True) == 1
    assert open_reader(feast_folder).user("user-3") is not None
    assert erase_features(feast_folder, gone, dry_run=False) == 1
    assert open_reader(feast_folder).user("user-3") is None
    assert open_reader(feast_folder).user("user-4") is not None
    assert erase_features(feast_folder, gone, dry_run=False) == 0


def test_price_locks_in_redis_are_erased_under_every_user_key(redis: Any) -> None:
    from redis import Redis

    anna, bert = names_of(ANNA, (NEW, OLD)), names_of(Subjects(frozenset({"bert"})), (NEW, OLD))
    url = f"redis://127.0.0.1:{redis.port}/0"
    with closing(Redis(port=redis.port, decode_responses=True)) as client:
        for name in (*anna.locks, *bert.locks):
            for day in (20_800, 20_801):
                client.hset(f"fairtag:lock:EUR:{day}:{name}", "public:mug", "1999.code")
        client.hset("fairtag:corridor:EUR:20800", "mug", "1500-1875.code")
        assert erase_redis_locks(url, anna.locks, dry_run=True) == 4
        assert len(client.keys("fairtag:*")) == 9
        assert erase_redis_locks(url, anna.locks, dry_run=False) == 4
        left = set(client.keys("fairtag:*"))
        assert {key.rpartition(":")[2] for key in left} == {*bert.locks, "20800"}
        assert erase_redis_locks(url, anna.locks, dry_run=False) == 0
    with pytest.raises(UnavailableError, match="Redis"):
        erase_redis_locks("redis://127.0.0.1:1/0", anna.locks, dry_run=False)


def test_a_job_erases_the_customers_of_a_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m serving.custody erase``, as a CronJob runs it: with the endpoint's settings, no id in sight."""
    (tmp_path / "keys").write_text(f"{NEW.hex()}\n{OLD.hex()}\n")
    monkeypatch.setenv("FAIRTAG_USER_KEY_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("FAIRTAG_QUOTE_LOG", str(run / "serving" / "quotes"))
    ids = tmp_path / "ids"
    line = ["erase", "--users-file", str(ids), "--outcomes", str(run / "serving" / "outcomes")]
    assert main([*line, "--if-present"]) == 0
    assert "nobody is erased" in capsys.readouterr().out
    assert main(line) == 2, "a file that was named and is not there is a mistake"
    ids.write_text("anna\n")
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"]
    assert "anna" not in json.dumps(told).replace(str(tmp_path), "")
    assert not set(rows_of(run)[schema.USER_KEY]) & KEYS["anna"]
    assert main(["retain", "--dry-run"]) == 0
    assert "nothing was removed" in capsys.readouterr().out
