"""The benchmarks of fine-tuning: every line runs at a tiny size on a CPU; without a GPU its run says what it needs."""

from dataclasses import replace

import pytest
import torch

from benchmarks.encoder import fine_tuning, trainer_pace
from benchmarks.encoder.trainer_pace import PEAKS, Size, StepCost
from benchmarks.registry import find
from fairtag.base.errors import UnavailableError


def test_without_a_gpu_the_full_run_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"NVIDIA GPU.*--quick"):
        find("encoder-gpu").run()


@pytest.mark.slow
def test_a_tiny_encoder_goes_through_every_row_and_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(trainer_pace, "NEEDED", ("a_package_that_is_nowhere",))
    result = find("encoder-gpu").run(quick=True)
    rows = {row.metric: row.value for row in result.rows}
    assert set(rows) == {"tiny_tokens", "tiny_pairs", "tiny_rate_at_accumulation_2"}  # no memory and no peak on a CPU
    assert min(rows.values()) > 0
    assert any("a_package_that_is_nowhere" in note for note in result.notes)


@pytest.mark.slow
def test_the_peers_rows_stand_beside_ours(monkeypatch):
    monkeypatch.setattr(trainer_pace, "train_peer", lambda *_: StepCost(0.5, 2_000_000_000))
    rows = {row.metric: row for row in fine_tuning.run_tiny().rows}
    ours, theirs = rows["tiny_tokens"].value, rows["tiny_tokens_sentence_transformers"].value
    assert rows["tiny_over_sentence_transformers"].value == pytest.approx(ours / theirs)
    assert rows["tiny_memory_sentence_transformers"].value == 2.0


def test_floating_point_work_is_six_a_weight_and_token_and_the_products_of_attention():
    bert = next(size for size in fine_tuning.ON_GPU.sizes if size.name == "bert_base")
    assert bert.flops(1, 0.0) == pytest.approx(6 * 85e6, rel=0.01)  # BERT-base has 85 million weights in its layers
    one = Size("one", 1, 10, 1, 0)
    assert one.flops(1, 7.0) - one.flops(1, 0.0) == pytest.approx(3 * 2 * 2 * 7 * 10)  # two products, three passes
    assert PEAKS["H100"] == 989e12


def test_the_cpus_benchmark_takes_turns_with_its_peer(monkeypatch):
    tiny = replace(fine_tuning.ON_CPU, sizes=fine_tuning.TINY.sizes, batch=4, steps=8, max_length=16, rounds=3)
    seconds = iter([1.0, 4.0, 2.0])
    monkeypatch.setattr(fine_tuning, "ON_CPU", replace(tiny, accumulations=(1,)))
    monkeypatch.setattr(trainer_pace, "train_ours", lambda *_: StepCost(0.5, 0))
    monkeypatch.setattr(trainer_pace, "train_peer", lambda *_: StepCost(next(seconds), 0))
    result = find("encoder-training").run()
    rows = {row.metric: row.value for row in result.rows}
    assert rows["tiny_over_sentence_transformers"] == 4.0, "the median turn"
    assert rows["tiny_pairs"] == 8.0
    assert (result.name, result.command) == ("encoder-training", "python -m benchmarks encoder-training")


def test_the_cpus_quick_run_trains_a_few_steps_once(monkeypatch):
    plans = []
    monkeypatch.setattr(fine_tuning, "compare", plans.append)
    fine_tuning.run_briefly_on_cpu()
    assert (plans[0].steps, plans[0].accumulations, plans[0].rounds) == (8, (1,), 1)
    assert plans[0].sizes == fine_tuning.ON_CPU.sizes
