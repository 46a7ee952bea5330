"""Each base pools as it was taught to: what its folder says, its family, and what this encoder has no place for."""

import json

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.encoder.base_model import MODULES, pooling_of, published_modules
from fairtag.encoder.encoder import DESCRIPTION, MODEL, describe_encoder, load_encoder
from fairtag.encoder.model import load_base
from fairtag.encoder.training import train_encoder

POOLING = "1_Pooling/config.json"


def write(folder, **files):
    """A folder that says what stands behind its transformer."""
    said = {MODULES: published_modules("mean", 8)[MODULES], **files}
    for name, document in said.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return str(folder)


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("minilm", "mean"),
        ("intfloat/e5-small-v2", "mean"),
        ("BAAI/bge-small-en-v1.5", "cls"),
        ("BAAI/bge-m3", "cls"),
        ("BAAI/bge-m3000", "mean"),
        ("Snowflake/snowflake-arctic-embed-m", "cls"),
        ("Qwen/Qwen3-Embedding-0.6B", "last"),
        ("intfloat/e5-mistral-7b-instruct", "last"),
        ("FacebookAI/xlm-roberta-base", "mean"),
    ],
)
def test_a_family_is_known_by_its_models_name(base, wanted, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pooling_of(base, None) == wanted
    assert pooling_of(base, "last") == "last"


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"pooling_mode": "cls", "embedding_dimension": 8}, "cls"),
        ({"pooling_mode": ["lasttoken"]}, "last"),
    ],
)
def test_what_a_folder_says_comes_before_its_family(document, wanted, tmp_path):
    assert pooling_of(write(tmp_path / "bge-small-en", **{POOLING: document}), None) == wanted


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({POOLING: {"pooling_mode_max_tokens": True}}, "pools by max; it must be one of mean, cls, lasttoken"),
        ({POOLING: {"pooling_mode": ["mean", "max"]}}, "pools by mean and max"),
        ({POOLING: {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}}, "pools by cls and mean"),
        ({POOLING: {}}, "pools by nothing"),
        ({POOLING: []}, "pools by nothing"),
        ({POOLING: "{"}, "not readable as JSON"),
        ({POOLING: {"pooling_mode": "mean", "include_prompt": False}}, "excludes the prefix from the pooling"),
        ({MODULES: {"0": "x"}}, "not a list of modules"),
        ({MODULES: [{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]}, "a module Dense"),
    ],
)
def test_what_this_encoder_does_not_have_is_refused_unless_a_pooling_is_given(files, said, tmp_path):
    base = write(tmp_path / "base", **files)
    with pytest.raises(ConfigError, match=said) as refused:
        pooling_of(base, None)
    assert base in str(refused.value)
    assert pooling_of(base, "mean") == "mean"


def test_a_folder_that_names_no_pooling_leaves_it_to_the_family(tmp_path):
    assert pooling_of(write(tmp_path / "bge-base-en"), None) == "cls"  # the file it points at is not there
    assert pooling_of(write(tmp_path / "bge-large-en", **{MODULES: []}), None) == "cls"


def test_a_hub_that_fails_is_not_taken_for_a_model_that_says_nothing(monkeypatch):
    def refuse(repo, name):
        raise OSError("502 Bad Gateway")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ConfigError, match=r"could not be asked for its modules\.json; .* set encoder\.base\.pooling"):
        pooling_of("shop/encoder", None)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_tuned_encoder_pools_alike_as_a_base_in_its_turn_and_in_sentence_transformers(pooling, config, tmp_path):
    train_encoder(config(tuning={"method": "none"}, base={"pooling": pooling}), None, None, tmp_path / "e")
    folder = str(tmp_path / "e" / MODEL)
    assert load_base(folder)[0].pooling == pooling
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="no sentence-transformers here")
    texts = ["red drill", "the new green chair with a mirror"]
    theirs = sentence_transformers.SentenceTransformer(folder, device="cpu").encode(texts)
    ours = load_encoder(tmp_path / "e", backend="torch").encode(texts, "item")
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_a_folder_whose_pooling_nobody_knows_is_refused(config, tmp_path):
    train_encoder(config(tuning={"method": "none"}), None, None, tmp_path / "e")
    file = tmp_path / "e" / DESCRIPTION
    file.write_text(json.dumps({**json.loads(file.read_text()), "pooling": "max"}))
    with pytest.raises(ModelFolderError, match="pooling is 'max'; it must be one of mean, cls, last"):
        describe_encoder(tmp_path / "e")
