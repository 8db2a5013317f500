"""Curves of one label as points to draw: ROC, precision over recall, reliability, and counts over the threshold.

All functions take probabilities in [0, 1] and targets in {0, 1} with -1 for unknown, both of shape (n,), as
`metrics.py` does, and leave rows with an unknown target out. A row is flagged at a threshold if its probability
reaches it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from slicewise.evaluation.metrics import (
    CALIBRATION_BINS,
    Floats,
    Probabilities,
    Targets,
    calibration_bins,
    known_rows,
)

DRAWN_POINTS = 400
"""At most so many points of a curve are kept: what they leave out is thinner than its line."""

TABLE_THRESHOLDS = 400
"""About so many thresholds of a table."""

THRESHOLD_DIGITS = 6
"""Significant digits of the thresholds of a table, so that a printed threshold gives its counts exactly."""

_CELLS = 2000
"""Points of one cell of a grid this fine are one point."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CurvePoints:
    """A curve in the unit square.

    Attributes:
        x: Shape (points,), ascending.
        y: Shape (points,).
    """

    x: Floats
    y: Floats

    def __len__(self) -> int:
        """Returns the number of points; 0 where the curve is not defined."""
        return len(self.x)


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """How often the finding is there, by its probability, over the bins of the expected calibration error.

    Attributes:
        mean_probability: Shape (`CALIBRATION_BINS`,), nan where a bin is empty.
        positive_share: Share of positives, likewise.
        low: Lower end of its 95 % interval by Wilson's method, which takes rows for independent; likewise.
        high: Upper end.
        count: Rows of every bin.
    """

    mean_probability: Floats
    positive_share: Floats
    low: Floats
    high: Floats
    count: Counts


@dataclass(frozen=True, eq=False)
class ThresholdTable:
    """How many rows each threshold flags.

    Attributes:
        thresholds: Shape (t,), strictly ascending; t is 0 where one class is missing.
        true_positives: Flagged rows with the finding, shape (t,).
        false_positives: Flagged rows without it.
        true_negatives: Other rows without it.
        false_negatives: Other rows with it.
    """

    thresholds: Floats
    true_positives: Counts
    false_positives: Counts
    true_negatives: Counts
    false_negatives: Counts


def roc_points(probabilities: Probabilities, targets: Targets, most: int | None = DRAWN_POINTS) -> CurvePoints:
    """Returns sensitivity over 1 - specificity, from (0, 0) to (1, 1): one point a distinct probability.

    Args:
        probabilities: Shape (n,).
        targets: Shape (n,).
        most: Points are thinned to so many, at least 2; None keeps all.

    Returns:
        No point where one class is missing.

    Raises:
        ValueError: If a value is out of range or a shape does not fit, as for all functions here.
    """
    true, false = _flagged_counts(probabilities, targets)
    if len(true) == 0:
        return CurvePoints(true, false)
    true, false = np.concatenate(([0.0], true)), np.concatenate(([0.0], false))
    return _thinned(CurvePoints(false / false[-1], true / true[-1]), most)


def precision_recall_points(
    probabilities: Probabilities, targets: Targets, most: int | None = DRAWN_POINTS
) -> CurvePoints:
    """Returns precision over recall: one point a distinct probability, the highest probability first.

    The curve starts where the highest probability is flagged: at recall 0 there is no precision. Arguments and result
    are as those of `roc_points`.
    """
    true, false = _flagged_counts(probabilities, targets)
    if len(true) == 0:
        return CurvePoints(true, false)
    return _thinned(CurvePoints(true / true[-1], true / (true + false)), most)


