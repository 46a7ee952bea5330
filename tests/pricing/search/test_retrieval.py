"""Search by words, by meaning and by both; indexes are chosen by what they do here."""

import itertools

import numpy as np
import pytest

from pricing.errors import BundleMissing, ConfigError
from pricing.search.dense_index import ExactIndex, FaissIndex, build_index, choose_index, recall
from pricing.search.retrieval import Retriever
from pricing.search.word_index import WordIndex, fuse

TEXTS = ["red cordless drill", "drill bit set", "red lamp", "", "电钻 18V", "Gartenstuhl aus Holz"]


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 32))
    rows = centres[rng.integers(0, 40, 4000)] + 0.6 * rng.normal(size=(4000, 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_words_find_the_text_that_shares_most_of_them():
    index = WordIndex.build(TEXTS)
    assert index.search("cordless DRILL", 3).tolist() == [0, 1]
    assert index.search("电", 3).tolist() == [4]
    scores = index.scores("red drill")
    assert scores[0] > max(scores[1], scores[2]) > scores[3] == 0


@pytest.mark.parametrize("query", ["", "   ", "\U0001f600", "unheard"])
def test_a_query_without_a_known_word_finds_nothing(query):
    assert WordIndex.build(TEXTS).search(query, 5).tolist() == []


def test_an_index_of_no_words_at_all_answers_nothing():
    assert WordIndex.build(["", "!!"]).search("drill", 5).tolist() == []
    assert WordIndex.build([]).search("drill", 5).tolist() == []


def test_a_word_index_is_read_back_the_same(tmp_path):
    index = WordIndex.build(TEXTS)
    loaded = WordIndex.load(index.save(tmp_path / "words"))
    np.testing.assert_allclose(loaded.scores("red drill"), index.scores("red drill"))
    with pytest.raises(BundleMissing):
        WordIndex.load(tmp_path / "nothing")


def test_fusion_is_the_sum_of_reciprocal_ranks():
    one, two = np.array([3, 1, 2]), np.array([2, 9])
    expected = sorted({3, 1, 2, 9}, key=lambda r: -sum(1 / (60 + list(o).index(r) + 1) for o in (one, two) if r in o))
    assert fuse([one, two], 10).tolist() == expected
    assert fuse([one, two], 1).tolist() == [2]
    assert fuse([one, two], 2, [1.0, 0.0]).tolist() == [3, 1]
    assert fuse([np.zeros(0, dtype=np.int64)], 3).tolist() == []


def test_hybrid_search_finds_what_either_finds(clustered):
    words = WordIndex.build(["rare"] + ["common"] * 3999)
    retriever = Retriever(ExactIndex(clustered), words)
    found = retriever.retrieve(clustered[7], "rare", 10)
    assert {0, 7} <= set(found.tolist())
    assert retriever.retrieve(clustered[7], "", 3)[0] == 7
    assert retriever.retrieve(None, "rare", 5).tolist() == [0]
    assert Retriever(ExactIndex(clustered)).retrieve(clustered[7], "rare", 2).tolist()[0] == 7


@pytest.mark.parametrize(("kind", "least"), [("exact", 1.0), ("flat", 0.999), ("fastscan", 0.9), ("hnsw", 0.95)])
def test_an_index_finds_what_the_scan_finds(kind, least, clustered):
    index = build_index(clustered, kind)
    truth = [ExactIndex(clustered).search(z, 10) for z in clustered[:50]]
    assert recall([index.search(z, 10) for z in clustered[:50]], truth) >= least


def test_an_index_is_memory_mapped_from_its_file(tmp_path, clustered):
    index = build_index(clustered, "hnsw")
    loaded = FaissIndex.load(index.save(tmp_path / "index.faiss"))
    np.testing.assert_array_equal(loaded.search(clustered[3], 5), index.search(clustered[3], 5))
    with pytest.raises(BundleMissing):
        FaissIndex.load(tmp_path / "none")


def test_a_refined_index_outlives_the_array_it_was_built_from():
    rows = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = build_index(rows.astype(np.float64), "fastscan")  # converted inside: nothing else holds the copy
    spoiled = [np.full((500, 16), np.nan, dtype=np.float32) for _ in range(20)]
    assert index.search(rows[11], 5)[0] == 11
    del spoiled


def test_a_small_catalogue_is_scanned_without_trying_anything_else(clustered):
    ticks = itertools.count()
    index, trials = choose_index(clustered, clustered[:8], lambda: float(next(ticks)))
    assert isinstance(index, ExactIndex)
    assert [trial.kind for trial in trials] == ["exact"]


def test_the_fastest_index_with_enough_recall_is_chosen(clustered):
    import time

    index, trials = choose_index(clustered, clustered[:20], time.perf_counter, k=10, scan_rows=1, min_recall=0.9)
    by_kind = {trial.kind: trial for trial in trials}
    assert set(by_kind) == {"exact", "flat", "fastscan", "hnsw"}
    allowed = [trial for trial in trials if trial.recall >= 0.9]
    fastest = min(allowed, key=lambda trial: trial.milliseconds).kind
    assert isinstance(index, ExactIndex) == (fastest == "exact")
    strict, _ = choose_index(clustered, clustered[:20], time.perf_counter, k=10, scan_rows=1, min_recall=1.0)
    assert strict is not None


def test_an_unknown_index_is_refused(clustered):
    with pytest.raises(ConfigError, match="annoy"):
        build_index(clustered, "annoy")
