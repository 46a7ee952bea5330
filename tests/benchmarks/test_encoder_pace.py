"""The benchmarks of fine-tuning: every line runs at a tiny size on a CPU; without a GPU its run says what it needs."""

from dataclasses import replace

import pytest
import torch

from benchmarks import encoder_gpu, encoder_pace, encoder_pace_peer, encoder_training
from benchmarks.encoder_gpu import FULL
from benchmarks.encoder_pace import PEAKS, Size
from fairtag.base.errors import UnavailableError


def test_without_a_gpu_the_full_run_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"NVIDIA GPU.*--quick"):
        encoder_gpu.run()


def test_a_tiny_encoder_goes_through_every_row_and_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(encoder_pace_peer, "NEEDED", ("a_package_that_is_nowhere",))
    result = encoder_gpu.quick()
    rows = {row.metric: row.value for row in result.rows}
    assert set(rows) == {"tiny_tokens", "tiny_pairs", "tiny_rate_at_accumulation_2"}  # no memory and no peak on a CPU
    assert min(rows.values()) > 0
    assert any("a_package_that_is_nowhere" in note for note in result.notes)


def test_the_peers_rows_stand_beside_ours(monkeypatch):
    monkeypatch.setattr(encoder_pace, "peer_seconds", lambda *_: (0.5, 2_000_000_000))
    rows = {row.metric: row for row in encoder_gpu.quick().rows}
    ours, theirs = rows["tiny_tokens"].value, rows["tiny_tokens_sentence_transformers"].value
    assert rows["tiny_over_sentence_transformers"].value == pytest.approx(ours / theirs)
    assert rows["tiny_memory_sentence_transformers"].value == 2.0


def test_floating_point_work_is_six_a_weight_and_token_and_the_products_of_attention():
    bert = next(size for size in FULL.sizes if size.name == "bert_base")
    assert bert.flops(1, 0.0) == pytest.approx(6 * 85e6, rel=0.01)  # BERT-base has 85 million weights in its layers
    one = Size("one", 1, 10, 1, 0)
    assert one.flops(1, 7.0) - one.flops(1, 0.0) == pytest.approx(3 * 2 * 2 * 7 * 10)  # two products, three passes
    assert PEAKS["H100"] == 989e12


def test_the_cpus_benchmark_takes_turns_with_its_peer(monkeypatch):
    tiny = replace(encoder_training.FULL, sizes=encoder_gpu.TINY.sizes, batch=4, steps=8, max_length=16, rounds=3)
    seconds = iter([1.0, 4.0, 2.0])
    monkeypatch.setattr(encoder_training, "FULL", replace(tiny, accumulations=(1,)))
    monkeypatch.setattr(encoder_pace, "_ours", lambda *_: encoder_pace.Trained(0.5, 0))
    monkeypatch.setattr(encoder_pace, "peer_seconds", lambda *_: (next(seconds), 0))
    result = encoder_training.run()
    rows = {row.metric: row.value for row in result.rows}
    assert rows["tiny_over_sentence_transformers"] == 4.0, "the median turn"
    assert rows["tiny_pairs"] == 8.0
    assert (result.name, result.command) == ("encoder-training", "python -m benchmarks encoder-training")