def reliability_bins(probabilities: Probabilities, targets: Targets) -> ReliabilityBins:
    """Returns the mean probability and the share of positives of every bin."""
    values, truth, _ = known_rows(probabilities, targets)
    bins = calibration_bins(values)
    count = np.bincount(bins, minlength=CALIBRATION_BINS).astype(np.int64)
    positive = np.bincount(bins, truth, CALIBRATION_BINS)
    empty = np.where(count > 0, count, np.nan)
    intervals = np.full((CALIBRATION_BINS, 2), np.nan)
    for index in np.flatnonzero(count):
        test = stats.binomtest(int(positive[index]), int(count[index]))
        intervals[index] = test.proportion_ci(0.95, method="wilson")
    return ReliabilityBins(
        mean_probability=np.bincount(bins, values, CALIBRATION_BINS) / empty,
        positive_share=positive / empty,
        low=intervals[:, 0],
        high=intervals[:, 1],
        count=count,
    )


def threshold_table(
    probabilities: Probabilities, targets: Targets, include: Iterable[float] = (), most: int = TABLE_THRESHOLDS
) -> ThresholdTable:
    """Counts what thresholds flag, half of them at quantiles of the positives and half at those of the negatives.

    Quantiles of all rows would leave few thresholds where the rarer class lies. 0 and 1 are always there.

    Args:
        probabilities: Shape (n,).
        targets: Shape (n,).
        include: Further thresholds, which are kept as they are.
        most: Number of quantiles; equal ones are one threshold.
    """
    values, truth, _ = known_rows(probabilities, targets)
    positive, negative = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    if len(positive) == 0 or len(negative) == 0:
        none = np.zeros(0, np.int64)
        return ThresholdTable(np.zeros(0), none, none, none, none)
    levels = np.linspace(0.0, 1.0, max(most // 2, 2))
    quantiles = np.concatenate([np.quantile(rows, levels, method="lower") for rows in (positive, negative)])
    rounded = [float(f"{value:.{THRESHOLD_DIGITS}g}") for value in np.unique(quantiles)]
    thresholds = np.unique(np.array([0.0, 1.0, *rounded, *include]))
    missed, cleared = np.searchsorted(positive, thresholds), np.searchsorted(negative, thresholds)
    return ThresholdTable(thresholds, len(positive) - missed, len(negative) - cleared, cleared, missed)


def _flagged_counts(probabilities: Probabilities, targets: Targets) -> tuple[Floats, Floats]:
    """Counts flagged positives and negatives at every distinct probability, descending; empty without both classes."""
    values, truth, _ = known_rows(probabilities, targets)
    order = np.argsort(values)[::-1]
    values, truth = values[order], truth[order]
    if len(truth) == 0 or truth.min() == truth.max():
        return np.zeros(0), np.zeros(0)
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    true = np.cumsum(truth)[last]
    return true, last + 1.0 - true


def _thinned(curve: CurvePoints, most: int | None) -> CurvePoints:
    if most is None or len(curve) <= most:
        return curve
    cells = np.rint(np.stack((curve.x, curve.y)) * _CELLS)
    moves = np.append(0, np.flatnonzero(np.any(np.diff(cells) != 0, axis=0)) + 1)
    kept = np.unique(np.append(moves, len(curve) - 1))
    x, y = curve.x[kept], curve.y[kept]
    places = _corners(x, y, most)
    return CurvePoints(x[places], y[places])


def _corners(x: Floats, y: Floats, most: int) -> list[int]:
    """Chooses the points of a line that lie farthest from what is drawn without them (Douglas and Peucker 1973)."""
    places, segments = [0, len(x) - 1], [_farthest(x, y, 0, len(x) - 1)]
    while len(places) < most and segments[0][0] < 0:
        _, place, first, last = heapq.heappop(segments)
        places.append(place)
        for ends in ((first, place), (place, last)):
            heapq.heappush(segments, _farthest(x, y, *ends))
    return sorted(places)


def _farthest(x: Floats, y: Floats, first: int, last: int) -> tuple[float, int, int, int]:
    """Returns minus the distance of the farthest point between two others to their chord, its place, and the two."""
    if last - first < 2:
        return 0.0, first, first, last
    across, up = x[last] - x[first], y[last] - y[first]
    inner = slice(first + 1, last)
    distances = np.abs(across * (y[inner] - y[first]) - up * (x[inner] - x[first])) / np.hypot(across, up)
    place = int(np.argmax(distances))
    return -float(distances[place]), first + 1 + place, first, last
