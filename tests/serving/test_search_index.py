from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pricing.search.similarity import top_k
from serving import search_index
from serving.search_index import open_index


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 64))
    rows = centres[rng.integers(200, size=3_000)] + rng.normal(scale=0.4, size=(3_000, 64))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def index(embeddings: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search_index, "SCAN_ROWS", 1_000)
    return open_index(embeddings, tmp_path / "codes.faiss")


def test_a_small_catalogue_needs_no_codes(embeddings: np.ndarray, tmp_path: Path) -> None:
    assert open_index(embeddings, tmp_path / "codes.faiss") is None


def test_nearly_all_of_the_true_neighbours_are_found_in_their_order(embeddings: np.ndarray, index) -> None:
    rng = np.random.default_rng(1)
    shares = []
    for row in rng.integers(len(embeddings), size=30):
        z = embeddings[row] + rng.normal(scale=0.05, size=64)
        z = (z / np.linalg.norm(z)).astype(np.float32)
        found, truth = index.search(z, 50), top_k(z, embeddings, 50)[0]
        shares.append(len(np.intersect1d(found, truth)) / 50)
        scores = embeddings[found] @ z
        assert (np.diff(scores) <= 1e-6).all()
    assert np.mean(shares) >= 0.98


def test_codes_are_read_back_and_not_trusted_for_another_catalogue(
    embeddings: np.ndarray, index, tmp_path: Path
) -> None:
    again = open_index(embeddings, tmp_path / "codes.faiss")
    assert again is not None
    assert again.search(embeddings[7], 5).tolist() == index.search(embeddings[7], 5).tolist()
    fewer = open_index(embeddings[:2_000], tmp_path / "codes.faiss")
    assert fewer is not None
    assert fewer.search(embeddings[7], 2_000).max() < 2_000


def test_more_rows_than_there_are_gives_what_there_is(embeddings: np.ndarray, index) -> None:
    assert len(index.search(embeddings[0], 10_000)) == len(embeddings)


def test_a_disk_that_cannot_keep_the_codes_does_not_stop_the_search(
    embeddings: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "SCAN_ROWS", 1_000)
    (tmp_path / "file").write_text("where a folder should be")
    index = open_index(embeddings, tmp_path / "file" / "codes.faiss")
    assert index is not None
    assert index.search(embeddings[3], 1).tolist() == [3]
