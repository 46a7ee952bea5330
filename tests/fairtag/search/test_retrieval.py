"""Search by words, by meaning and by both."""

import numpy as np
import pytest

from fairtag.base.errors import ModelFolderMissing
from fairtag.search.dense_index import ExactIndex
from fairtag.search.retrieval import Retriever
from fairtag.search.word_index import WordIndex, fuse

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
    with pytest.raises(ModelFolderMissing):
        WordIndex.load(tmp_path / "nothing")


def test_fusion_is_the_sum_of_reciprocal_ranks():
    one, two = np.array([3, 1, 2]), np.array([2, 9])
    expected = sorted({3, 1, 2, 9}, key=lambda r: -sum(1 / (60 + list(o).index(r) + 1) for o in (one, two) if r in o))
    assert fuse([one, two], 10).tolist() == expected
    assert fuse([one, two], 1).tolist() == [2]
    assert fuse([one, two], 2, [1.0, 0.0]).tolist() == [3, 1]
    assert fuse([np.zeros(0, dtype=np.int64)], 3).tolist() == []


def test_ranks_are_counted_from_one_and_damped_by_sixty():
    """A row that both orders have at rank r gets 2 / (60 + r), the first of one order 1 / 61: they are equal at 62."""
    for rank, best in ((61, 999), (62, 0), (63, 0)):
        one, two = np.arange(70), np.arange(100, 170)
        one[rank - 1] = two[rank - 1] = 999
        assert fuse([one, two], 1).tolist() == [best]


def test_hybrid_search_finds_what_either_finds(clustered):
    words = WordIndex.build(["rare"] + ["common"] * 3999)
    retriever = Retriever(ExactIndex(clustered), words)
    found = retriever.retrieve(clustered[7], "rare", 10)
    assert {0, 7} <= set(found.tolist())
    assert retriever.retrieve(clustered[7], "", 3)[0] == 7
    assert retriever.retrieve(None, "rare", 5).tolist() == [0]
    assert Retriever(ExactIndex(clustered)).retrieve(clustered[7], "rare", 2).tolist()[0] == 7
