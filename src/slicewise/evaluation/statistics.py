"""The metrics of one label, ready for resampling: the fast counterparts of `metrics.py` and `reliability.py`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.evaluation.bootstrap import Indices, Statistic, SumStatistic
from slicewise.evaluation.metrics import Floats, Probabilities, Targets, divide, known_rows, log_losses
from slicewise.evaluation.operating_points import threshold_metrics
from slicewise.evaluation.reliability import CalibrationLines, reliability_metrics, reliability_sums
from slicewise.evaluation.sweep import Sweep


def binary_statistics(
    probabilities: Probabilities, targets: Targets, patients: Indices, count: int
) -> tuple[Statistic, ...]:
    """Prepares the metrics of one label that need no operating point.

    Args:
        probabilities: Shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        patients: Index of the patient of every row, shape (n,).
        count: Number of patients.
    """
    owners = patients[np.asarray(targets) >= 0]
    values, truth, _ = known_rows(probabilities, targets)
    return (
        Sweep.of(values, truth, owners, count, with_points=False),
        *probability_statistics(values, truth, owners, count),
    )


def probability_statistics(values: Floats, truth: Floats, owners: Indices, count: int) -> tuple[Statistic, ...]:
    """Prepares what does not depend on the order alone: losses, calibration error, decomposition, calibration line.

    Args:
        values: Probabilities of known rows, shape (n,).
        truth: 0 or 1, shape (n,).
        owners: Index of the patient of every row, shape (n,).
        count: Number of patients.
    """
    return (
        _losses(values, truth, owners, count),
        SumStatistic(reliability_sums(values, truth, owners, count), reliability_metrics),
        CalibrationLines(values, truth, owners, count),
    )


def threshold_statistic(values: Floats, truth: Floats, owners: Indices, count: int, threshold: float) -> SumStatistic:
    """Prepares the metrics at a threshold; arguments as for `probability_statistics`."""
    flagged = values >= threshold
    columns = (flagged & (truth == 1), flagged & (truth == 0), truth == 1, truth == 0)
    return SumStatistic(
        dense_sums([column.astype(np.float64) for column in columns], owners, count),
        lambda sums: threshold_metrics(sums[0], sums[1], sums[2], sums[3]),
    )


def weighted_log_loss_statistic(
    probabilities: Probabilities, targets: Targets, label_weights: npt.ArrayLike, patients: Indices, count: int
) -> SumStatistic:
    """Prepares `slicewise.evaluation.metrics.weighted_log_loss` for resampling; shapes as there and above."""
    truth = np.asarray(targets, dtype=np.float64)
    entries = np.asarray(label_weights, dtype=np.float64) * (truth >= 0)
    losses = entries * log_losses(np.asarray(probabilities, dtype=np.float64), np.maximum(truth, 0.0))
    sums = dense_sums((losses.sum(axis=1), entries.sum(axis=1)), patients, count)
    return SumStatistic(sums, lambda sums: {"weighted_log_loss": divide(sums[0], sums[1])})


def dense_sums(columns: Iterable[Floats], owners: Indices, count: int) -> sparse.csr_array:
    """Adds up columns, each of shape (n,), over the rows of every patient: shape (columns, patients)."""
    return sparse.csr_array(np.stack([np.bincount(owners, column, count) for column in columns]))


def _losses(values: Floats, truth: Floats, owners: Indices, count: int) -> SumStatistic:
    columns = (log_losses(values, truth), (values - truth) ** 2, np.ones(len(values)))
    return SumStatistic(
        dense_sums(columns, owners, count),
        lambda sums: {"log_loss": divide(sums[0], sums[2]), "brier": divide(sums[1], sums[2])},
    )
