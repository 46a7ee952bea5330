"""Settings are refused where they cannot mean anything, in words that say what to write instead."""

import dataclasses

import pytest

from fairtag.base.errors import ConfigError, exit_code
from fairtag.base.settings import layered, leaves, nested
from fairtag.encoder.config import FLAT_NAMES, PRESETS, EncoderConfig, preset
from fairtag.encoder.encoder import EncoderDescription


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("base.max_length", 3),
        ("base.max_length", 8193),
        ("tuning.method", "adapter"),
        ("base.pooling", "max"),
        ("hardware.precision", "int4"),
        ("hardware.device", "tpu"),
        ("hardware.compile", 1),
        ("hardware.sharding", "some"),
        ("export", "onnx"),
        ("schedule.epochs", 0),
        ("schedule.epochs", 1.5),
        ("batch.queries", -1),
        ("batch.augment", 0.6),
        ("schedule.max_steps", -1),
        ("optimiser.learning_rate", 0.0),
        ("optimiser.learning_rate", "3e-5"),
        ("objective.temperature", float("nan")),
        ("optimiser.weight_decay", float("inf")),
        ("validation.holdout_share", 0.9),
        ("validation.folds", -1),
        ("objective.price_weight", -0.1),
        ("seed", True),
        ("seed", -1),
        ("base.query_prefix", 3),
        ("base.name", None),
        ("student", 3),
    ],
)
@pytest.mark.slow
def test_a_setting_out_of_its_range_is_named_with_its_value_and_its_rule(path, value):
    with pytest.raises(ConfigError) as refused:
        EncoderConfig.from_json(nested(path, value))
    assert str(refused.value).startswith(f"encoder.{path}: {value!r} is refused; it must be ")
    assert exit_code(refused.value) == 2


def test_a_refusal_says_the_bound_and_what_the_setting_is():
    with pytest.raises(
        ConfigError, match=r"less than or equal to 8192 \(Tokens read of a text, its prefix included\.\)$"
    ):
        EncoderConfig.from_json({"base": {"max_length": 8193}})
    with pytest.raises(ConfigError, match=r"'mean', 'cls' or 'last' \("):
        EncoderConfig.from_json({"base": {"pooling": "max"}})


def test_every_refused_setting_is_named_at_once():
    with pytest.raises(ConfigError, match=r"encoder\.schedule\.epochs: 0 is refused.*; encoder\.seed: -1 is refused"):
        EncoderConfig.from_json({"schedule": {"epochs": 0}, "seed": -1})


def test_one_fold_is_refused():
    with pytest.raises(ConfigError, match=r"encoder\.validation\.folds: folds is 1; it must be 0, .* or at least 2"):
        EncoderConfig.from_json({"validation": {"folds": 1}})


def test_the_grades_of_a_positive_and_a_negative_do_not_overlap():
    with pytest.raises(ConfigError, match=r"^encoder\.objective: negative_relevance is 0\.5; it must be below"):
        EncoderConfig.from_json({"objective": {"positive_relevance": 0.4, "negative_relevance": 0.5}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": 1e-3}, r"^encoder\.lr is not a setting; there are base, tuning, batch"),
        ({"optimiser": {"lr": 1e-3}}, r"^encoder\.optimiser\.lr is not a setting; there are learning_rate,"),
        ({"prefix": "query: "}, r"^encoder: prefix .* give base\.query_prefix and base\.item_prefix"),
        ({"shedule": {}}, r"^encoder\.shedule is not a setting; .* did you mean schedule\?"),
        ({"method": "lora"}, r'it is encoder\.tuning\.method now: write \{"tuning": \{"method": "lora"\}\}'),
        ({"learning_rate": 0.1}, r'write \{"optimiser": \{"learning_rate": 0\.1\}\}'),
        ({"student_layers": 3}, r'write \{"student": \{"layers": 3\}\}'),
        ("{", "encoder: .* is not JSON"),
        ("[1]", "write a JSON object"),
    ],
)
def test_an_unknown_setting_is_refused_with_what_was_meant(settings, said):
    with pytest.raises(ConfigError, match=said):
        EncoderConfig.from_json(settings)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="demo, standard, gpu"):
        preset("fast")


def test_every_flat_name_leads_to_a_setting():
    assert set(FLAT_NAMES.values()) | {"export", "seed"} == {path for path, _ in leaves(EncoderConfig)}
    assert len(FLAT_NAMES) == len(set(FLAT_NAMES.values()))


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.slow
def test_a_preset_takes_changes_and_survives_json(name):
    config = preset(name, {"seed": 7}, '{"base": "shop/encoder"}')
    assert config.seed == 7
    assert config.base == EncoderConfig.from_json(layered(PRESETS[name], {"base": {"name": "shop/encoder"}})).base
    assert EncoderConfig.from_json(config.as_json()) == config
    assert config.fingerprint() != preset(name, {"seed": 8}).fingerprint()


def test_an_override_keeps_what_it_does_not_name():
    config = preset("gpu").override({"validation": {"holdout_share": 0.0}, "base": "elsewhere"})
    assert config.validation.holdout_share == 0.0
    assert config.validation.patience == preset("gpu").validation.patience
    assert (config.base.name, config.base.max_length) == ("elsewhere", 128)
    with pytest.raises(ConfigError, match=r"encoder\.seed"):
        config.override({"seed": -1})


def test_a_folder_of_flat_settings_is_read_as_one_of_nested_settings():
    description = EncoderDescription("b", 26, 32, "mean", "", "", "torch", 0, "f", {})
    flat = {
        "base": "minilm",
        "method": "none",
        "folds": 5,
        "holdout_share": 0.3,
        "max_steps": 0,
        "prefix": "q: ",
        "seed": 4,
    }
    config = EncoderConfig.from_folder(dataclasses.replace(description, document={"config": flat}))
    assert config == EncoderConfig.from_json(
        {
            "base": {"name": "minilm", "query_prefix": "q: ", "item_prefix": "q: "},
            "tuning": {"method": "none"},
            "schedule": {"max_steps": 0},
            "validation": {"folds": 5, "holdout_share": 0.3},
            "seed": 4,
        }
    )
    assert EncoderConfig.from_folder(dataclasses.replace(description, document={"config": config.as_json()})) == config
