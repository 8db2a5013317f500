"""Variance of AUROC without resampling, by DeLong, DeLong and Clarke-Pearson 1988 (doi:10.2307/2531595).

Where a patient has several rows the variance is that of Obuchowski 1997 (doi:10.2307/2533958); with one row a patient
the two are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from slicewise.evaluation.metrics import Floats, Probabilities, Targets, known_rows

_ROUNDING = 1e-12
_LEVEL_QUANTILE = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class AurocDifference:
    """One AUROC minus another one on the same rows; all nan where it is not defined.

    Attributes:
        value: The difference.
        standard_error: Its standard error; 0 where the two orders of the rows are the same, nan where the rows tell
            nothing about it, as for two models of which one is perfect and the other constant.
        p_value: Two-sided, of the hypothesis that there is no difference.
    """

    value: float
    standard_error: float
    p_value: float

    @property
    def interval(self) -> tuple[float, float]:
        """The normal 95 % interval."""
        return self.value - _LEVEL_QUANTILE * self.standard_error, self.value + _LEVEL_QUANTILE * self.standard_error


def auroc_covariance(
    scores: Floats, targets: npt.NDArray[np.floating], patients: npt.NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Returns the AUROC of several models on the same rows and the covariance matrix of their estimates.

    Args:
        scores: Shape (n, models).
        targets: 0 or 1, shape (n,), at least two patients with rows of each.
        patients: Index of the patient of every row, shape (n,).

    Returns:
        Shapes (models,) and (models, models).
    """
    positive = targets == 1
    count, others = int(positive.sum()), int((~positive).sum())
    # Midranks (Sun and Xu 2014): how many rows of the other class lie below, ties at one half.
    ranks = stats.rankdata(scores, axis=0)
    own = np.empty_like(ranks)
    for rows in (positive, ~positive):
        own[rows] = stats.rankdata(scores[rows], axis=0)
    below = ranks - own
    component = np.where(positive[:, None], below / others, 1.0 - below / count)
    auroc = component[positive].mean(axis=0)
    centred = component - auroc
    names, owner = np.unique(patients, return_inverse=True)
    sums = []
    for rows in (positive, ~positive):
        total = np.zeros((len(names), scores.shape[1]))
        np.add.at(total, owner[rows], centred[rows])
        sums.append(total)
    holders = [len(np.unique(patients[rows])) for rows in (positive, ~positive)]
    of_positive = holders[0] / (holders[0] - 1) * (sums[0].T @ sums[0]) / count**2
    of_negative = holders[1] / (holders[1] - 1) * (sums[1].T @ sums[1]) / others**2
    both = len(names) / (len(names) - 1) * (sums[0].T @ sums[1]) / (count * others)
    return auroc, of_positive + of_negative + both + both.T


def compare_auroc(
    first: Probabilities, second: Probabilities, targets: Targets, patients: npt.NDArray[np.intp]
) -> AurocDifference:
    """Compares the AUROC of two models.

    Args:
        first: Probabilities of one model, shape (n,), in [0, 1].
        second: Those of another one for the same rows.
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        patients: Index of the patient of every row, shape (n,).

    Returns:
        The difference, nan where fewer than two patients have a row of one class.

    Raises:
        ValueError: If a shape or value does not fit.
    """
    values, truth, _ = known_rows(first, targets)
    others, _, _ = known_rows(second, targets)
    owners = patients[np.asarray(targets) >= 0]
    if min(len(np.unique(owners[truth == target])) for target in (0, 1)) < 2:
        return AurocDifference(math.nan, math.nan, math.nan)
    auroc, covariance = auroc_covariance(np.stack((values, others), axis=1), truth, owners)
    value = float(auroc[0] - auroc[1])
    error = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])))
    if error < _ROUNDING:
        error, p_value = (0.0, 1.0) if abs(value) < _ROUNDING else (math.nan, math.nan)
        return AurocDifference(value, error, p_value)
    return AurocDifference(value, error, float(2.0 * stats.norm.sf(abs(value) / error)))
