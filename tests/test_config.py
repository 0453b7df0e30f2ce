import pytest

from mtlser.config import ALPHAS, PRESETS, ConfigError, RunConfig, get_preset
from mtlser.paper import table4


def test_presets_have_the_alphas_of_table4():
    assert list(ALPHAS) == table4()["alpha"].tolist()
    assert all(preset.alphas == ALPHAS and preset.run.preset == name for name, preset in PRESETS.items())


def test_iemocap_preset_is_table_1():
    run = get_preset("iemocap").run
    assert (run.epochs, run.batch_size, run.warmup_ratio) == (100, 8, 0.1)
    assert (run.learning_rate, run.learning_rate_alpha_zero) == (5e-5, 1e-5)
    assert (run.adam_beta1, run.adam_beta2, run.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert run.pooling == "sum" and run.protocol == "speaker" and not run.freeze_convolutions


def test_alpha_zero_has_its_own_learning_rate():
    run = get_preset("iemocap").run
    assert RunConfig("x", alpha=0.0).peak_learning_rate == run.learning_rate_alpha_zero
    assert RunConfig("x", alpha=0.001).peak_learning_rate == run.learning_rate


def test_pocket_has_one_learning_rate():
    run = get_preset("pocket").run
    assert run.learning_rate == run.learning_rate_alpha_zero


@pytest.mark.parametrize(
    "field, value",
    [
        ("alpha", -1),
        ("protocol", "dialog"),
        ("pooling", "max"),
        ("epochs", 0),
        ("precision", "fp16"),
        ("batch_size", 0),
    ],
)
def test_a_value_out_of_range_names_its_field(field, value):
    with pytest.raises(ConfigError, match=field):
        RunConfig("x", **{field: value})


def test_dictionary_round_trip_and_unknown_field():
    run = get_preset("pocket").run
    assert RunConfig.from_dict(run.to_dict()) == run
    with pytest.raises(ConfigError, match="dropuot"):
        RunConfig.from_dict(run.to_dict() | {"dropuot": 1})


def test_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="pocket, smoke, iemocap"):
        get_preset("big")
