"""A student: fewer layers, nearly the teacher's embeddings, the same for the same seed, exported like any encoder."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, Qwen2Config, Qwen2Model

from fairtag.base.errors import ConfigError, DataError
from fairtag.encoder.distillation import make_student, query_milliseconds, spread_layers
from fairtag.encoder.encoder import REPORT, load_encoder
from fairtag.encoder.model import Encoder, TorchEncoder
from fairtag.encoder.training import train_encoder


@pytest.mark.parametrize(
    ("layers", "wanted", "kept"), [(6, 3, [0, 2, 5]), (12, 6, [0, 2, 4, 7, 9, 11]), (6, 2, [0, 5]), (2, 1, [1])]
)
def test_the_kept_layers_are_spread_from_the_first_to_the_last(layers, wanted, kept):
    assert spread_layers(layers, wanted) == kept


@pytest.mark.parametrize("wanted", [2, 7])
def test_a_student_as_deep_as_its_teacher_is_refused_with_the_range(wanted):
    with pytest.raises(
        ConfigError, match=r"student\.layers is \d and the encoder has 2 layers; a student keeps 1 to 1"
    ):
        spread_layers(2, wanted)


SMALL = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4}
FAMILIES = {
    "bert": lambda: BertModel(BertConfig(**SMALL, intermediate_size=16), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=20, dim=16, n_heads=2, n_layers=4, hidden_dim=16)
    ),
    "qwen": lambda: Qwen2Model(Qwen2Config(**SMALL, intermediate_size=16, num_key_value_heads=2)),
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_student_has_its_teachers_weights_in_the_layers_it_kept(family):
    torch.manual_seed(0)
    teacher = Encoder(FAMILIES[family]()).eval()
    student, kept = make_student(teacher, 2)
    assert kept == [0, 3]
    names = {"bert": "encoder.layer", "distilbert": "transformer.layer", "qwen": "layers"}
    theirs, own = (dict(model.backbone.get_submodule(names[family]).named_children()) for model in (teacher, student))
    for old, new in (("0", "0"), ("3", "1")):
        for name, value in theirs[old].state_dict().items():
            assert torch.equal(own[new].state_dict()[name], value), name
    ids = torch.ones(1, 5, dtype=torch.int64)
    assert student.eval()(ids, ids).shape == teacher(ids, ids).shape


@pytest.fixture(scope="module")
def distilled(config, judgements, items, tmp_path_factory):
    settings = config(
        student={"layers": 1, "steps": 60, "learning_rate": 2e-3}, schedule={"max_steps": 20}, export="auto"
    )
    folder = tmp_path_factory.mktemp("distilled") / "e"
    told = []
    report = train_encoder(settings, judgements, items, folder, progress=told.append)
    return settings, folder, report, told


@pytest.mark.slow
def test_a_student_embeds_nearly_as_its_teacher_does_and_both_are_in_the_report(distilled):
    _, folder, report, told = distilled
    outcome = json.loads((folder / REPORT).read_text())["distillation"]
    assert outcome == json.loads(json.dumps(report.distillation))
    assert outcome["layers"] == [1]
    assert outcome["losses"][1] < 0.3 * outcome["losses"][0]
    assert outcome["mean_cosine"] > 0.9
    teacher, student = outcome["teacher"], outcome["student"]
    assert student["parameters"] < teacher["parameters"]
    assert {"ndcg10", "relevance_rmse", "price_rmsle"} <= teacher["scores"].keys() == student["scores"].keys()
    best = next(row for row in report.evaluations if row["step"] == report.best_step)
    assert teacher["scores"]["ndcg10"] == pytest.approx(best["ndcg10"])
    assert abs(student["scores"]["relevance_rmse"] - teacher["scores"]["relevance_rmse"]) < 0.1
    assert teacher["milliseconds"] > 0 < student["milliseconds"]
    stages = [now.stage for now in told]
    assert stages == [""] * report.steps + ["student"] * 60
    assert told[-1].seconds_left == 0.0


@pytest.mark.slow
def test_the_student_is_what_ships(distilled):
    _, folder, report, _ = distilled
    torch_encoder = TorchEncoder.load(folder)
    assert torch_encoder.model.backbone.config.num_hidden_layers == 1
    texts = ["a drill red", "blue lamp", ""]
    assert [export["name"] for export in report.exports] == ["torch", "fp32", "int8"]
    np.testing.assert_allclose(
        load_encoder(folder).encode(texts, "item"), torch_encoder.encode(texts, "item"), atol=0.2
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_student(distilled, config, judgements, items, tmp_path):
    settings, folder, _, _ = distilled
    train_encoder(settings.override({"export": "none"}), judgements, items, tmp_path / "again")
    for name in ("model/model.safetensors", "heads.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_adapters_are_merged_before_a_student_is_taken(config, judgements, items, tmp_path):
    settings = config(
        tuning={"method": "lora", "lora_rank": 2}, student={"layers": 1, "steps": 2}, schedule={"max_steps": 2}
    )
    report = train_encoder(settings, judgements, items, tmp_path / "e")
    assert report.distillation["student"]["parameters"] < report.distillation["teacher"]["parameters"]
    assert load_encoder(tmp_path / "e").encode(["red drill"], "query").shape == (1, 32)


def test_a_student_without_a_text_is_refused(config, tmp_path):
    with pytest.raises(DataError, match=r"student\.layers"):
        train_encoder(config(tuning={"method": "none"}, student={"layers": 1}), None, None, tmp_path / "e")


def test_a_querys_time_is_the_median_by_the_given_clock():
    ticks = iter(np.arange(0.0, 1e3, 0.25))
    teacher = Encoder(FAMILIES["bert"]())
    threads = torch.get_num_threads()
    assert query_milliseconds(teacher, lambda: float(next(ticks))) == 250.0
    assert torch.get_num_threads() == threads
