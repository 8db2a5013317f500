"""Metrics before and after a local calibration, with intervals from the same resamples of the patients.

Here thresholds differ from fold to fold, so that decisions, not thresholds, are what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.bootstrap import Draws, Indices
from slicewise.evaluation.evidence import Estimate, estimate
from slicewise.evaluation.metrics import (
    CALIBRATION_BINS,
    Floats,
    Probabilities,
    Targets,
    calibration_bins,
    divide,
    known_rows,
    log_losses,
)


def probability_metrics(
    probabilities: Probabilities, targets: Targets, owners: Indices, draws: Draws
) -> dict[str, Estimate]:
    """Returns `log_loss` and `ece` of one label.

    Args:
        probabilities: Shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        owners: Index of the patient of every row, shape (n,).
        draws: How often every patient was drawn, shape (patients, resamples).
    """
    known = owners[np.asarray(targets) >= 0]
    values, truth, _ = known_rows(probabilities, targets)
    bins = calibration_bins(values)
    gaps = [(values - truth) * (bins == place) for place in range(CALIBRATION_BINS)]
    sums = _patient_sums((np.ones(len(values)), log_losses(values, truth), *gaps), known, len(draws))
    return _estimates(
        sums,
        draws,
        {
            "log_loss": lambda sums: divide(sums[1], sums[0]),
            "ece": lambda sums: divide(np.abs(sums[2:]).sum(axis=0), sums[0]),
        },
    )


def decision_metrics(
    flagged: npt.NDArray[np.bool_], targets: Targets, owners: Indices, draws: Draws
) -> dict[str, Estimate]:
    """Returns `sensitivity` and `specificity` of one label; `flagged` has shape (n,), the others as above."""
    positive, negative = np.asarray(targets) == 1, np.asarray(targets) == 0
    columns = (flagged & positive, positive, ~flagged & negative, negative)
    sums = _patient_sums([column.astype(np.float64) for column in columns], owners, len(draws))
    return _estimates(
        sums,
        draws,
        {
            "sensitivity": lambda sums: divide(sums[0], sums[1]),
            "specificity": lambda sums: divide(sums[2], sums[3]),
        },
    )


def weighted_losses(
    probabilities: Probabilities, targets: Targets, label_weights: npt.ArrayLike, owners: Indices, draws: Draws
) -> Floats:
    """Returns the weighted log loss (`metrics.weighted_log_loss`) of the rows first, then of every resample.

    Args:
        probabilities: Shape (n, labels).
        targets: Shape (n, labels).
        label_weights: Shape (labels,).
        owners: As above.
        draws: As above.

    Returns:
        Shape (1 + resamples,), nan where there is no known label.
    """
    truth = np.asarray(targets, dtype=np.float64)
    entries = np.asarray(label_weights, dtype=np.float64) * (truth >= 0)
    losses = entries * log_losses(np.asarray(probabilities, dtype=np.float64), np.maximum(truth, 0.0))
    sums = _patient_sums((losses.sum(axis=1), entries.sum(axis=1)), owners, len(draws))
    totals = np.concatenate((sums.sum(axis=1, keepdims=True), sums @ draws.astype(np.float64)), axis=1)
    return divide(totals[0], totals[1])


def _patient_sums(columns: Iterable[Floats], owners: Indices, patients: int) -> Floats:
    return np.stack([np.bincount(owners, column, patients) for column in columns])


def _estimates(sums: Floats, draws: Draws, metrics: dict[str, Callable[[Floats], Floats]]) -> dict[str, Estimate]:
    resampled = sums @ draws.astype(np.float64)
    total = sums.sum(axis=1, keepdims=True)
    return {name: estimate(float(metric(total)[0]), metric(resampled)) for name, metric in metrics.items()}
