"""The jobs through their command line: what is planted is found, what is quiet passes, what is broken never passes."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks.quote_stream import QuoteStream, Shocks
from monitoring import __main__ as cli
from monitoring.__main__ import main, parse_length
from monitoring.verdict import Check, Verdict, read_verdict, worst
from pricing import schema
from pricing.encoder.encoder import DESCRIPTION
from pricing.encoder.encoder import SCHEMA as ENCODER_SCHEMA
from pricing.errors import ConfigError, DataError
from pricing.files import read_json, write_json
from pricing.profile.reference import build_profile
from pricing.verdict import Verdict as Status


def checks(out, job="drift"):
    return {check.name: check for check in read_verdict(out / f"{job}.json").checks}


def fairness(shop, quotes, out, *more):
    return shop.options(quotes, out, "--audit", str(shop.audit), "--secret", str(shop.secret), *more, job="fairness")


def test_a_quiet_day_passes_every_job(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    quotes, outcomes = shop.log(pages=6_000)
    more = ("--outcomes", str(outcomes), "--settings", str(settings))
    out = tmp_path / "out"
    options = [*fairness(shop, quotes, out, *more)]
    assert main(["all", *options[1:]]) == 0, [c for j in ("drift", "performance", "fairness", "quality")
                                              for c in read_verdict(out / f"{j}.json").failing]  # fmt: skip
    assert "All quiet" in (out / "report.html").read_text()
    assert 'fairtag_monitoring_status{job="drift"} 0.0' in (out / "metrics.prom").read_text()


@pytest.mark.parametrize(
    ("shocks", "code", "name"),
    [
        (Shocks(price_shift=0.10), 2, "price_level"),
        (Shocks(price_shift=0.02), 1, "price_level"),
        (Shocks(new_words=0.7), 2, "new_words"),
        (Shocks(broken=schema.SIMILARITY), 2, "similarity"),
    ],
)
def test_planted_drift_is_found_and_named(shop, tmp_path, shocks, code, name):
    quotes, _ = shop.log(shocks, pages=5_000)
    assert main(shop.options(quotes, tmp_path / "out")) == code
    assert checks(tmp_path / "out")[name].status is (Status.PAGE if code == 2 else Status.WARN)


def test_a_season_that_training_saw_is_no_drift(shop, tmp_path):
    for day in range(4):
        start = pd.Timestamp("2026-02-09", tz="UTC") + pd.Timedelta(days=day)
        quotes, _ = shop.log(Shocks(season=0.2), hours=24, start=start, name=f"day{day}")
        end = (start + pd.Timedelta(days=1)).isoformat()
        assert main(shop.options(quotes, tmp_path / "out", end=end)) == 0


def test_a_change_of_elasticity_is_found(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    quotes, outcomes = shop.log(Shocks(elasticity=3.0), pages=12_000)
    options = shop.options(quotes, tmp_path / "out", "--outcomes", str(outcomes), "--settings", str(settings))
    assert main(["performance", *options[1:]]) in (1, 2)
    found = checks(tmp_path / "out", "performance")["elasticity"]
    assert found.status in (Status.WARN, Status.PAGE)
    assert found.change < 0


def test_missing_purchases_are_found(shop, tmp_path):
    quotes, outcomes = shop.log(pages=6_000)
    half = pd.read_parquet(outcomes / "day-outcomes.parquet").sample(frac=0.5, random_state=0)
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    more = ("--outcomes", str(shop.write(half, "half")), "--settings", str(settings))
    assert main(["performance", *shop.options(quotes, tmp_path / "out", *more)[1:]]) == 2
    found = checks(tmp_path / "out", "performance")["purchases"]
    assert found.value == pytest.approx(np.log(0.5), abs=0.15)


@pytest.mark.parametrize(("gap", "codes"), [(0.0, {0}), (0.04, {2})])
def test_a_group_that_pays_more_is_found(shop, tmp_path, gap, codes):
    quotes, _ = shop.log(Shocks(group_gap=gap), pages=6_000)
    assert main(fairness(shop, quotes, tmp_path / "out")) in codes
    found = next(c for c in read_verdict(tmp_path / "out" / "fairness.json").checks if c.component == "lower")
    if gap:
        assert found.low < gap < found.high


def test_one_price_above_list_pages(shop, tmp_path):
    quotes, _ = shop.stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 2_000)
    quotes.loc[17, schema.PRICE_MINOR] = quotes.loc[17, schema.LIST_PRICE_MINOR] + 1
    assert main(fairness(shop, shop.write(quotes, "above"), tmp_path / "out")) == 2
    broken = checks(tmp_path / "out", "fairness")["promise_list"]
    assert broken.status is Status.PAGE
    assert quotes.loc[17, schema.QUOTE_ID] in broken.examples[0]


def test_no_protected_value_of_a_customer_leaves_the_fairness_job(shop, tmp_path):
    quotes, _ = shop.log(pages=4_000)
    main(fairness(shop, quotes, tmp_path / "out"))
    written = "".join(f.read_text(errors="ignore") for f in (tmp_path / "out").rglob("*") if f.is_file())
    frame = pd.read_parquet(quotes / "day.parquet")
    assert not any(key in written for key in frame[schema.USER_KEY].unique())
    assert not any(f'"{user}"' in written for user in shop.stream.audit_groups()[schema.USER_ID])


def bad_empty(shop):
    return shop.log(start=pd.Timestamp("2025-06-01", tz="UTC"))[0]


def bad_half_file(shop):
    quotes, _ = shop.log()
    whole = (quotes / "day.parquet").read_bytes()
    (quotes / "day.parquet").write_bytes(whole[: len(whole) // 2])
    return quotes


def bad_one_half_file_of_two(shop):
    quotes, _ = shop.log()
    whole = (quotes / "day.parquet").read_bytes()
    (quotes / "other.parquet").write_bytes(whole[: len(whole) // 2])
    return quotes


def changed(change):
    def build(shop):
        frame, _ = shop.stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 2_000)
        return shop.write(change(frame), "changed")

    return build


def _future(frame):
    moved = frame.copy()
    moved.loc[:20, schema.TS] = pd.Timestamp("2099-01-01", tz="UTC")
    return moved


def _late(frame):
    return pd.concat([frame.iloc[200:], frame.iloc[:200]])


def _category(frame):
    moved = frame.copy()
    moved.loc[:79, schema.CATEGORY] = "brand new"
    return moved


BAD = {
    "an empty window": (bad_empty, {3}),
    "half a parquet file": (bad_half_file, {3}),
    "one half file of two": (bad_one_half_file_of_two, {3}),
    "all nulls": (changed(lambda frame: frame.assign(similarity=np.nan)), {3}),
    "a new category": (changed(_category), {3}),
    "clock skew": (changed(_future), {3}),
    "duplicates": (changed(lambda frame: pd.concat([frame, frame.head(50)])), {1}),
    "late quotes": (changed(_late), {1}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_never_a_pass(shop, tmp_path, name):
    build, codes = BAD[name]
    assert main(shop.options(build(shop), tmp_path / "out")) in codes


def test_a_group_that_is_missing_from_the_quotes_is_never_a_pass(shop, tmp_path):
    frame, _ = shop.stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 4_000)
    groups = pd.read_parquet(shop.audit)
    from pricing.pseudonym import user_key

    absent = set(groups.loc[groups[schema.GROUP] == "lower", schema.USER_ID])
    keys = {user_key(user, shop.stream.secret) for user in absent}
    quotes = shop.write(frame[~frame[schema.USER_KEY].isin(keys)], "onesided")
    assert main(fairness(shop, quotes, tmp_path / "out")) == 3


def test_private_means_state_their_budget_and_the_same_window_spends_it_once(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("privacy_epsilon: 2.0\nprivacy_rows: 10\n")
    quotes, _ = shop.log(pages=4_000)
    found = []
    for out in ("a", "b"):
        main(fairness(shop, quotes, tmp_path / out, "--settings", str(settings)))
        found.append(read_json(tmp_path / out / "fairness-private.json"))
    assert found[0] == found[1]
    assert found[0]["budget"] == {"epsilon": 2.0, "rows": 10, "bound": 0.5, "attributes": 1, "unit": "customer"}
    frame = pd.read_parquet(quotes / "day.parquet")
    exact = np.log(frame[schema.PRICE_MINOR] / frame[schema.LIST_PRICE_MINOR]).mean()
    for mean in found[0]["means"]:
        assert mean["mean"] != pytest.approx(exact, abs=1e-9)
        assert abs(mean["mean"] - exact) < 5 * mean["error"] + 0.02
    shifted = fairness(shop, quotes, tmp_path / "c", "--settings", str(settings), "--window", "23h")
    main(shifted)
    assert read_json(tmp_path / "c" / "fairness-private.json")["means"] != found[0]["means"]


def test_without_a_budget_no_private_figures_are_written(shop, tmp_path):
    main(fairness(shop, shop.log()[0], tmp_path / "out"))
    assert not (tmp_path / "out" / "fairness-private.json").exists()


def test_a_group_that_is_too_small_shows_no_figure(shop, tmp_path):
    groups = pd.read_parquet(shop.audit)
    groups.loc[:20, schema.GROUP] = "tiny"
    groups.to_parquet(tmp_path / "audit.parquet")
    quotes, _ = shop.log(pages=3_000)
    options = fairness(shop, quotes, tmp_path / "out")
    options[options.index("--audit") + 1] = str(tmp_path / "audit.parquet")
    assert main(options) == 3
    tiny = next(c for c in read_verdict(tmp_path / "out" / "fairness.json").checks if c.component == "tiny")
    assert tiny.status is Status.COULD_NOT_TELL
    assert (tiny.value, tiny.low, tiny.n, tiny.detail) == (None, None, 0, {})


def crossed_audit(shop, tmp_path):
    """The audit table with a second attribute of two groups, one of them a tenth of the customers."""
    groups = pd.read_parquet(shop.audit)
    rare = np.where(np.arange(len(groups)) % 10 == 0, "rural", "urban")
    place = groups.assign(**{schema.ATTRIBUTE: "place", schema.GROUP: rare})
    pd.concat([groups, place]).to_parquet(tmp_path / "audit.parquet")
    return tmp_path / "audit.parquet"


def fairness_of(shop, tmp_path, quotes, *more):
    options = fairness(shop, quotes, tmp_path / "out", *more)
    options[options.index("--audit") + 1] = str(crossed_audit(shop, tmp_path))
    code = main(options)
    return code, read_verdict(tmp_path / "out" / "fairness.json")


def test_a_crossing_that_is_too_small_is_listed_and_does_not_decide(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("group_min_impressions: 2000\n")  # of the crossings of "rural" alone too few
    quotes, _ = shop.log(pages=4_000)
    code, found = fairness_of(shop, tmp_path, quotes, "--settings", str(settings))
    left = {check.component for check in found.not_judged}
    assert left == {"lower x rural"}
    assert code == 0, found.failing
    assert found.detail["not_judged"]["groups"] == 1
    assert found.detail["not_judged"]["of"] == 8


def test_a_crossing_that_surely_pays_more_pages_however_few_they_are(shop, tmp_path):
    quotes, _ = shop.stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 6_000)
    table = pd.read_parquet(crossed_audit(shop, tmp_path)).pivot(
        index=schema.USER_ID, columns=schema.ATTRIBUTE, values=schema.GROUP
    )
    from pricing.pseudonym import user_key

    members = table.index[(table["income"] == "lower") & (table["place"] == "rural")]
    keys = {user_key(user, shop.stream.secret) for user in members}
    dearer = quotes[schema.PRICE_MINOR] * np.where(quotes[schema.USER_KEY].isin(keys), 1.08, 1.0)
    changed = np.minimum(dearer.round(), quotes[schema.LIST_PRICE_MINOR]).astype("int64")
    log = shop.write(quotes.assign(**{schema.PRICE_MINOR: changed}), "crossed")
    code, found = fairness_of(shop, tmp_path, log)
    assert code == 2
    paged = {check.component for check in found.checks if check.status is Status.PAGE}
    assert "lower x rural" in paged


def test_one_job_at_a_time_leaves_the_report_and_the_metrics_of_all(shop, tmp_path):
    quotes, _ = shop.log()
    main(shop.options(quotes, tmp_path / "out"))
    main(["quality", *shop.options(quotes, tmp_path / "out")[1:]])
    assert all(f'id="job-{job}"' in (tmp_path / "out" / "report.html").read_text() for job in ("drift", "quality"))
    metrics = (tmp_path / "out" / "metrics.prom").read_text()
    assert all(f'fairtag_monitoring_status{{job="{job}"}}' in metrics for job in ("drift", "quality"))


def test_a_bundle_without_a_profile_is_refused_with_the_fix(shop, tmp_path, capsys):
    from pricing.bundle.manifest import write_manifest

    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_manifest(bundle, {})
    quotes, _ = shop.log()
    options = shop.options(quotes, tmp_path / "out")
    options[options.index("--bundle") + 1] = str(bundle)
    assert main(options) == 3
    assert "no reference profile; train it again" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["drift"], ["nonsense"], ["drift", "--quotes"]])
def test_a_wrong_command_line_ends_with_3_and_never_with_a_verdict(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 3


@pytest.mark.parametrize("option", [("--window", "soon"), ("--window", "0h"), ("--end", "yesterday")])
def test_times_that_cannot_be_read_end_with_3(shop, tmp_path, option):
    quotes, _ = shop.log(pages=50)
    assert main([*shop.options(quotes, tmp_path / "out"), *option]) == 3


def test_an_unexpected_error_ends_with_3(shop, tmp_path, monkeypatch):
    quotes, _ = shop.log(pages=50)
    monkeypatch.setattr(cli.runner, "run_jobs", lambda *_: 1 / 0)
    assert main(shop.options(quotes, tmp_path / "out")) == 3


def test_lengths_are_read():
    assert parse_length("90m").total_seconds() == 5400
    assert parse_length("2w").days == 14
    with pytest.raises(ConfigError, match="7d"):
        parse_length("-1h")


def test_an_encoder_without_onnx_where_torch_is_absent_ends_with_3_and_the_fix(shop, tmp_path, capsys, monkeypatch):
    quotes, _ = shop.log(pages=500)
    training, _ = shop.stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 500)
    profile, drawn = tmp_path / "profile", np.random.default_rng(0).normal(size=(60, 8))
    build_profile(pd.DataFrame(), training, drawn).save(profile)
    names = ("base", "dimension", "max_length", "pooling", "prefix", "pad_token_id", "fingerprint")
    description = {"schema": ENCODER_SCHEMA, "serving": "torch", **dict.fromkeys(names, "")}
    write_json(profile / "encoder" / DESCRIPTION, description)
    monkeypatch.delitem(sys.modules, "pricing.encoder.model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    options = shop.options(quotes, tmp_path / "out")
    options[options.index("--bundle") + 1] = str(profile)
    assert main(options) == 3
    said = capsys.readouterr().err
    assert "needs torch, which is not installed here; train it with the encoder setting export: auto" in said
    assert "Traceback" not in said


def test_in_all_a_job_that_cannot_run_does_not_silence_the_others(shop, tmp_path):
    quotes, _ = shop.log(Shocks(price_shift=0.1))
    options = fairness(shop, quotes, tmp_path / "out")
    options[options.index("--audit") + 1] = str(tmp_path / "absent.parquet")
    assert main(["all", *options[1:]]) == 2
    assert read_verdict(tmp_path / "out" / "fairness.json").status is Status.COULD_NOT_TELL
    assert read_verdict(tmp_path / "out" / "drift.json").status is Status.PAGE


def test_hourly_runs_count_their_evidence_once_and_page_on_a_shift(shop, tmp_path):
    state = tmp_path / "state"
    start = pd.Timestamp("2026-02-09", tz="UTC")
    quotes, _ = shop.log(hours=6, pages=1_800)
    options = shop.options(
        quotes, tmp_path / "out", "--state", str(state), "--window", "6h", end="2026-02-09T06:00:00Z"
    )
    assert main(options) == 0
    before = (state / "drift.json").read_text()
    assert main(options) == 0
    assert (state / "drift.json").read_text() == before
    shifted, _ = shop.log(Shocks(price_shift=0.1), hours=1, pages=300, start=start + pd.Timedelta(hours=6), name="next")
    shutil.copy(shifted / "next.parquet", quotes / "next.parquet")
    later = shop.options(quotes, tmp_path / "out", "--state", str(state), "--window", "6h", end="2026-02-09T07:00:00Z")
    assert main(later) == 2
    found = checks(tmp_path / "out")["price_level"]
    assert found.status is Status.PAGE
    assert found.component == "category-0"
    assert found.since is not None


def test_two_quiet_days_of_runs_never_alarm(shop, tmp_path):
    start = pd.Timestamp("2026-02-09", tz="UTC")
    codes = []
    for hour in range(0, 2 * 24, 4):
        begin = start + pd.Timedelta(hours=hour)
        quotes, _ = shop.log(hours=4, pages=400, start=begin, name=f"h{hour}")
        end = (begin + pd.Timedelta(hours=4)).isoformat()
        codes.append(
            main(shop.options(quotes, tmp_path / "out", "--state", str(tmp_path / "s"), "--window", "4h", end=end))
        )
    assert set(codes) == {0}


def test_a_verdict_that_was_altered_is_refused(shop, tmp_path):
    quotes, _ = shop.log(Shocks(price_shift=0.1))
    main(shop.options(quotes, tmp_path / "out"))
    document = read_json(tmp_path / "out" / "drift.json")
    write_json(tmp_path / "forged.json", {**document, "status": "pass"})
    with pytest.raises(DataError, match="altered"):
        read_verdict(tmp_path / "forged.json")


def test_the_fingerprint_is_of_the_finding_and_not_of_the_window():
    found = Check("price_level", Status.PAGE, "up", change=0.1)
    first = Verdict("drift", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", (found,), ("v1",))
    later = Verdict("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v1",))
    other = Verdict("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v2",))
    assert first.fingerprint == later.fingerprint != other.fingerprint
    assert worst([]) is Status.COULD_NOT_TELL
    assert Verdict("drift", "", "", ()).status is Status.COULD_NOT_TELL


@pytest.mark.parametrize(("missing", "status"), [(0.15, Status.PASS), (0.30, Status.WARN), (1.0, Status.PAGE)])
def test_an_item_column_that_went_missing_is_named(missing, status):
    from monitoring.feature_questions import absent_question
    from monitoring.judge import Judge
    from monitoring.settings import Settings
    from pricing.profile.reference import Profile

    stream = QuoteStream(items=120, users=1_200)
    sample, _ = stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 2_000)
    ids = np.array(sorted(sample[schema.ITEM_ID].unique()), dtype=object)
    price = np.where(np.arange(len(ids)) < round(missing * len(ids)), np.nan, 9.0)
    items = pd.DataFrame({schema.ITEM_ID: ids, schema.COMPETITOR_PRICE: price})
    known = {schema.COMPETITOR_PRICE: {"absent": 0.15, "n": 9_000}}
    profile = Profile((), pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), known)
    question = absent_question(sample, items, profile, Settings())
    found = Judge(Settings(), 1).answer(question)
    assert found.status is status
    assert found.summary.startswith("competitor_price is absent for")
    lost = absent_question(sample, items[[schema.ITEM_ID]], profile, Settings())  # the column itself is optional
    assert Judge(Settings(), 1).answer(lost).status is Status.PAGE
    bare = Profile((), pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    assert absent_question(sample, items, bare, Settings()) is None
