"""The run configuration: everything about a training run that the task does not fix.

A configuration is read from TOML over the defaults below, then changed by `--set key=value`. Runs that differ only in
`fusion` share stage 1 bit for bit.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from slicewise.errors import ConfigError


class EncoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The 2D network of stage 1.

    Attributes:
        name: Any model name of timm.
        pretrained: Start from ImageNet weights (needs a network or a filled cache).
    """

    name: str = "resnet18"
    pretrained: bool = False


class AugmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Random changes of the training slices, drawn anew every epoch. All are standard deviations unless said otherwise.

    Attributes:
        flip: Probability of a left-right flip.
        rotation_degrees: Rotation in the plane.
        scale: Relative change of size.
        shift_mm: Shift in the plane.
        gain: Relative change of HU.
        offset_hu: Offset of HU.
        noise_hu: Upper end of the uniformly drawn noise level.
    """

    flip: float = 0.5
    rotation_degrees: float = 8.0
    scale: float = 0.06
    shift_mm: float = 4.0
    gain: float = 0.02
    offset_hu: float = 2.0
    noise_hu: float = 3.0


class Stage1Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training of the descriptor network on single slices.

    Attributes:
        epochs: Passes over the training slices.
        batch_size: Slices a step.
        learning_rate: Peak of the one-cycle schedule of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        negative_share: Share of the slices without any finding that an epoch shows; the loss weights them back.
        augment: Random changes of the slices.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.15
    negative_share: float = 1.0
    augment: AugmentConfig = AugmentConfig()


class FusionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head of stage 2 and its training.

    Attributes:
        name: Registered head: "none" (single slice), "window" or "bigru".
        hidden_size: Units of the head.
        neighbours: Neighbours on either side that `window` sees.
        dropout: Dropout on the descriptors.
        noise: Standard deviation of the noise on the standardised descriptors in training.
        epochs: Passes over the series.
        batch_size: Series a step.
        learning_rate: Peak of the one-cycle schedule of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
    """

    name: str = "bigru"
    hidden_size: int = 32
    neighbours: int = 2
    dropout: float = 0.3
    noise: float = 0.2
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1


class SplitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of the training patients, by patient. What is left over after `encoder` and `fusion` calibrates.

    Attributes:
        encoder: Share that trains stage 1.
        fusion: Share that trains stage 2, unseen by stage 1.
    """

    encoder: float = 0.6
    fusion: float = 0.25

    def __post_init__(self) -> None:
        """Checks that all three parts get a share.

        Raises:
            ValueError: If they do not.
        """
        if not (self.encoder > 0 and self.fusion > 0 and self.encoder + self.fusion < 1):
            raise ValueError("split: encoder and fusion must be above 0 and leave a share for calibration")


class HardwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how the networks run in training.

    Attributes:
        device: "auto" takes a GPU where there is one.
        precision: "auto" takes bfloat16 where the device has units for it, else float32.
        workers: Processes that load slices; 0 loads in the training process.
        checkpoint_minutes: Longest training time that an interruption can cost.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    workers: int = 0
    checkpoint_minutes: float = 5.0


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a training run.

    Attributes:
        seed: Seeds everything that is random.
        name: Name of the model; empty takes the name of the run folder.
        description: The training data in words, for the model card.
        encoder: The network of stage 1.
        stage1: Training of stage 1.
        fusion: The head of stage 2 and its training.
        split: Shares of the training patients.
        hardware: Where the networks run.
    """

    seed: int = 0
    name: str = ""
    description: str = ""
    encoder: EncoderConfig = EncoderConfig()
    stage1: Stage1Config = Stage1Config()
    fusion: FusionConfig = FusionConfig()
    split: SplitConfig = SplitConfig()
    hardware: HardwareConfig = HardwareConfig()


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """Reads a run configuration.

    Args:
        path: TOML file, None for the defaults alone.
        overrides: Settings as "key=value" with dots between sections, as in "fusion.name=none".

    Raises:
        ConfigError: If the file cannot be read, a key is unknown or a value does not fit; the message names the key.
    """
    content: dict[str, Any] = {}
    source = "configuration"
    if path is not None:
        source = str(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a TOML file: {error}") from error
    for override in overrides:
        _apply(content, override)
    try:
        return msgspec.convert(content, RunConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}. Known keys: {', '.join(known_keys())}") from error


def known_keys() -> tuple[str, ...]:
    """Returns every key of a run configuration, with dots between sections.

    >>> known_keys()[:2]
    ('seed', 'name')
    """
    return tuple(_keys(msgspec.to_builtins(RunConfig()), ""))


def _keys(section: dict[str, Any], prefix: str) -> Iterable[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or key not in known_keys():
        raise ConfigError(f"--set {override}: expected key=value with one of the keys {', '.join(known_keys())}")
    *sections, name = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
    content[name] = _value(text)


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
