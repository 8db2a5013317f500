"""A model's card whose figures tell where they come from, for tests."""

from __future__ import annotations

from slicewise.evaluation.evidence import Estimate
from slicewise.evaluation.model_card import (
    Card,
    Effect,
    EvaluatedOn,
    LevelFigures,
    LocalisedLabel,
    Making,
    Robustness,
    Stage,
)
from slicewise.package import CARD, Manifest, ModelPackage
from slicewise.task import Task

DIGEST = "ab" * 32
UNKNOWN = Estimate(None, None, None)


def near(value: float) -> Estimate:
    """An estimate whose interval is a hundredth on either side."""
    return Estimate(value, value - 0.01, value + 0.01)


def make_card(task: Task) -> Card:
    """The AUROC of label number n is 0.90 + n / 100 on slices and 0.80 + n / 100 on studies."""
    return Card(
        evaluated_digest=DIGEST,
        evaluations=(
            EvaluatedOn(
                data="held-out patients of synthetic studies",
                dataset_digest="cd" * 32,
                patients=31,
                studies=37,
                slices=1201,
                weighted_log_loss=near(0.135),
                slice={name: _figures(0.9 + place / 100) for place, name in enumerate(task.label_names)},
                study={name: _figures(0.8 + place / 100) for place, name in enumerate(task.label_names)},
            ),
        ),
        robustness=Robustness(
            model_digest=DIGEST,
            data="20 phantom studies",
            command="python benchmarks/phantom_effects.py runs/first",
            effects=(
                Effect("plain", "reference", near(0.982), None, near(0.95), near(0.93)),
                Effect("atrophy", "mimic", near(0.971), near(-0.011), near(0.94), near(0.92)),
                Effect("sharp kernel", "kernel", near(0.962), near(-0.02), near(0.93), near(0.91)),
            ),
        ),
        localisation=(LocalisedLabel(task.label_names[-1], 87, near(0.75), near(0.885)),),
        making=Making(
            command="make model",
            machine="2 cores of a CPU",
            stages=(
                Stage("data", "slicewise phantom model/dataset --studies 5", 42.4, finished=True),
                Stage("training", "slicewise train model/dataset --output model/run", 7560, finished=True),
            ),
        ),
    )


def carded(manifest: Manifest, content: bytes) -> ModelPackage:
    """A package in memory with a card."""
    return ModelPackage(manifest, DIGEST, {CARD: content})


def _figures(auroc: float) -> LevelFigures:
    return LevelFigures(
        positive=210,
        negative=991,
        log_loss=near(0.21),
        auroc=near(auroc),
        average_precision=near(0.77),
        calibration_slope=near(1.04),
        calibration_intercept=near(-0.06),
        ece=near(0.02),
        threshold=0.314,
        sensitivity=near(0.88),
        specificity=UNKNOWN,
    )
