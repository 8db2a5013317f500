from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from slicewise.config import RunConfig, known_keys, load_config
from slicewise.errors import ConfigError


def test_defaults_need_no_file() -> None:
    assert load_config() == RunConfig()


def test_a_file_then_settings_change_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('seed = 3\n[encoder]\nname = "resnet34"\n[fusion]\nhidden_size = 64\n')
    config = load_config(path, ["fusion.name=none", "stage1.learning_rate=2e-3", "encoder.pretrained=true"])
    assert config.seed == 3
    assert config.encoder.name == "resnet34"
    assert config.encoder.pretrained is True
    assert config.fusion.hidden_size == 64
    assert config.fusion.name == "none"
    assert config.stage1.learning_rate == 2e-3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["fusion.nam=none"], "fusion.nam=none"),
        (["fusion=none"], "fusion=none"),
        (["seed"], "key=value"),
        (["seed=three"], r"int.*seed"),
        (["split.encoder=0.8", "split.fusion=0.3"], "share for calibration"),
        (["hardware.device=tpu"], "tpu"),
        (["stage1.epochs=0"], r">= 1.*stage1\.epochs"),
        (["stage1.batch_size=0"], r">= 1.*stage1\.batch_size"),
        (["stage1.warmup=3"], r"< 1.*stage1\.warmup"),
        (["stage1.negative_share=0"], r"> 0.*stage1\.negative_share"),
        (["stage1.augment.flip=1.5"], r"<= 1.*stage1\.augment\.flip"),
        (["fusion.neighbours=-2"], r">= 0.*fusion\.neighbours"),
        (["fusion.dropout=2"], r"< 1.*fusion\.dropout"),
        (["fusion.learning_rate=0"], r"> 0.*fusion\.learning_rate"),
        (["seed=99999999999999999999"], r"<= 9223372036854775807.*seed"),
        ([f"seed={'9' * 5000}"], r"int.*seed"),
    ],
)
def test_a_wrong_setting_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_a_prior_is_a_table_of_shares_or_none() -> None:
    assert load_config().calibration.priors == {}
    assert load_config().calibration.is_plain
    stated = load_config(None, ["calibration.prior={any = 0.144, subdural = 0.063}"]).calibration
    assert stated.priors == {"any": 0.144, "subdural": 0.063}
    assert not stated.is_plain
    assert not load_config(None, ["calibration.shrinkage=0.5"]).calibration.is_plain
    for value in ("some", "{any = 0}", "{any = 1.0}", "{any = nan}", "0.1"):
        with pytest.raises(ConfigError, match=r"calibration\.prior"):
            load_config(None, [f"calibration.prior={value}"])
    for value in ("0", "1.2"):
        with pytest.raises(ConfigError, match=r"calibration\.shrinkage"):
            load_config(None, [f"calibration.shrinkage={value}"])


def value_of(config: object, key: str) -> object:
    for name in key.split("."):
        config = getattr(config, name)
    return config


NUMBERS = [key for key in known_keys() if type(value_of(RunConfig(), key)) in (int, float)]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf"])
def test_no_number_is_without_bounds(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(key)):
        load_config(None, [f"{key}={value}"])


def test_numbers_are_found() -> None:
    assert {"seed", "stage1.augment.scale", "split.fusion", "hardware.workers"} <= set(NUMBERS)
    assert "fusion.name" not in NUMBERS


def test_a_value_where_a_section_belongs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("fusion = 3\n")
    for overrides in ([], ["fusion.name=none"]):
        with pytest.raises(ConfigError, match=r"run\.toml: .*fusion"):
            load_config(path, overrides)


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[stage1]\nepoch = 3\n")
    with pytest.raises(ConfigError, match=r"`epoch`.*stage1.*stage1\.epochs"):
        load_config(path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    for content in (b"seed = ", b"name = '\xff'", b"seed = " + b"9" * 5000):
        broken.write_bytes(content)
        with pytest.raises(ConfigError, match=r"broken\.toml"):
            load_config(broken)


def test_known_keys_are_leaves() -> None:
    assert "stage1.augment.flip" in known_keys()
    assert "stage1.augment" not in known_keys()


def test_a_file_and_then_settings_lie_over_the_defaults_of_a_task(tmp_path: Path) -> None:
    defaults: dict[str, Any] = {
        "seed": 1,
        "stage1": {"epochs": 9, "batch_size": 4, "learning_rate": 2e-3, "augment": {"gain": 0.1, "flip": 0.2}},
        "split": {"method": "kfold"},
    }
    before = copy.deepcopy(defaults)
    path = tmp_path / "run.toml"
    path.write_text("[stage1]\nepochs = 8\nbatch_size = 5\n[stage1.augment]\nflip = 0.3\nscale = 0.01\n")
    overrides = ["stage1.batch_size=6", "stage1.augment.scale=0.02", "split.folds=3"]
    config = load_config(path, overrides, defaults=defaults)
    assert (config.stage1.epochs, config.stage1.batch_size, config.stage1.learning_rate) == (8, 6, 2e-3)
    augment = config.stage1.augment
    assert (augment.gain, augment.flip, augment.scale) == (0.1, 0.3, 0.02)
    assert (config.seed, config.split.method, config.split.folds) == (1, "kfold", 3)
    # What nobody mentions is as it would be without them.
    assert (augment.shift_mm, config.fusion) == (RunConfig().stage1.augment.shift_mm, RunConfig().fusion)
    assert defaults == before
    assert load_config(defaults=defaults).stage1.epochs == 9
    assert load_config(None, ["stage1.augment.gain=0.4"], defaults=defaults).stage1.augment.gain == 0.4
    assert defaults == before


def test_no_defaults_of_a_task_are_the_defaults() -> None:
    assert load_config(defaults={}) == load_config(defaults=None) == RunConfig()


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"stage1": {"epoch": 3}}, r"`epoch`.*stage1.*stage1\.epochs"),
        ({"stage_1": {}}, "`stage_1`"),
        ({"stage1": {"augment": {"gain": 2.0}}}, r"< 1.*stage1\.augment\.gain"),
        ({"fusion": 3}, r"\$\.fusion"),
        ({"split": {"encoder": 0.9}}, "share for calibration"),
        ({"stage1": {"map_weight": float("nan")}}, r"stage1\.map_weight is nan"),
    ],
)
def test_a_mistake_in_the_defaults_names_the_task_whoever_calls(
    tmp_path: Path, defaults: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run.toml"
    # Neither hides it: the task would be wrong for all who call without them.
    path.write_text("seed = 3\n[stage1.augment]\ngain = 0.1\n")
    overrides = ["fusion.name=none", "split.encoder=0.5"]
    for file, settings in ((None, []), (path, []), (None, overrides), (path, overrides)):
        with pytest.raises(ConfigError, match=message) as caught:
            load_config(file, settings, defaults=defaults, source="task 'mine', training")
        assert str(caught.value).startswith("task 'mine', training: ")
        assert "configuration" not in str(caught.value)


def test_a_mistake_in_file_or_settings_is_not_put_down_to_the_task(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[stage1]\nepochs = 0\n")
    defaults = {"stage1": {"epochs": 9}}
    with pytest.raises(ConfigError, match=r"run\.toml: .*stage1\.epochs"):
        load_config(path, defaults=defaults, source="task 'mine', training")
    with pytest.raises(ConfigError, match=r"^configuration: .*stage1\.epochs"):
        load_config(None, ["stage1.epochs=0"], defaults=defaults, source="task 'mine', training")
