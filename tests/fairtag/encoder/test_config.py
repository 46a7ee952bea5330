"""Settings are refused where they cannot mean anything."""

import pytest

from fairtag.base.errors import ConfigError
from fairtag.encoder.config import PRESETS, EncoderConfig, preset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_length", 3),
        ("method", "adapter"),
        ("pooling", "max"),
        ("precision", "int4"),
        ("epochs", 0),
        ("batch_queries", -1),
        ("max_steps", -1),
        ("learning_rate", 0.0),
        ("temperature", float("nan")),
        ("holdout_share", 0.9),
        ("price_weight", -0.1),
        ("seed", True),
        ("query_prefix", 3),
    ],
)
def test_a_setting_out_of_its_range_is_named_with_its_value(name, value):
    with pytest.raises(ConfigError, match=f"encoder.{name} is"):
        EncoderConfig(**{name: value})


def test_the_grades_of_a_positive_and_a_negative_do_not_overlap():
    with pytest.raises(ConfigError, match="below"):
        EncoderConfig(positive_relevance=0.4, negative_relevance=0.5)


def test_an_unknown_setting_or_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="learning_rate"):
        EncoderConfig.from_mapping({"lr": 1e-3})
    with pytest.raises(ConfigError, match="demo"):
        preset("fast")
    with pytest.raises(ConfigError, match=r"give encoder\.query_prefix and encoder\.item_prefix"):
        EncoderConfig.from_mapping({"prefix": "query: "})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_takes_changes_and_survives_json(name):
    config = preset(name, seed=7)
    assert config.seed == 7
    assert EncoderConfig.from_mapping(config.as_json()) == config
    assert config.fingerprint() != preset(name, seed=8).fingerprint()
