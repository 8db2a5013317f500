from __future__ import annotations

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
    ],
)
def test_a_wrong_setting_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[stage1]\nepoch = 3\n")
    with pytest.raises(ConfigError, match=r"`epoch`.*stage1.*stage1\.epochs"):
        load_config(path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = ")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(broken)


def test_known_keys_are_leaves() -> None:
    assert "stage1.augment.flip" in known_keys()
    assert "stage1.augment" not in known_keys()
