"""A model calibrated again on the labelled patients of a site: scaling and thresholds.

Platt scaling is fitted on the logits that the model is already calibrated on, with a ridge towards no change, so that
few patients change little. Thresholds of studies are chosen for a goal, those of slices as in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.calibration import choose_threshold, fit_platt
from slicewise.evaluation.goals import Goal
from slicewise.evaluation.metrics import Probabilities, Targets
from slicewise.evaluation.site import Site
from slicewise.package import Calibration, Manifest, probabilities_from_logits

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LocalFit:
    """What the patients of a site set.

    Attributes:
        local: Platt scaling on top of that of the model.
        calibration: Both in one, for the logits of the network.
        thresholds: Of slices, by label: the largest sensitivity + specificity, or that of the model for a label whose
            slices are not known to be of both classes; never above that of studies.
        study_thresholds: Of studies, by label; that of the model where the site cannot set one.
        kept: Labels that keep the model's threshold of studies.
    """

    local: Calibration
    calibration: Calibration
    thresholds: dict[str, float]
    study_thresholds: dict[str, float]
    kept: tuple[str, ...]


def compose(first: Calibration, second: Calibration) -> Calibration:
    """Returns the scaling that does what `first` and then `second` do: s2 (s1 z + b1) + b2 = s1 s2 z + (s2 b1 + b2).

    >>> compose(Calibration((2.0,), (1.0,)), Calibration((0.5,), (-1.0,)))
    Calibration(scale=(1.0,), bias=(-0.5,))
    """
    return Calibration(
        scale=tuple(one * two for one, two in zip(first.scale, second.scale, strict=True)),
        bias=tuple(two * one + add for one, two, add in zip(first.bias, second.scale, second.bias, strict=True)),
    )


def fit_locally(site: Site, manifest: Manifest, goal: Goal, chosen: Flags | None = None) -> LocalFit:
    """Fits scaling and thresholds to patients of a site.

    Args:
        site: The patients.
        manifest: The model.
        goal: What thresholds of studies are chosen for.
        chosen: True for the patients who take part, shape (patients,); None for all.
    """
    patients = np.ones(len(site.patients), dtype=bool) if chosen is None else chosen
    slices, studies = patients[site.patient_of_slice], patients[site.patient_of_study]
    model = manifest.calibration
    calibrated = site.logits.astype(np.float64) * np.asarray(model.scale) + np.asarray(model.bias)
    local = fit_platt(calibrated[slices], site.targets[slices])
    calibration = compose(model, local)
    probabilities = probabilities_from_logits(site.logits, calibration, manifest.task.any_index)
    scores = site.study_scores(probabilities)[studies]
    names, of_studies = manifest.task.label_names, manifest.thresholds_of_studies
    found = {
        name: goal.threshold(scores[:, index], site.study_targets[studies, index]) for index, name in enumerate(names)
    }
    study_thresholds = {name: of_studies[name] if value is None else value for name, value in found.items()}
    return LocalFit(
        local=local,
        calibration=calibration,
        thresholds={
            name: min(
                _slice_threshold(probabilities[slices, index], site.targets[slices, index], manifest.thresholds[name]),
                study_thresholds[name],
            )
            for index, name in enumerate(names)
        },
        study_thresholds=study_thresholds,
        kept=tuple(name for name, value in found.items() if value is None),
    )


def _slice_threshold(probabilities: Probabilities, targets: Targets, before: float) -> float:
    both = np.any(targets == 0) and np.any(targets == 1)
    return choose_threshold(probabilities, targets) if both else before
