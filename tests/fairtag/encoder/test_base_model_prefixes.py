"""A query and an item each stand behind their own words: whose they are, and that no place forgets a text's role."""

import json
import shutil

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.encoder.base_model import PROMPTS, prefixes_of
from fairtag.encoder.cross_validation import split_folds
from fairtag.encoder.encoder import DESCRIPTION, MODEL, OLD_SCHEMA, Prefixes, describe_encoder, load_encoder
from fairtag.encoder.model import TorchEncoder, load_base, tokenise
from fairtag.encoder.onnx import OnnxEncoder
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_data import encoder_data

E5 = Prefixes("query: ", "passage: ")
QUERY, ITEM = "the ", "new "  # words that the tiny tokenizer knows
WANTED = {"base": {"query_prefix": QUERY, "item_prefix": ITEM}}
TEXTS = ["red drill", "", "a premium blue lamp with a mirror"]


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("intfloat/e5-small-v2", E5),
        ("intfloat/multilingual-e5-base", E5),
        ("BAAI/bge-small-en-v1.5", Prefixes("Represent this sentence for searching relevant passages: ")),
        ("BAAI/bge-large-zh-v1.5", Prefixes("为这个句子生成表示以用于检索相关文章：")),  # noqa: RUF001  (its card's)
        ("BAAI/bge-m3", Prefixes()),
        ("BAAI/bge-reranker-base", Prefixes()),
        ("FacebookAI/xlm-roberta-base", Prefixes()),
        ("minilm", Prefixes()),
    ],
)
def test_a_family_is_known_by_its_models_name(base, wanted, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert prefixes_of(base) == wanted


@pytest.mark.parametrize(
    ("folder", "wanted"),
    [
        ("models--intfloat--e5-large/snapshots/0123abc", E5),
        ("E5-small-v2-our-shop", E5),
        ("e5-experiments/roberta", Prefixes()),
        ("e5-largest", Prefixes()),
    ],
)
@pytest.mark.slow
def test_a_family_is_known_by_the_name_of_its_folder(folder, wanted, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    assert prefixes_of(f"{tmp_path / folder}/") == wanted


def test_an_instructed_model_is_told_its_task_before_a_query_alone(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    task = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    assert prefixes_of("Qwen/Qwen3-Embedding-0.6B") == Prefixes(task)
    assert prefixes_of("intfloat/multilingual-e5-large-instruct") == Prefixes(f"{task} ")


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"prompts": {"query": "ask: ", "passage": "sold: "}}, Prefixes("ask: ", "sold: ")),
        ({"prompts": {"query": "ask: ", "document": "doc: ", "passage": "sold: "}}, Prefixes("ask: ", "doc: ")),
        ({"prompts": {"query": "ask: "}}, Prefixes("ask: ", "")),
        ({"prompts": {"query": "ask: ", "all": "x: "}, "default_prompt_name": "all"}, Prefixes("ask: ", "x: ")),
        ({"prompts": {"query": None, "document": None}}, E5),
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, E5),
        ({"prompts": {"clustering": "cluster: "}}, E5),
        ({"__version__": {}}, E5),
    ],
)
def test_prompts_of_the_models_own_folder_come_before_its_familys(document, wanted, tmp_path):
    folder = tmp_path / "e5-small-v2"
    folder.mkdir()
    assert prefixes_of(str(folder)) == E5
    (folder / PROMPTS).write_text(json.dumps(document))
    assert prefixes_of(str(folder)) == wanted
    assert prefixes_of(str(folder), query="") == Prefixes("", wanted.item)
    assert prefixes_of(str(folder), query="Q ", item="I ") == Prefixes("Q ", "I ")


def test_prompts_of_a_model_of_the_hub_are_read_and_a_hub_that_fails_is_not_taken_for_a_model_without(
    tmp_path, monkeypatch
):
    file = tmp_path / PROMPTS
    file.write_text(json.dumps({"prompts": {"query": "ask: "}}))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name: file)
    assert prefixes_of("shop/encoder") == Prefixes("ask: ")

    def refuse(repo, name):
        raise OSError("502 Bad Gateway")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ConfigError, match=r"set encoder\.base\.query_prefix and encoder\.base\.item_prefix"):
        prefixes_of("shop/encoder")
    assert prefixes_of("shop/encoder", query="", item="") == Prefixes()


@pytest.mark.parametrize("text", ["{", "[]", '{"prompts": ["query: "]}', '{"prompts": {"query": 3}}'])
def test_prompts_that_cannot_be_read_are_refused_by_name(text, tmp_path):
    (tmp_path / PROMPTS).write_text(text)
    with pytest.raises(ConfigError, match=PROMPTS):
        prefixes_of(str(tmp_path))


def test_every_text_that_is_learnt_scored_or_mined_stands_behind_its_roles_words(
    config, tiny_base, judgements, items, impressions
):
    _, tokenizer = load_base(str(tiny_base))
    the, new = (tokenizer(words)["input_ids"][1] for words in (QUERY, ITEM))
    data = encoder_data(
        judgements,
        items,
        impressions,
        config(batch={"mined_negatives": 2}),
        lambda texts: tokenise(tokenizer, texts, 12, Prefixes(QUERY, ITEM)),
    )
    folds = list(split_folds(data, 3, seed=0))
    pairs = [data.train, data.held_out, data.clicks, data.hard_negatives, *[fold.held_out for fold in folds]]
    queries = np.concatenate([part.query for part in pairs])
    bought = [data.prices.item, data.held_out_prices.item, *[fold.held_out_prices.item for fold in folds]]
    sold = np.concatenate([*[part.item for part in pairs], *bought])
    assert all(len(part) for part in pairs)
    assert {int(data.tokens[row][1]) for row in queries} == {the}
    assert {int(data.tokens[row][1]) for row in sold} == {new}


