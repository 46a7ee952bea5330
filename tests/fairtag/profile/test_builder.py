"""The reference profile and its measures, against the naive computation and at the edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream, Shocks
from fairtag.base import schema
from fairtag.base.errors import DataError, ModelFolderError, ModelFolderMissing
from fairtag.base.files import read_json, write_json
from fairtag.profile.builder import Profile, build_profile, queried_pages, stratified_sample
from fairtag.profile.measures import (
    ALL,
    CLUSTERS,
    REPRICED,
    Measure,
    Tally,
    between_sd,
    clusters_of,
    derived,
    estimate,
    tally,
    tally_values,
)

START = pd.Timestamp("2026-01-05", tz="UTC")


@pytest.fixture(scope="module")
def quotes():
    return QuoteStream(items=60, users=300).draw(START, 24 * 14, 1500)[0]


@pytest.fixture(scope="module")
def profile(quotes):
    features = pd.DataFrame({schema.RECENCY_DAYS: [1.0, 2.0, np.nan, 4.0], schema.STOCK: [np.nan] * 4})
    return build_profile(features, quotes, np.random.default_rng(0).normal(size=(200, 12)))


def reference_of(profile, name):
    return next(reference for reference in profile.references if reference.measure.name == name)


def test_shares_at_the_edges_are_the_empirical_distribution(profile, quotes):
    reference = reference_of(profile, "price_to_list")
    values = derived(quotes, "price_to_list")
    naive = [(values <= edge).mean() for edge in reference.measure.edges]
    np.testing.assert_allclose(reference.value, naive, atol=1e-12)


def test_category_shares_are_the_counts_and_the_new_level_is_empty(profile, quotes):
    reference = reference_of(profile, "category_mix")
    naive = quotes[schema.CATEGORY].value_counts(normalize=True)
    for label, share in zip(reference.measure.components[:-1], reference.value[:-1], strict=True):
        assert share == pytest.approx(naive[label], abs=1e-12)
    assert reference.measure.components[-1] == "(new)"
    assert reference.value[-1] == 0


def test_two_halves_added_are_the_whole(profile, quotes):
    clusters = clusters_of(quotes)
    for reference in profile.references:
        whole = tally(reference.measure, quotes, profile.lookup, clusters)
        first = tally(reference.measure, quotes.iloc[:800], profile.lookup, clusters[:800])
        rest = tally(reference.measure, quotes.iloc[800:], profile.lookup, clusters[800:])
        np.testing.assert_allclose((first + rest).numerator, whole.numerator, atol=1e-9)
        np.testing.assert_allclose((first + rest).denominator, whole.denominator, atol=1e-9)


def test_the_standard_error_equals_the_spread_over_fresh_draws_of_customers():
    # six rows a customer that all but repeat each other: the error must count customers, not rows
    rng = np.random.default_rng(1)
    estimates, errors = [], []
    for _ in range(400):
        customer = np.repeat(np.arange(500), 6)
        value = np.repeat(rng.normal(size=500), 6) + 0.1 * rng.normal(size=3000)
        result = estimate(tally_values(value[:, None], customer % CLUSTERS))
        estimates.append(result.value[0])
        errors.append(result.se[0])
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.08)
    assert np.mean(errors) > 2 * 1.0 / np.sqrt(3000)  # the error that ignores customers


def test_days_that_only_sample_have_no_spread_and_days_that_move_show_theirs():
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(60), 400)
    still = rng.normal(size=day.size)
    moving = still + np.repeat(rng.normal(scale=0.3, size=60), 400)
    for values, expected, tolerance in ((still, 0.0, 0.02), (moving, 0.3, 0.06)):
        sampling = estimate(tally_values(still[:, None], np.arange(day.size) % CLUSTERS)).se
        spread = between_sd(tally_values(values[:, None], day, 60), sampling)
        assert spread[0] == pytest.approx(expected, abs=tolerance)


def test_a_price_shift_of_one_category_is_the_log_ratio_of_that_category_alone(profile):
    stream = QuoteStream(items=60, users=300)
    shifted, _ = stream.draw(START + pd.Timedelta(days=20), 24, 1000, Shocks(price_shift=0.05, category="category-2"))
    reference = reference_of(profile, "list_price_level")
    moved = estimate(tally(reference.measure, shifted, profile.lookup, clusters_of(shifted)))
    expected = np.zeros(6)
    expected[2] = np.log(1.05)
    assert reference.measure.components[0] == ALL
    np.testing.assert_allclose(moved.value[1:], expected, atol=1e-3)  # prices are whole cents
    share = moved.weight[3] / moved.weight[0]
    assert moved.value[0] == pytest.approx(share * moved.value[3], abs=1e-4)


def test_a_clearance_of_a_few_items_is_repriced_items_and_hardly_a_level(profile):
    stream = QuoteStream(items=60, users=300)
    quotes, _ = stream.draw(START + pd.Timedelta(days=20), 24, 1000)
    cleared = quotes[schema.ITEM_ID].isin(sorted(quotes[schema.ITEM_ID].unique())[::20])  # one item in twenty
    half = quotes[schema.PRICE_MINOR].where(~cleared, quotes[schema.PRICE_MINOR] // 2)
    now = quotes.assign(**{schema.PRICE_MINOR: half})
    far, level = (
        estimate(tally(reference_of(profile, name).measure, now, profile.lookup, clusters_of(now)))
        for name in ("repriced_items", "price_level")
    )
    assert far.value[0] == pytest.approx(cleared.mean())
    assert reference_of(profile, "repriced_items").value[0] < 0.01
    whole = (
        level.value[0]
        - estimate(
            tally(reference_of(profile, "price_level").measure, quotes, profile.lookup, clusters_of(quotes))
        ).value[0]
    )
    assert -REPRICED - 0.08 < whole / cleared.mean() < -0.5 * REPRICED  # not the log of a half, which is -0.69


def test_new_words_and_unknown_items_are_counted(profile):
    stream = QuoteStream(items=60, users=300)
    fresh, _ = stream.draw(START + pd.Timedelta(days=20), 24, 500, Shocks(new_words=1.0))
    words = reference_of(profile, "new_words").measure
    assert estimate(tally(words, fresh, profile.lookup, clusters_of(fresh))).value[0] == 1.0
    fresh.loc[: len(fresh) // 2 - 1, schema.ITEM_ID] = "never seen"
    items = reference_of(profile, "unknown_items").measure
    assert estimate(tally(items, fresh, profile.lookup, clusters_of(fresh))).value[0] == pytest.approx(0.5)


def test_the_expected_share_of_new_words_is_that_of_fresh_pages():
    rng = np.random.default_rng(3)
    frequency = rng.zipf(1.6, size=4000) % 2000

    def pages(words, tag):
        return pd.DataFrame(
            {
                schema.QUOTE_ID: [f"{tag}{k}" for k in range(len(words))],
                schema.QUERY: [f"w{w}" for w in words],
                schema.RANK: 1,
            }
        )

    template = QuoteStream(items=60, users=300).draw(START, 24, 4000)[0].query("rank == 1").reset_index(drop=True)
    training = template.assign(**pages(frequency, "a"))
    profile = build_profile(pd.DataFrame(), training)
    fresh = template.assign(**pages(rng.zipf(1.6, size=4000) % 2000, "b"))
    reference = reference_of(profile, "new_words")
    seen = estimate(tally(reference.measure, fresh, profile.lookup, clusters_of(fresh)))
    assert abs(seen.value[0] - reference.value[0]) < 4 * np.hypot(seen.se[0], reference.se[0])
    assert reference.value[0] > 0.01


def test_a_profile_survives_the_disk(profile, tmp_path):
    again = Profile.load(profile.save(tmp_path / "profile"))
    assert again.metadata == profile.metadata
    assert again.features == profile.features
    pd.testing.assert_frame_equal(again.items, profile.items)
    for mine, theirs in zip(profile.references, again.references, strict=True):
        assert mine.measure == theirs.measure
        np.testing.assert_array_equal(mine.value, theirs.value)
        np.testing.assert_array_equal(mine.day_sd, theirs.day_sd)
    np.testing.assert_array_equal(again.queries.directions, profile.queries.directions)


def test_no_customer_is_in_the_profile(profile, quotes, tmp_path):
    profile.save(tmp_path / "profile")
    assert schema.USER_KEY not in profile.sample.columns
    assert schema.QUOTE_ID not in profile.sample.columns
    keys = set(quotes[schema.USER_KEY])
    for file in (tmp_path / "profile").glob("*.parquet"):
        frame = pd.read_parquet(file)
        assert not any(frame[column].isin(keys).any() for column in frame.columns)


def test_features_without_any_value_say_so(profile):
    assert profile.features[schema.STOCK] == {"absent": 1.0, "n": 4}
    assert profile.features[schema.RECENCY_DAYS]["absent"] == 0.25


def test_projections_of_the_training_queries_are_standard():
    embeddings = np.random.default_rng(4).normal(size=(300, 12)) * np.arange(1, 13)
    space = build_profile(pd.DataFrame(), QuoteStream().draw(START, 24, 100)[0], embeddings).queries
    projected = space.project(embeddings)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(projected.std(axis=0), 1, atol=1e-9)


def test_missing_foreign_and_damaged_profiles_are_refused(profile, tmp_path):
    with pytest.raises(ModelFolderMissing, match="no reference profile"):
        Profile.load(tmp_path / "absent")
    path = profile.save(tmp_path / "profile")
    (path / "items.parquet").write_bytes(b"half")
    with pytest.raises(ModelFolderError, match="damaged"):
        Profile.load(path)
    document = read_json(path / "profile.json")
    write_json(path / "profile.json", {**document, "schema": "fairtag.profile/9"})
    with pytest.raises(ModelFolderError, match=r"fairtag\.profile/9"):
        Profile.load(path)


def test_no_quotes_is_an_error_and_one_customer_is_not():
    quotes = QuoteStream().draw(START, 1, 40)[0]
    with pytest.raises(DataError, match="needs priced training pages"):
        build_profile(pd.DataFrame(), quotes.head(0))
    alone = build_profile(pd.DataFrame(), quotes.assign(**{schema.USER_KEY: "one"}))
    assert all(np.isfinite(reference.se).all() for reference in alone.references)


def test_the_sample_is_seeded_bounded_and_keeps_every_stratum(quotes):
    rare = quotes.copy()
    rare.loc[0, schema.CATEGORY] = "rare"
    sample = stratified_sample(rare, schema.CATEGORY, 600, seed=3)
    assert 500 < len(sample) <= 600
    assert "rare" in set(sample[schema.CATEGORY])
    pd.testing.assert_frame_equal(sample, stratified_sample(rare, schema.CATEGORY, 600, seed=3))
    assert not sample.index.equals(stratified_sample(rare, schema.CATEGORY, 600, seed=4).index)
    assert len(stratified_sample(rare, schema.CATEGORY, rare[schema.CATEGORY].nunique(), seed=3)) == len(
        set(stratified_sample(rare, schema.CATEGORY, rare[schema.CATEGORY].nunique(), seed=3)[schema.CATEGORY])
    )


def test_queries_are_drawn_from_the_whole_window_not_from_its_first_hours():
    quotes = QuoteStream().draw(START, 24, 2_400)[0].sort_values(schema.TS, ignore_index=True)
    pages = queried_pages(quotes, 240, seed=0)
    newest = quotes[schema.TS].max() - pd.Timedelta(hours=1)
    assert len(pages) == 240
    assert pages[schema.QUERY].notna().all()
    assert 2 <= (pages[schema.TS] > newest).sum() <= 30  # a twenty-fourth of the pages, give or take
    assert pages[schema.TS].is_monotonic_increasing


def test_an_empty_tally_has_no_value():
    empty = Measure("m", "categorical", schema.CATEGORY, ("a",))
    result = estimate(Tally(np.zeros((CLUSTERS, 1)), np.zeros((CLUSTERS, 1))))
    assert np.isnan(result.value).all()
    assert empty.unit == "share"


def test_items_that_a_small_profile_has_not_seen_are_expected_at_their_rate():
    stream = QuoteStream(items=2_400, users=300)
    training = stream.draw(START, 24 * 14, 600)[0]  # two quotes an item: many items are seen once or never
    fresh = stream.draw(START + pd.Timedelta(days=20), 24 * 14, 600)[0]
    profile = build_profile(pd.DataFrame(), training)
    reference = reference_of(profile, "unknown_items")
    seen = estimate(tally(reference.measure, fresh, profile.lookup, clusters_of(fresh)))
    assert reference.value[0] > 0.05
    assert abs(seen.value[0] - reference.value[0]) < 4 * np.hypot(seen.se[0], reference.se[0])
