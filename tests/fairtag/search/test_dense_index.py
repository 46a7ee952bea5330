"""The index of a catalogue: chosen by recall and cost, the same for the same rows, and read back as it was."""

import numpy as np
import pytest

from fairtag.base.errors import ModelFolderMissing
from fairtag.search import dense_index
from fairtag.search.dense_index import (
    CHOICE,
    CODES,
    PROBES,
    WIDTHS,
    CodeIndex,
    DensePart,
    ExactIndex,
    choose_index,
    recall,
)
from fairtag.search.similarity import top_k


def clustered(rows, width=64, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, width))
    found = centres[rng.integers(200, size=rows)] + rng.normal(scale=0.4, size=(rows, width))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def embeddings():
    return clustered(3_000)


@pytest.fixture(scope="module")
def queries(embeddings):
    rng = np.random.default_rng(1)
    rows = embeddings[rng.integers(len(embeddings), size=100)] + rng.normal(scale=0.05, size=(100, 64))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def part(embeddings, queries):
    return choose_index(embeddings, queries, k=20, scan_rows=1_000)


def test_a_small_catalogue_and_an_odd_dimension_are_scanned_and_nothing_is_tried(embeddings, queries):
    for part in (choose_index(embeddings, queries), choose_index(embeddings[:, :63], queries[:, :63], scan_rows=1)):
        assert (part.choice.kind, part.choice.queries, part.codes) == ("scan", 0, None)
        assert isinstance(part.over(embeddings), ExactIndex)


def test_codes_find_what_a_scan_finds_best_first(embeddings, queries, part):
    assert part.choice.kind == "codes"
    index = part.over(embeddings)
    unseen = queries[1::3]  # the choice saw some of them; these are every third
    found = [index.search(z, 50) for z in unseen]
    assert recall(found, [top_k(z, embeddings, 50)[0] for z in unseen]) >= 0.98
    for rows, z in zip(found, unseen, strict=True):
        assert (np.diff(embeddings[rows] @ z) <= 1e-6).all()


def test_the_cheapest_width_with_enough_recall_is_taken_and_what_was_tried_is_kept(embeddings, queries, monkeypatch):
    monkeypatch.setattr(dense_index, "MIN_CANDIDATES", 1)  # or a small page would be found whatever the width
    easy = choose_index(embeddings, queries, k=20, scan_rows=1, min_recall=0.5).choice
    assert (easy.width, list(easy.tried)) == (WIDTHS[0], [str(WIDTHS[0])])
    strict = choose_index(embeddings, queries, k=20, scan_rows=1, min_recall=0.999).choice
    assert strict.width > easy.width
    assert list(strict.tried) == [str(width) for width in WIDTHS[: WIDTHS.index(strict.width) + 1]]
    assert max([*strict.tried.values()][:-1]) < 0.999 <= strict.recall
    assert strict.queries == min(len(queries), dense_index.MAX_QUERIES)


def test_a_catalogue_that_no_width_finds_is_scanned(embeddings, queries):
    part = choose_index(embeddings, queries, k=20, scan_rows=1, min_recall=1.01)
    assert (part.choice.kind, part.choice.recall, part.codes) == ("scan", 1.0, None)
    assert len(part.choice.tried) == len(WIDTHS)


def test_without_queries_the_catalogues_own_rows_are_asked(embeddings):
    choice = choose_index(embeddings, embeddings[:0], k=20, scan_rows=1).choice
    assert (choice.kind, choice.queries) == ("codes", dense_index.MAX_QUERIES)


def test_the_same_rows_make_the_same_files_whatever_the_threads(embeddings, queries, part, tmp_path):
    import faiss

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    part.save(tmp_path / "a")
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        choose_index(embeddings, queries, k=20, scan_rows=1_000).save(tmp_path / "b")
        assert faiss.omp_get_max_threads() == 2  # it is put back
    finally:
        faiss.omp_set_num_threads(threads)
    for name in (CODES, CHOICE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_index_is_read_back_and_a_missing_file_is_named(embeddings, queries, part, tmp_path):
    with pytest.raises(ModelFolderMissing, match=CHOICE):
        DensePart.load(tmp_path)
    part.save(tmp_path)
    again = DensePart.load(tmp_path)
    assert again.choice == part.choice
    for z in queries[:5]:
        assert again.over(embeddings).search(z, 5).tolist() == part.over(embeddings).search(z, 5).tolist()
    (tmp_path / CODES).unlink()
    with pytest.raises(ModelFolderMissing, match=CODES):
        DensePart.load(tmp_path)
    DensePart().save(tmp_path)
    assert DensePart.load(tmp_path) == DensePart()


def test_more_rows_than_there_are_gives_what_there_is(embeddings, part):
    index = part.over(embeddings)
    assert isinstance(index, CodeIndex)
    assert len(index.search(embeddings[0], 10_000)) == len(embeddings)


def test_recall_is_the_share_of_the_true_rows():
    assert recall([np.array([1, 2]), np.array([9])], [np.array([1, 3]), np.array([9])]) == 0.75
    assert recall([], []) == 1.0


def test_a_large_catalogue_is_searched_by_lists_and_read_back_as_it_was(embeddings, queries, monkeypatch, tmp_path):
    monkeypatch.setattr(dense_index, "LISTED_ROWS", 1_000)
    part = choose_index(embeddings, queries, k=20, scan_rows=1_000)
    assert part.choice.kind == "lists"
    assert next(iter(part.choice.tried)) == f"{PROBES[0]} x {WIDTHS[0]}"
    unseen = queries[1::3]
    before = part.over(embeddings)
    found = [before.search(z, 20) for z in unseen]
    assert recall(found, [top_k(z, embeddings, 20)[0] for z in unseen]) >= 0.98
    part.save(tmp_path)
    again = DensePart.load(tmp_path).over(embeddings)
    for z, rows in zip(unseen, found, strict=True):
        np.testing.assert_array_equal(again.search(z, 20), rows)
