from __future__ import annotations

import re
from pathlib import Path

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