def test_a_text_that_is_asked_and_sold_is_two(config, tiny_base, judgements):
    _, tokenizer = load_base(str(tiny_base))
    same = judgements.assign(title=judgements["query"], relevance=1.0)

    def tokens(texts):
        return tokenise(tokenizer, texts, 12, Prefixes(QUERY, ITEM))

    data = encoder_data(same, None, None, config(validation={"holdout_share": 0.0}), tokens)
    for query, item in zip(data.train.query, data.train.item, strict=True):
        assert data.tokens[query][2:].tolist() == data.tokens[item][2:].tolist()
        assert data.tokens[query][1] != data.tokens[item][1]


@pytest.fixture(scope="module")
def folder(config, judgements, items, tmp_path_factory):
    out = tmp_path_factory.mktemp("prefixed") / "e"
    train_encoder(config(WANTED, base={"max_length": 16}, export="fp32"), judgements, items, out)
    return out


@pytest.mark.parametrize("role", ["query", "item"])
@pytest.mark.slow
def test_torch_and_onnx_put_a_roles_words_before_its_texts(folder, role):
    torch_encoder, onnx = TorchEncoder.load(folder), load_encoder(folder, backend="onnx")
    assert isinstance(onnx, OnnxEncoder)
    words = {"query": QUERY, "item": ITEM}[role]
    bare = TorchEncoder(torch_encoder.model, torch_encoder.tokenizer, max_length=16, prefixes=Prefixes())
    for other in ("query", "item"):  # without prefixes a role makes no difference
        by_hand = bare.encode([words + text for text in TEXTS], other)
        np.testing.assert_array_equal(torch_encoder.encode(TEXTS, role), by_hand)
    np.testing.assert_allclose(onnx.encode(TEXTS, role), by_hand, atol=1e-5)
    assert [onnx.tokenise(text, role) for text in TEXTS] == torch_encoder.tokenise(TEXTS, role)


@pytest.mark.slow
def test_a_text_without_a_role_or_with_another_is_never_embedded(folder):
    for backend in ("torch", "onnx"):
        encoder = load_encoder(folder, backend=backend)
        with pytest.raises(TypeError, match="role"):
            encoder.encode(TEXTS)
        with pytest.raises(ConfigError, match="the role of a text is 'passage'; it must be one of query, item"):
            encoder.encode(TEXTS, "passage")


@pytest.mark.slow
def test_a_tuned_encoder_is_a_base_with_the_prefixes_it_was_taught_with(folder):
    said = describe_encoder(folder)
    assert (said.query_prefix, said.item_prefix) == (QUERY, ITEM)
    assert prefixes_of(str(folder / MODEL)) == Prefixes(QUERY, ITEM)
    assert TorchEncoder.base(str(folder / MODEL)).prefixes == Prefixes(QUERY, ITEM)


@pytest.mark.slow
def test_a_base_that_names_its_prompts_is_trained_with_them_and_its_student_too(
    config, tiny_base, judgements, items, tmp_path
):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / PROMPTS).write_text(json.dumps({"prompts": {"query": QUERY, "document": ITEM}}))
    named = config(base={"name": str(base)}, student={"layers": 1, "steps": 2})
    given = config(WANTED, base={"name": str(tiny_base)}, student={"layers": 1, "steps": 2})
    for settings, name in ((named, "named"), (given, "given"), (config(student={"layers": 1, "steps": 2}), "none")):
        train_encoder(settings, judgements, items, tmp_path / name)
    rows = {name: load_encoder(tmp_path / name).encode(TEXTS, "query") for name in ("named", "given", "none")}
    np.testing.assert_array_equal(rows["named"], rows["given"])
    assert np.abs(rows["named"] - rows["none"]).max() > 1e-3
    assert describe_encoder(tmp_path / "named").item_prefix == ITEM


def test_texts_tokenised_behind_other_words_are_not_read_from_the_cache(config, judgements, items, tmp_path):
    for name, changes in (("a", {}), ("b", {"query_prefix": QUERY}), ("c", {"item_prefix": QUERY})):
        train_encoder(
            config(schedule={"max_steps": 0}, base=changes),
            judgements,
            items,
            tmp_path / name,
            cache=tmp_path / "cache",
        )
    assert len(list((tmp_path / "cache").glob("tokens-*.npz"))) == 3


def test_a_prefix_that_leaves_no_room_for_the_text_is_refused_with_the_length_it_needs(config, judgements, tmp_path):
    with pytest.raises(ConfigError, match=r"max_length is 12 tokens and the item prefix .* raise it to at least 15"):
        train_encoder(config(base={"item_prefix": "for the new red drill"}), judgements, None, tmp_path / "e")


@pytest.mark.slow
def test_a_folder_of_the_time_of_one_prefix_puts_it_before_both_as_it_was_taught(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    document = json.loads((old / DESCRIPTION).read_text())
    del document["query_prefix"], document["item_prefix"]
    (old / DESCRIPTION).write_text(json.dumps({**document, "schema": OLD_SCHEMA, "prefix": QUERY}))
    for backend in ("torch", "onnx"):
        encoder = load_encoder(old, backend=backend)
        np.testing.assert_array_equal(encoder.encode(TEXTS, "query"), encoder.encode(TEXTS, "item"))
        np.testing.assert_array_equal(
            encoder.encode(TEXTS, "item"), load_encoder(folder, backend=backend).encode(TEXTS, "query")
        )
    (old / DESCRIPTION).write_text(json.dumps({**document, "schema": OLD_SCHEMA}))
    with pytest.raises(ModelFolderError, match="train again"):
        load_encoder(old)
