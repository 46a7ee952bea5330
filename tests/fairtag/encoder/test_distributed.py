"""Two processes, with the encoder whole in each or cut over both, learn what one learns; killed or not."""

import json

import numpy as np
import pytest
import torch

from fairtag.encoder.encoder import REPORT, load_encoder
from fairtag.encoder.training import train_encoder

TEXTS = ["red drill", "a chair for the lamp", "premium mower"]
WORKER = """
import json, pathlib, sys
import pandas, torch
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.training import train_encoder
torch.set_num_threads(1)
folder, rank, killed_at = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = torch.distributed.FileStore(str(folder / f"store-{killed_at}"), 2)
torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
config = EncoderConfig.from_json((folder / "config.json").read_text())
judgements, items = pandas.read_parquet(folder / "j.parquet"), pandas.read_parquet(folder / "i.parquet")

def progress(now):
    if now.step == killed_at:
        raise KeyboardInterrupt

train_encoder(config, judgements, items, folder / "group", progress=progress)
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def as_group(start_script):
    """Trains in two processes; where the first is to die at a step, ends the other too."""

    def run(folder, config, judgements, items, killed_at=0):
        judgements.to_parquet(folder / "j.parquet")
        items.to_parquet(folder / "i.parquet")
        (folder / "config.json").write_text(json.dumps(config.as_json()))
        group = [start_script(WORKER, folder, rank, killed_at) for rank in (0, 1)]
        code, output = group[0].wait()
        if killed_at:
            group[1].kill()
            assert code != 0
            assert "KeyboardInterrupt" in output, output
        other_code, other = group[1].wait()
        if not killed_at:
            assert code == 0, output
            assert other_code == 0, other
        return folder / "group"

    return run


def assert_alike(one, other):
    rows = [load_encoder(folder, backend="torch").encode(TEXTS, "item") for folder in (one, other)]
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)  # sums of gradients are rounded in another order


@pytest.fixture(scope="module")
def alone(config, judgements, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "e"
    return folder, train_encoder(
        config(batch={"accumulation": 2}, schedule={"max_steps": 4}, validation={"every": 2}), judgements, items, folder
    )


@pytest.fixture(scope="module")
def cut(as_group, config, judgements, items, tmp_path_factory):
    settings = config(
        schedule={"max_steps": 4, "checkpoint_every": 1}, validation={"every": 2}, hardware={"sharding": "full"}
    )
    return as_group(tmp_path_factory.mktemp("cut"), settings, judgements, items)


def assert_same_training(folder, alone):
    report, (one, expected) = json.loads((folder / REPORT).read_text()), alone
    assert report["processes"] == 2
    assert report["tokens"] == pytest.approx(expected.tokens, rel=0.2)
    assert report["trained_parameters"] == expected.trained_parameters
    for scores, others in zip(report["evaluations"], expected.evaluations, strict=True):
        assert scores == pytest.approx(others, abs=1e-3)
    assert_alike(one, folder)


@pytest.mark.slow
def test_two_processes_with_a_micro_batch_each_are_one_that_accumulates_two(
    as_group, alone, config, judgements, items, tmp_path
):
    assert_same_training(
        as_group(tmp_path, config(schedule={"max_steps": 4}, validation={"every": 2}), judgements, items), alone
    )


def test_an_encoder_cut_over_two_processes_learns_what_a_whole_one_does(alone, cut):
    assert_same_training(cut, alone)


@pytest.mark.slow
def test_a_cut_encoder_accumulates_recomputes_and_has_adapters_too(as_group, config, judgements, items, tmp_path):
    settings = {
        "tuning": {"method": "lora", "lora_rank": 2},
        "schedule": {"max_steps": 3},
        "hardware": {"gradient_checkpointing": True},
    }
    train_encoder(config(settings, batch={"accumulation": 4}), judgements, items, tmp_path / "alone")
    folder = as_group(
        tmp_path, config(settings, batch={"accumulation": 2}, hardware={"sharding": "full"}), judgements, items
    )
    assert_alike(tmp_path / "alone", folder)


@pytest.mark.slow
def test_a_cut_run_that_is_killed_goes_on_to_the_same_weights(as_group, cut, config, judgements, items, tmp_path):
    settings = config(
        schedule={"max_steps": 4, "checkpoint_every": 1}, validation={"every": 2}, hardware={"sharding": "full"}
    )
    as_group(tmp_path, settings, judgements, items, killed_at=3)
    assert [file.name for file in (tmp_path / ".group.training").glob("step-*")] == ["step-00000003"]
    again = as_group(tmp_path, settings, judgements, items)
    for file in sorted((cut / "model").glob("*.safetensors")):
        assert (again / "model" / file.name).read_bytes() == file.read_bytes()


def test_one_process_has_the_whole_encoder_whatever_the_setting(config, judgements, items, tmp_path):
    for sharding in ("none", "full"):
        train_encoder(
            config(schedule={"max_steps": 2}, hardware={"sharding": sharding}), judgements, items, tmp_path / sharding
        )
    rows = [load_encoder(tmp_path / name, backend="torch").encode(TEXTS, "item") for name in ("none", "full")]
    np.testing.assert_array_equal(rows[1], rows[0])


@pytest.mark.slow
def test_each_process_holds_its_part_and_the_whole_can_be_asked_for(start_script, tiny_base, tmp_path):
    program = """
        import json, sys
        import torch
        from torch import distributed
        from fairtag.encoder.model import load_base
        from fairtag.encoder.distributed import shard_like, shard, whole
        rank = int(sys.argv[2])
        distributed.init_process_group("gloo", store=distributed.FileStore(sys.argv[3], 2), rank=rank, world_size=2)
        model = load_base(sys.argv[1])[0]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        shard(model, "cpu")
        held = sum(value.to_local().numel() for value in model.parameters())
        for name, value in model.state_dict().items():
            assert torch.equal(whole(value), before[name]), name
            assert torch.equal(whole(shard_like(before[name], value)), before[name]), name
        print(json.dumps([held, sum(value.numel() for value in before.values())]))
        distributed.destroy_process_group()
    """
    group = [start_script(program, tiny_base, rank, tmp_path / "store") for rank in (0, 1)]
    answers = [json.loads(process.wait()[1].splitlines()[-1]) for process in group]
    total = answers[0][1]
    assert sum(held for held, _ in answers) == total
    assert max(held for held, _ in answers) < 0.55 * total


def test_gradients_are_clipped_by_the_norm_of_all_of_them():
    from fairtag.encoder.distributed import clip_gradients

    values = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))]
    values[0].grad, values[1].grad = torch.full((3,), 3.0), torch.full((2,), 4.0)
    expected = [value.grad.clone() for value in values]
    norm = torch.cat(expected).norm()
    clip_gradients(values, 1.0)
    for value, before in zip(values, expected, strict=True):
        torch.testing.assert_close(value.grad, before / norm, rtol=1e-5, atol=1e-6)
