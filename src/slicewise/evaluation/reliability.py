"""How far probabilities can be taken at their word: calibration error, Brier decomposition, calibration line.

Probabilities and targets are as in `metrics.py`, shape (n,); rows with an unknown target enter nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse, special

from slicewise.evaluation.bootstrap import Draws, Indices
from slicewise.evaluation.metrics import CALIBRATION_BINS, Floats, Probabilities, Targets, calibration_bins, known_rows

PROBABILITY_CLIP = 1e-6
"""For their logits, probabilities are kept this far from 0 and 1."""

_LOGIT_BINS = 512
_STEPS, _LARGEST_STEP, _TOLERANCE = 60, 2.0, 1e-9
_STEEPEST = 100.0
"""A steeper line means that the classes are parted without overlap: then there is no finite one."""


class BrierDecomposition(NamedTuple):
    """Brier score = reliability - resolution + uncertainty (Murphy 1973), exact for any probabilities.

    The terms are those of `CALIBRATION_BINS` equal-width bins; what varies within bins belongs to the resolution
    (Stephenson, Coelho and Jolliffe 2008, the generalised resolution).

    Attributes:
        reliability: Mean squared distance of the mean probability of a bin to its share of positives; 0 is best.
        resolution: How far the probabilities tell rows apart; more is better.
        uncertainty: Variance of the targets: what always saying the prevalence would score.
    """

    reliability: float
    resolution: float
    uncertainty: float


class CalibrationLine(NamedTuple):
    """Logit of the share of positives as a line over the logit of the probability (Cox 1958).

    Attributes:
        slope: Below 1: probabilities are too extreme, above 1: too timid.
        intercept: With the slope fixed at 1: below 0: probabilities are too high on the whole, above 0: too low
            (Van Calster et al. 2019).
    """

    slope: float
    intercept: float


def brier_decomposition(probabilities: Probabilities, targets: Targets) -> BrierDecomposition:
    """Parts the Brier score; all nan without rows."""
    values, truth, _ = known_rows(probabilities, targets)
    parts = _brier_parts(_bin_sums(values, truth) @ np.ones((len(values), 1)))
    return BrierDecomposition(*(float(parts[name][0]) for name in ("reliability", "resolution", "uncertainty")))


def calibration_line(probabilities: Probabilities, targets: Targets) -> CalibrationLine:
    """Fits the calibration line by maximum likelihood; nan where a class is missing or the classes do not overlap."""
    values, truth, _ = known_rows(probabilities, targets)
    found = _fit_lines(_logits(values), np.ones((len(values), 1)), truth[:, None])
    return CalibrationLine(float(found["calibration_slope"][0]), float(found["calibration_intercept"][0]))


class CalibrationLines:
    """The calibration line of every resample, from counts in narrow bins of the logit.

    The bins are so narrow that the lines are those of the rows to a few thousandths; `calibration_line` is exact.
    """

    def __init__(self, values: Floats, truth: Floats, owners: Indices, count: int) -> None:
        """Counts known rows; `values`, `truth` and `owners` have shape (n,), `count` is the number of patients."""
        logits = _logits(values)
        limit = -float(special.logit(PROBABILITY_CLIP))
        bins = np.minimum(((logits + limit) * (_LOGIT_BINS / (2.0 * limit))).astype(np.intp), _LOGIT_BINS - 1)
        filled, rows = np.unique(bins, return_inverse=True)
        shape = (len(filled), count)
        self._logits = np.bincount(rows, logits, len(filled)) / np.bincount(rows, minlength=len(filled))
        # Counts, exact in single precision and half as much to move.
        counts = (np.ones_like(truth), truth)
        self._all, self._positive = (
            sparse.coo_array((part.astype(np.float32), (rows, owners)), shape=shape).tocsr() for part in counts
        )

    def resample(self, draws: Draws) -> dict[str, Floats]:
        """Returns `calibration_slope` and `calibration_intercept`, see `bootstrap.Statistic`."""
        return _fit_lines(self._logits, self._all @ draws, self._positive @ draws)


def reliability_sums(values: Floats, truth: Floats, owners: Indices, count: int) -> sparse.csr_array:
    """Returns the sums over patients that `reliability_metrics` needs, shape (sums, patients)."""
    of_patient = sparse.coo_array((np.ones(len(owners)), (np.arange(len(owners)), owners)), shape=(len(owners), count))
    return (_bin_sums(values, truth) @ of_patient.tocsr()).tocsr()


def reliability_metrics(sums: Floats) -> dict[str, Floats]:
    """Returns `ece` and the decomposition of the Brier score from sums of shape (sums, resamples)."""
    parts = _brier_parts(sums)
    return {
        "ece": parts["ece"],
        **{f"brier_{name}": parts[name] for name in ("reliability", "resolution", "uncertainty")},
    }


def _bin_sums(values: Floats, truth: Floats) -> sparse.csr_array:
    """Returns what adds up rows in bins: count, probability, its square, target and their product."""
    rows = np.arange(len(values))
    content = (np.ones(len(values)), values, values**2, truth, values * truth)
    bins = calibration_bins(values)
    return sparse.vstack(
        [sparse.coo_array((part, (bins, rows)), shape=(CALIBRATION_BINS, len(values))) for part in content]
    ).tocsr()


def _brier_parts(sums: Floats) -> dict[str, Floats]:
    count, probability, square, target, product = sums.reshape(5, CALIBRATION_BINS, -1)
    filled = np.where(count > 0, count, 1.0)
    rows = count.sum(axis=0)
    total = np.where(rows > 0, rows, np.nan)
    prevalence = target.sum(axis=0) / total
    within = (square - probability**2 / filled) - 2.0 * (product - probability * target / filled)
    between = np.where(count > 0, count * (target / filled - prevalence) ** 2, 0.0)
    return {
        "ece": np.abs(probability - target).sum(axis=0) / total,
        "reliability": ((probability - target) ** 2 / filled).sum(axis=0) / total,
        "resolution": (between - within).sum(axis=0) / total,
        "uncertainty": prevalence * (1.0 - prevalence),
    }


def _logits(values: Floats) -> Floats:
    found: Floats = special.logit(np.clip(values, PROBABILITY_CLIP, 1.0 - PROBABILITY_CLIP))
    return found


def _fit_lines(logits: Floats, count: Floats | Draws, positive: Floats | Draws) -> dict[str, Floats]:
    """Fits a line to every resample by Newton's method.

    Args:
        logits: Shape (bins,).
        count: Rows, shape (bins, resamples).
        positive: Positive rows, likewise.
    """
    x, count, positive = logits[:, None], count.astype(np.float64), positive.astype(np.float64)
    rows, positives = count.sum(axis=0), positive.sum(axis=0)
    defined = (positives > 0) & (positives < rows)
    # From a flat line at the prevalence Newton's steps stay small, wherever the logits lie.
    intercept = special.logit(np.where(defined, positives / np.where(rows > 0, rows, 1.0), 0.5))
    slope = np.zeros(count.shape[1])
    for _ in range(_STEPS):
        fitted = special.expit(intercept + slope * x)
        residual, weight = positive - count * fitted, count * fitted * (1.0 - fitted)
        gradient = residual.sum(axis=0), (residual * x).sum(axis=0)
        a, b, c = weight.sum(axis=0), (weight * x).sum(axis=0), (weight * x * x).sum(axis=0)
        determinant = np.where(defined & (a * c - b * b > 0), a * c - b * b, np.nan)
        steps = (c * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - b * gradient[0]) / determinant
        intercept, slope = (
            value + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
            for value, step in zip((intercept, slope), steps, strict=True)
        )
        if not np.any(np.abs(np.stack(steps)) > _TOLERANCE):
            break
    is_line = defined & (np.abs(np.stack(steps)) < 1e-3).all(axis=0) & (np.abs(slope) < _STEEPEST)
    return {
        "calibration_slope": np.where(is_line, slope, np.nan),
        "calibration_intercept": np.where(defined, _fit_offsets(x, count, positive), np.nan),
    }


def _fit_offsets(x: Floats, count: Floats, positive: Floats) -> Floats:
    """Fits the intercept alone, with a slope of 1."""
    intercept = np.zeros(count.shape[1])
    for _ in range(_STEPS):
        fitted = special.expit(intercept + x)
        weight = (count * fitted * (1.0 - fitted)).sum(axis=0)
        step = (positive - count * fitted).sum(axis=0) / np.where(weight > 0, weight, np.inf)
        intercept = intercept + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if not np.any(np.abs(step) > _TOLERANCE):
            break
    return intercept
