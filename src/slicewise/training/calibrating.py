"""From logits of the calibration patients to probabilities and operating points, with how they were set in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from slicewise.config import CalibrationConfig
from slicewise.errors import ConfigError
from slicewise.evaluation.calibration import choose_threshold, fit_platt
from slicewise.evaluation.metrics import weighted_log_loss
from slicewise.evaluation.prior_shift import calibrate_at_prior, mean_at_prior
from slicewise.evaluation.site import Site
from slicewise.evaluation.study_thresholds import StudyThresholds, choose_study_thresholds
from slicewise.package import (
    NO_STUDY_THRESHOLD,
    NOT_CALIBRATED,
    PRIOR_STATED,
    Calibration,
    Probabilities,
    probabilities_from_logits,
)
from slicewise.task import Task

THRESHOLD_RULE = (
    "highest sensitivity + specificity (Youden) on the calibration patients; 0.5 for a label that is of one class there"
)
STUDY_THRESHOLD_RULE = (
    "where studies of the calibration patients with and without the finding are equally likely by their highest slice "
    "(Youden's point by a logistic model), not below the threshold of slices"
)
HIGHEST = "since it is reported no lower than any other label"
PRIOR_MISSED = 1.02
"""Beyond the stated prior by this factor, what is reported is said."""

ELSEWHERE = "Probabilities hold for scans and a prevalence like those of the training data; elsewhere calibrate again."


@dataclass(frozen=True)
class Calibrated:
    """What the calibration patients set, as the manifest holds it.

    Attributes:
        calibration: From logits to calibrated logits.
        thresholds: Of slices, by label.
        threshold_rule: How they were set.
        study_thresholds: Of studies, by label; empty where the patients set none.
        study_threshold_rule: How they were set, "" likewise.
        metrics: Figures by name.
        limitations: What that means for the use of the model, one sentence each.
    """

    calibration: Calibration
    thresholds: dict[str, float]
    threshold_rule: str
    study_thresholds: dict[str, float]
    study_threshold_rule: str
    metrics: dict[str, float]
    limitations: tuple[str, ...]


def calibrate(site: Site, task: Task, config: CalibrationConfig) -> Calibrated:
    """Calibrates, and chooses the operating points of slices and of studies on the probabilities that result.

    Args:
        site: The calibration patients; their probabilities are not read.
        task: Labels, loss weights and the label that sums the others up.
        config: Prior and shrinkage.
    """
    fitted = fit_platt(site.logits, site.targets)
    calibration = calibrate_at_prior(
        site.logits,
        site.targets,
        fitted,
        task.label_names,
        prior=config.priors,
        shrinkage=config.shrinkage,
        any_index=task.any_index,
    )
    probabilities = probabilities_from_logits(site.logits, calibration, task.any_index)
    thresholds = {
        name: choose_threshold(probabilities[:, index], site.targets[:, index])
        for index, name in enumerate(task.label_names)
    }
    studies = choose_study_thresholds(site.study_scores(probabilities), site.study_targets, thresholds)
    has_own = len(studies.kept) < len(task.labels)
    return Calibrated(
        calibration=calibration,
        thresholds=thresholds,
        threshold_rule="; ".join((THRESHOLD_RULE, *_stated(task, config))),
        study_thresholds=studies.thresholds if has_own else {},
        study_threshold_rule=_study_rule(studies) if has_own else "",
        metrics=_metrics(site, task, fitted, calibration, config),
        limitations=tuple(_limitations(site, task, config, studies, probabilities)),
    )


def check_prior(prior: dict[str, float], task: Task) -> None:
    """Checks that a stated prior fits the labels of a task.

    Raises:
        ConfigError: If a label is not known, or the one that sums the others up is stated rarer than one of them.
    """
    for name in prior:
        if name not in task.label_names:
            raise ConfigError(f"calibration.prior: there is no label '{name}'. Expected {', '.join(task.label_names)}")
    main = None if task.any_index is None else task.label_names[task.any_index]
    for name, share in prior.items():
        if main in prior and share > prior[main]:
            raise ConfigError(
                f"calibration.prior: {name} is {share:g}, more than {prior[main]:g} for {main}, which every {name} is, "
                "too. State shares of positive slices from one source"
            )


def _stated(task: Task, config: CalibrationConfig) -> Iterable[str]:
    """Says what was stated in advance, in the words that all texts share."""
    shares = ", ".join(f"{name} {config.priors[name]:g}" for name in task.label_names if name in config.priors)
    if shares:
        yield f"prior stated: {shares}"
    if config.shrinkage < 1.0:
        yield f"logits shrunk by the factor {config.shrinkage:g}, fixed in advance"


def _study_rule(studies: StudyThresholds) -> str:
    if not studies.kept:
        return STUDY_THRESHOLD_RULE
    return f"{STUDY_THRESHOLD_RULE}; for {', '.join(studies.kept)}, which they cannot set, that of slices"


def _missed_prior(site: Site, task: Task, config: CalibrationConfig, probabilities: Probabilities) -> Iterable[str]:
    """Says how far the label that sums the others up is above its prior: theirs, stated or not, may leave no room."""
    index = task.any_index
    wanted = None if index is None else config.priors.get(task.label_names[index])
    if index is None or wanted is None:
        return
    mean = mean_at_prior(probabilities[:, index], site.targets[:, index], wanted)
    if mean is not None and mean > PRIOR_MISSED * wanted:
        yield f"{task.label_names[index]} is {mean:.3f} on average at that prior, {HIGHEST}"


def _limitations(
    site: Site, task: Task, config: CalibrationConfig, studies: StudyThresholds, probabilities: Probabilities
) -> Iterable[str]:
    stated = "; ".join((*_stated(task, config), *_missed_prior(site, task, config, probabilities)))
    yield f"{PRIOR_STATED} ({stated}); elsewhere calibrate again." if config.priors else ELSEWHERE
    if stated and not config.priors:
        yield f"Probabilities are less extreme than on the calibration patients: {stated}."
    one_class = [
        label.display
        for index, label in enumerate(task.labels)
        if len({0, 1} & set(site.targets[:, index].tolist())) < 2
    ]
    if one_class:
        yield f"{NOT_CALIBRATED}: {', '.join(one_class)}."
    if studies.kept:
        kept = [label.display for label in task.labels if label.name in studies.kept]
        yield f"{NO_STUDY_THRESHOLD}: {', '.join(kept)}."


def _metrics(
    site: Site, task: Task, fitted: Calibration, calibration: Calibration, config: CalibrationConfig
) -> dict[str, float]:
    weights = np.asarray(task.loss_weights)

    def loss(scaling: Calibration) -> float:
        found: Probabilities = probabilities_from_logits(site.logits, scaling, task.any_index)
        return weighted_log_loss(found, site.targets, weights)

    figures = {
        "weighted_log_loss_on_calibration_patients": loss(calibration),
        "weighted_log_loss_on_calibration_patients_uncalibrated": loss(Calibration.identity(len(weights))),
    }
    if config.is_plain:
        return figures
    stated = {f"stated_prior_{name}": share for name, share in config.priors.items()}
    return {
        **figures,
        "weighted_log_loss_on_calibration_patients_before_prior_and_shrinkage": loss(fitted),
        **stated,
        "shrinkage": config.shrinkage,
    }
