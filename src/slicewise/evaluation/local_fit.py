"""A model calibrated again on the labelled patients of a site: scaling and thresholds.

Platt scaling is fitted on the logits that the model is already calibrated on, with a ridge towards no change, so that
few patients change little. Thresholds are chosen for a goal on studies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.calibration import fit_platt
from slicewise.evaluation.goals import Goal
from slicewise.evaluation.site import Site
from slicewise.package import Calibration, Manifest, probabilities_from_logits

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LocalFit:
    """What the patients of a site set.

    Attributes:
        local: Platt scaling on top of that of the model.
        calibration: Both in one, for the logits of the network.
        thresholds: Threshold by label; that of the model where the site cannot set one.
        kept: Labels that keep the model's threshold.
    """

    local: Calibration
    calibration: Calibration
    thresholds: dict[str, float]
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
        goal: What thresholds are chosen for.
        chosen: True for the patients who take part, shape (patients,); None for all.
    """
    patients = np.ones(len(site.patients), dtype=bool) if chosen is None else chosen
    slices, studies = patients[site.patient_of_slice], patients[site.patient_of_study]
    model = manifest.calibration
    calibrated = site.logits.astype(np.float64) * np.asarray(model.scale) + np.asarray(model.bias)
    local = fit_platt(calibrated[slices], site.targets[slices])
    calibration = compose(model, local)
    scores = site.study_scores(probabilities_from_logits(site.logits, calibration, manifest.task.any_index))[studies]
    names = manifest.task.label_names
    found = {
        name: goal.threshold(scores[:, index], site.study_targets[studies, index]) for index, name in enumerate(names)
    }
    return LocalFit(
        local=local,
        calibration=calibration,
        thresholds={name: manifest.thresholds[name] if value is None else value for name, value in found.items()},
        kept=tuple(name for name, value in found.items() if value is None),
    )
