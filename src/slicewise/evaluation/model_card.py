"""The card of a model: what it was tested on, what came out, and how it was made; kept with the model as `card.json`.

What the manifest says already (task, intended use, limits, calibration, licence) stands there alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from slicewise.evaluation.evidence import Estimate
from slicewise.package import CARD, ModelPackage
from slicewise.package_parts import read_part

FORMAT_VERSION = 1
LARGEST_BYTES = 1 << 20
"""A card beyond this size is refused before it is read."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
EffectGroup = Literal["reference", "noise", "kernel", "thickness", "tilt and position", "artefact", "mimic"]


class LevelFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one label on slices or on studies.

    Attributes:
        positive: Slices or studies with the finding.
        negative: Those without it.
        log_loss: Log loss of the calibrated probabilities.
        auroc: Area under the ROC curve.
        average_precision: Average precision.
        calibration_slope: Slope of the calibration line, 1 for a calibrated model.
        calibration_intercept: Its intercept, 0 for a calibrated model.
        ece: Expected calibration error.
        threshold: Operating point of the model; None where there is none on this level.
        sensitivity: Sensitivity there.
        specificity: Specificity there.
    """

    positive: Count
    negative: Count
    log_loss: Estimate
    auroc: Estimate
    average_precision: Estimate
    calibration_slope: Estimate
    calibration_intercept: Estimate
    ece: Estimate
    threshold: Probability | None
    sensitivity: Estimate
    specificity: Estimate


class EvaluatedOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One evaluation; all intervals are 95 %, from resampled patients.

    Attributes:
        data: What the model was tested on, in words.
        dataset_digest: Digest of the prepared dataset, "" where it is not known.
        patients: Number of patients.
        studies: Number of studies.
        slices: Number of slices.
        weighted_log_loss: On slices, with the loss weights of the task.
        slice: Figures of slices by label.
        study: Figures of studies by label.
    """

    data: str
    dataset_digest: str
    patients: Count
    studies: Count
    slices: Count
    weighted_log_loss: Estimate
    slice: dict[str, LevelFigures]
    study: dict[str, LevelFigures]


class Effect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Slices of the same patients under one condition, for the label that sums up the others.

    Attributes:
        name: What is added.
        group: What kind of thing that is.
        auroc: Area under the ROC curve.
        difference: To the plain patients, paired; None for those.
        sensitivity: At the operating point of the model.
        specificity: Likewise.
    """

    name: str
    group: EffectGroup
    auroc: Estimate
    difference: Estimate | None
    sensitivity: Estimate
    specificity: Estimate


class Robustness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a scanner, a position or a mimic does to the model; what `benchmarks/phantom_effects.py` writes.

    Attributes:
        model_digest: Digest of the model package.
        data: On what it was measured, in words.
        command: What measured it.
        effects: One row a condition.
    """

    model_digest: str
    data: str
    command: str
    effects: tuple[Effect, ...]


class LocalisedLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the maps of the model point, for one label.

    Attributes:
        label: Name of the label.
        flagged: Positive slices that the model flags and whose masks are known.
        inside: Share of them whose map peaks inside the finding.
        within_10_mm: Share whose map peaks at most 10 mm from it.
    """

    label: str
    flagged: Count
    inside: Estimate
    within_10_mm: Estimate


class MeasuredLocalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `benchmarks/localisation.py` writes.

    Attributes:
        model_digest: Digest of the model package.
        labels: What was found, by label.
    """

    model_digest: str
    labels: tuple[LocalisedLabel, ...]


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step on the way to the model.

    Attributes:
        name: Its name.
        command: The command line.
        seconds: How long it took, over all its attempts.
        finished: Whether it ended well.
        files_digest: Digest of the files of the repository that the command names; "" where it names none.
    """

    name: str
    command: str
    seconds: Seconds
    finished: bool
    files_digest: str = ""


class Making(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model was made; what `recipes/retrain.py` keeps.

    Attributes:
        command: The one command that makes it from nothing.
        machine: On what it was made, in words.
        stages: What that command ran, in order.
    """

    command: str
    machine: str
    stages: tuple[Stage, ...]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `card.json` holds.

    Attributes:
        evaluated_digest: Digest of the package that was measured: this one before it got a card.
        evaluations: What the model was tested on, and what came out.
        robustness: What scanner, position and mimics do to it; None where it was not measured.
        localisation: Where its maps point, by label; empty where it was not measured.
        making: How it was made; None where that was not recorded.
        format_version: Version of the format.
    """

    evaluated_digest: str
    evaluations: tuple[EvaluatedOn, ...]
    robustness: Robustness | None = None
    localisation: tuple[LocalisedLabel, ...] = ()
    making: Making | None = None
    format_version: int = FORMAT_VERSION


def encode_card(card: Card) -> bytes:
    """Returns the content of `card.json`."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1)


def read_card(package: ModelPackage) -> Card | None:
    """Reads and checks the card of a model package; None where it has none.

    Raises:
        PackageError: If it is not valid, or speaks of other labels than the model's.
    """
    return read_part(
        package,
        CARD,
        Card,
        format_version=FORMAT_VERSION,
        largest_bytes=LARGEST_BYTES,
        check=lambda card: _check(card, package.manifest.task.label_names),
        advice="Pack the model again",
    )


def _check(card: Card, label_names: tuple[str, ...]) -> None:
    for number, item in enumerate(card.evaluations):
        for level, figures in (("slice", item.slice), ("study", item.study)):
            if set(figures) != set(label_names):
                raise ValueError(f"evaluations[{number}].{level} has {sorted(figures)}; expected {sorted(label_names)}")
    foreign = sorted({item.label for item in card.localisation} - set(label_names))
    if foreign:
        raise ValueError(f"localisation has '{foreign[0]}'; expected labels among {', '.join(label_names)}")
