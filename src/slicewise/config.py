"""The run configuration: everything about a training run that the task does not fix.

A configuration is read from TOML over the defaults below, then changed by `--set key=value`. Runs that differ only in
`fusion` and `calibration` share stage 1 bit for bit.
"""

from __future__ import annotations

import copy
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from slicewise.errors import ConfigError

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
BetweenZeroAndOne = Annotated[float, msgspec.Meta(gt=0, lt=1)]
BelowOne = Annotated[float, msgspec.Meta(ge=0, lt=1)]
LearningRate = Annotated[float, msgspec.Meta(gt=0, le=1)]
FusionInputs = Literal["descriptor", "differences", "pca", "compact"]
Pooling = Literal["", "avg", "max", "avgmax", "gem"]


class EncoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The 2D network of stage 1.

    Attributes:
        name: Any model name of timm.
        pooling: How features over the slice become a descriptor: "avg", "max", "avgmax" (their mean) or "gem"
            (generalised mean with a learned exponent, Radenovic et al. 2019); empty takes what timm gives the encoder.
            A maximum does not dilute small findings.
        pretrained: Start from ImageNet weights (needs a network or a filled cache).
        map_channels: Width of the pyramid that makes occupancy maps, where the training series have masks or the model
            to start from (--init) makes maps; 0 makes none.
        neighbours: Neighbours on either side that enter as further channels (2.5D); 0 reads single slices, as the paper
            does. At the ends of a series its last slice repeats.
    """

    name: str = "resnet18"
    pooling: Pooling = ""
    pretrained: bool = False
    map_channels: CountOrZero = 64
    neighbours: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0


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
        shading_hu: Smooth drift of HU over the slice, at control points some 40 mm apart.
        window_shift: Shift of every window, as a share of its width.
        window_scale: Relative change of the width of every window.
    """

    flip: Probability = 0.5
    rotation_degrees: Annotated[float, msgspec.Meta(ge=0, le=180)] = 8.0
    scale: BelowOne = 0.06
    shift_mm: NotNegative = 4.0
    gain: BelowOne = 0.02
    offset_hu: NotNegative = 2.0
    noise_hu: NotNegative = 3.0
    shading_hu: NotNegative = 0.0
    window_shift: BelowOne = 0.02
    window_scale: BelowOne = 0.04


class ScheduleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a stage is trained: AdamW with a one-cycle cosine schedule.

    Attributes:
        epochs: Passes over the training data.
        steps: Steps in all, in the place of `epochs`; 0 for whole epochs.
        batch_size: Slices (stage 1) or series (stage 2) a step, over all devices.
        learning_rate: Peak of the schedule.
        weight_decay: Weight decay of AdamW.
        warmup: Share of the steps in which the learning rate rises.
        accumulate: Parts that a device works through one after the other in every step, to save memory. Batch
            normalisation sees one part at a time.
        gradient_clip: Largest norm of the gradient; a longer one is shortened to it. 0 for any.
        ema: Decay of the exponential moving average of the weights, which the model then gets; 0 for none. It rises to
            this value in the first steps.
        label_smoothing: Share of every target that is drawn to one half.
    """

    epochs: Count = 10
    steps: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 0
    batch_size: Count = 32
    learning_rate: LearningRate = 1e-3
    weight_decay: NotNegative = 0.05
    warmup: BelowOne = 0.15
    accumulate: Count = 1
    gradient_clip: NotNegative = 1.0
    ema: BelowOne = 0.0
    label_smoothing: BelowOne = 0.0


class Stage1Config(ScheduleConfig, frozen=True, forbid_unknown_fields=True):
    """Training of the descriptor network on single slices. See `ScheduleConfig` for what both stages share.

    Attributes:
        negative_share: Share of the slices without any finding that an epoch shows; the loss weights them back.
        repeat_below: Slices of a label that is rarer than this share are shown more often, by the square root of how
            much rarer it is (repeat factor sampling, Gupta et al. 2019); the loss weights them back. 0 for never.
        map_weight: Weight of the loss of the occupancy maps (dense supervision) beside the loss of the slice labels. It
            is a mean over the slices that are shown, however they are sampled: maps are not calibrated.
        mixup: Parameter of the beta distribution of mixup (Zhang et al. 2018), 0 for none.
        cutmix: Parameter of the beta distribution of CutMix (Yun et al. 2019), 0 for none. With both, a coin decides.
        validation_slices: Slices of patients that are not trained on, on which every epoch is measured; 0 for none.
        keep: Weights that the model gets: of the "last" step, or of the epoch with the "best" weighted log loss on
            those slices. They are of the patients of stage 2, who then have chosen among the epochs of stage 1.
        augment: Random changes of the slices.
    """

    negative_share: Share = 1.0
    repeat_below: Probability = 0.0
    map_weight: NotNegative = 1.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    validation_slices: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 512
    keep: Literal["last", "best"] = "last"
    augment: AugmentConfig = AugmentConfig()


class FusionConfig(ScheduleConfig, frozen=True, forbid_unknown_fields=True):
    """The head of stage 2 and its training. See `ScheduleConfig` for what both stages share.

    Attributes:
        name: Registered head: "none" (single slices, without a chain whatever `chain` says), "chain" (the chain alone),
            "rolling", "window", "conv", "bigru", "transformer", "chained" or "wide-lstm".
        inputs: What the head reads of a slice beside the logits and the summaries of stage 1: the "descriptor", the
            descriptor and its "differences" to both neighbours, its principal components ("pca"), or nothing more
            ("compact"): logits and summaries mean the same whichever encoder they come from.
        components: Principal components that "pca" keeps.
        hidden_size: Units of the head.
        neighbours: Neighbours on either side that `rolling` and `window` see.
        chain: Put a Markov chain along the axis on top of the head, see `slicewise.models.heads.chain`.
        members: Heads that are trained side by side and averaged, in one model.
        seed: Changes initial weights, order and noise of stage 2 alone.
        dropout: Dropout on the descriptors.
        noise: Standard deviation of the noise on the standardised descriptors in training.
        slice_dropout: Share of the slices that a head does not see in training.
        series_weight: Weight of the loss of series labels beside that of slice labels: the highest logits of a series
            against its label. It is what series without slice labels teach (multiple-instance learning).
    """

    name: str = "transformer"
    inputs: FusionInputs = "compact"
    components: Count = 64
    hidden_size: Count = 32
    neighbours: CountOrZero = 2
    chain: bool = False
    members: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    seed: Seed = 0
    dropout: BelowOne = 0.3
    noise: NotNegative = 0.2
    slice_dropout: BelowOne = 0.0
    series_weight: NotNegative = 0.0
    epochs: Count = 40
    batch_size: Count = 8
    learning_rate: LearningRate = 2e-3
    warmup: BelowOne = 0.1

    @property
    def is_baseline(self) -> bool:
        """Whether this is the single-slice baseline, which has nothing to train."""
        return self.name == "none"


class SplitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which training patients train what. What `encoder` and `fusion` leave over calibrates.

    Attributes:
        method: "split": stage 1 learns from some patients, stage 2 from others. "kfold": both learn from all of them;
            stage 2 reads what encoders of `folds` folds say about patients that they have not seen, with descriptors
            aligned to those of the encoder that ships. It costs `folds` further trainings of stage 1.
        encoder: Share of the patients that train stage 1.
        fusion: Share that trains stage 2, unseen by stage 1. With "kfold" both shares train both stages.
        folds: Number of folds of "kfold".
    """

    method: Literal["split", "kfold"] = "split"
    encoder: Share = 0.6
    fusion: Share = 0.25
    folds: Annotated[int, msgspec.Meta(ge=2, le=100)] = 5

    def __post_init__(self) -> None:
        """Checks that all three parts get a share.

        Raises:
            ValueError: If they do not.
        """
        if not (self.encoder > 0 and self.fusion > 0 and self.encoder + self.fusion < 1):
            raise ValueError("split: encoder and fusion must be above 0 and leave a share for calibration")


class CalibrationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How probabilities are set after Platt scaling on the calibration patients, for data unlike theirs.

    Attributes:
        prior: Share of positive slices that probabilities are right for on average, by label, stated from elsewhere;
            "none" for that of the calibration patients. Labels that are not named keep theirs.
        shrinkage: Factor on the calibrated logits, fixed in advance: below 1 it makes probabilities less extreme, for
            data on which the model will be less sure than on its calibration patients. 1 for none.
    """

    prior: dict[str, BetweenZeroAndOne] | Literal["none"] = "none"
    shrinkage: Share = 1.0

    @property
    def priors(self) -> dict[str, float]:
        """The stated shares by label, none where `prior` is "none"."""
        return {} if self.prior == "none" else self.prior

    @property
    def is_plain(self) -> bool:
        """Whether nothing is done after Platt scaling."""
        return not self.priors and self.shrinkage == 1.0


class HardwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how the networks run in training.

    Attributes:
        device: "auto" takes GPUs where there are any.
        devices: GPUs, or processes on the CPU, of every node that train stage 1 together; 0 for all GPUs, or one
            process on the CPU. They share `batch_size`.
        precision: "auto" takes bfloat16 where the device has units for it, else float32.
        compile: Compile the network of stage 1 with torch.compile.
        workers: Processes that load slices for one device; 0 loads in the training process.
        checkpoint_minutes: Longest training time that an interruption can cost.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: CountOrZero = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    compile: bool = False
    workers: CountOrZero = 0
    checkpoint_minutes: NotNegative = 5.0


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a training run.

    Attributes:
        seed: Seeds everything that is random.
        name: Name of the model; empty takes the name of the run folder.
        version: Version of the model.
        description: The training data in words, for the model card.
        license: SPDX identifier of the licence under which the weights may be used, for the model card.
        encoder: The network of stage 1.
        stage1: Training of stage 1.
        fusion: The head of stage 2 and its training.
        split: Shares of the training patients.
        calibration: How probabilities are set.
        hardware: Where the networks run.
    """

    seed: Seed = 0
    name: str = ""
    version: str = "1"
    description: str = ""
    license: str = ""
    encoder: EncoderConfig = EncoderConfig()
    stage1: Stage1Config = Stage1Config()
    fusion: FusionConfig = FusionConfig()
    split: SplitConfig = SplitConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    hardware: HardwareConfig = HardwareConfig()


def load_config(
    path: Path | None = None,
    overrides: Iterable[str] = (),
    *,
    defaults: Mapping[str, Any] | None = None,
    source: str = "defaults",
) -> RunConfig:
    """Reads a run configuration.

    Args:
        path: TOML file, None for the defaults alone.
        overrides: Settings as "key=value" with dots between sections, as in "fusion.name=none".
        defaults: What the task wants in the place of the defaults, as sections of a run configuration. They are valid
            on their own.
        source: Where those come from, for the message of an error in them.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown or a value does not fit; the message names the key.
    """
    content: dict[str, Any] = copy.deepcopy(dict(defaults or {}))
    if content:
        _convert(content, source)
    source = "configuration"
    if path is not None:
        source = str(path)
        try:
            _merge(content, tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as a TOML file: {error}") from error
    for override in overrides:
        _apply(content, override, source)
    return _convert(content, source)


def known_keys() -> tuple[str, ...]:
    """Returns every key of a run configuration, with dots between sections.

    >>> known_keys()[:2]
    ('seed', 'name')
    """
    return tuple(key for key, _ in _leaves(msgspec.to_builtins(RunConfig())))


def _convert(content: dict[str, Any], source: str) -> RunConfig:
    for key, value in _leaves(content):
        # A bound on one side lets nan or inf through.
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{source}: {key} is {value}. Expected a finite number")
    try:
        return msgspec.convert(content, RunConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}. Known keys: {', '.join(known_keys())}") from error


def _merge(content: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        inner = content.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            _merge(inner, value)
        else:
            content[name] = value


def _leaves(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _apply(content: dict[str, Any], override: str, source: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or key not in known_keys():
        raise ConfigError(f"--set {override}: expected key=value with one of the keys {', '.join(known_keys())}")
    *sections, name = key.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{source}: {section} is {inner!r}. Expected a section, [{section}], with keys of its own"
            )
        content = inner
    content[name] = _value(text)


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text
