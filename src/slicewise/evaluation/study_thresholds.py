"""Operating points of studies.

The highest of some thirty slices reaches a threshold of slices far more often than one slice does, and the more often
the longer the study: a study needs a threshold of its own. It is where studies with and without the finding are equally
likely by their score, by a logistic model: Youden's point, as for slices, but smoothed. On a few dozen studies the
plain one jumps between single studies (Fluss et al. 2005, doi:10.1002/bimj.200410135).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from slicewise.evaluation.calibration import fit_logistic
from slicewise.evaluation.metrics import Probabilities, Targets, known_rows

LEAST_STUDIES = 3
"""With fewer studies with, or without, the finding nothing is chosen."""

_CLIP = 1e-6


@dataclass(frozen=True)
class StudyThresholds:
    """What studies set.

    Attributes:
        thresholds: By label; that of slices where the studies cannot set one, and never below it.
        kept: Labels that keep the threshold of slices, since the studies cannot set one.
    """

    thresholds: dict[str, float]
    kept: tuple[str, ...]


def equal_odds_threshold(probabilities: Probabilities, targets: Targets) -> float | None:
    """Returns the score at which a study with the finding is as likely as one without it.

    There the odds by the logistic model are those of the studies as a whole; more or fewer positives move it by chance
    alone. A ridge on the slope, in units of the standard deviation of the scores, keeps it near the middle of the
    scores where few studies tell.

    Args:
        probabilities: Scores of studies for one label, shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.

    Returns:
        None with fewer than `LEAST_STUDIES` positive or negative studies, or where a higher score is no sign of the
        finding: the point then lies nowhere, or beyond all scores.

    Raises:
        ValueError: If a shape or value does not fit.
    """
    values, truth, _ = known_rows(probabilities, targets)
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if min(positives, negatives) < LEAST_STUDIES:
        return None
    scores = special.logit(np.clip(values.astype(np.float64), _CLIP, 1.0 - _CLIP))
    center, spread = scores.mean(), scores.std()
    if spread == 0.0:
        return None
    (slope,), bias = fit_logistic(((scores - center) / spread)[:, None], truth.astype(np.int8))
    if slope <= 0.0:
        return None
    crossing = center + spread * (np.log(positives / negatives) - bias) / slope
    # Where the classes do not differ the slope is rounding, and what is divided by it lies anywhere.
    if not scores.min() < crossing <= scores.max():
        return None
    return float(special.expit(crossing))


def choose_study_thresholds(
    scores: Probabilities, targets: Targets, slice_thresholds: Mapping[str, float]
) -> StudyThresholds:
    """Chooses the threshold of every label for studies.

    A flagged study always has a flagged slice: no threshold is below that of slices.

    Args:
        scores: Highest probability of the slices of every study, shape (studies, labels).
        targets: Labels of the studies, shape (studies, labels), in {0, 1} with -1 for unknown.
        slice_thresholds: Thresholds of slices by label, in the order of the columns.
    """
    found = {
        name: equal_odds_threshold(scores[:, index], targets[:, index]) for index, name in enumerate(slice_thresholds)
    }
    return StudyThresholds(
        thresholds={name: max(found[name] or 0.0, threshold) for name, threshold in slice_thresholds.items()},
        kept=tuple(name for name, threshold in found.items() if threshold is None),
    )
