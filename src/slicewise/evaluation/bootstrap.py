"""95 % intervals from resampled patients.

Slices of one patient are not independent, so whole patients are drawn, with replacement (Efron and Tibshirani 1993,
sections 8 and 13): a resample is a multiplicity for every patient. No row is copied. Every metric here depends on the
rows only through sums over patients: a few moments, counts in bins, or the counts of positives and negatives along the
sorted probabilities. Those per-patient sums are formed once, as a sparse matrix; a resample is its product with the
multiplicities. The same multiplicities serve every metric and every model, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.evaluation.metrics import (
    CALIBRATION_BINS,
    Floats,
    Probabilities,
    Targets,
    auroc_from_counts,
    average_precision_from_counts,
    calibration_bins,
    divide,
    known_rows,
    log_losses,
)

Indices = npt.NDArray[np.intp]
Draws = npt.NDArray[np.int16]
"""How often every patient was drawn, shape (patients, resamples)."""

LEVEL = 0.95
"""Coverage of the intervals."""

LEAST_DEFINED = 0.95
"""An interval needs a metric to be defined in at least this share of the resamples (about three positive patients)."""

_CHUNK_BYTES = 48 << 20


@dataclass(frozen=True, eq=False)
class Statistic:
    """One or more metrics that depend on the rows only through sums over patients.

    Attributes:
        sums: Shape (sums, patients).
        metrics: From the sums over all drawn patients, shape (sums, resamples), to metrics by name, each of shape
            (resamples,).
    """

    sums: sparse.csr_array
    metrics: Callable[[Floats], dict[str, Floats]]


def patient_multiplicities(patients: int, resamples: int, seed: int) -> Draws:
    """Draws resamples of the patients.

    Args:
        patients: Number of patients, at least 1.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.

    Returns:
        How often every patient was drawn, shape (patients, resamples).
    """
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(patients, np.full(patients, 1.0 / patients), size=resamples)
    return np.ascontiguousarray(draws.T.astype(np.int16))


def resample(statistics: Iterable[Statistic], multiplicities: Draws) -> dict[str, Floats]:
    """Computes the metrics of every resample.

    Args:
        statistics: What is computed.
        multiplicities: Shape (patients, resamples).

    Returns:
        Metrics by name, each of shape (resamples,), nan where a resample does not define one.
    """
    values: dict[str, Floats] = {}
    for statistic in statistics:
        step = max(1, _CHUNK_BYTES // max(1, 8 * statistic.sums.shape[0]))
        chunks = [
            statistic.metrics(statistic.sums @ multiplicities[:, start : start + step].astype(np.float64))
            for start in range(0, max(1, multiplicities.shape[1]), step)
        ]
        values.update({name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]})
    return values


def percentile_interval(values: Floats) -> tuple[float, float]:
    """Returns the percentile interval of `LEVEL`.

    Args:
        values: The metric in every resample, shape (resamples,).

    Returns:
        Low and high; both nan if fewer than `LEAST_DEFINED` of the resamples define the metric.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < LEAST_DEFINED * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0))
    return float(low), float(high)


def binary_statistics(
    probabilities: Probabilities, targets: Targets, patients: Indices, count: int, threshold: float | None = None
) -> tuple[Statistic, ...]:
    """Prepares the metrics of `slicewise.evaluation.metrics.binary_metrics` for resampling.

    Args:
        probabilities: Shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        patients: Index of the patient of every row, shape (n,).
        count: Number of patients.
        threshold: Operating point, None leaves out the metrics that need one.
    """
    owners = patients[np.asarray(targets) >= 0]
    values, truth, _ = known_rows(probabilities, targets)
    statistics = (
        ranking_statistic(values, truth, owners, count),
        _moments(values, truth, owners, count),
        _calibration(values, truth, owners, count),
    )
    return statistics if threshold is None else (*statistics, _confusion(values, truth, owners, count, threshold))


def ranking_statistic(values: Floats, truth: Floats, owners: Indices, count: int) -> Statistic:
    """AUROC and average precision of known rows.

    Neighbouring distinct probabilities without a positive are merged: both metrics only ask how many negatives lie
    between two positives. With rare positives this leaves few sums.
    """
    distinct, group = np.unique(values, return_inverse=True)
    positive = np.bincount(group, truth, len(distinct)) > 0
    starts = np.ones(len(distinct), dtype=np.intp)
    starts[1:] = positive[1:] | positive[:-1]
    segment = (np.cumsum(starts) - 1)[group]
    segments = int(starts.sum())

    def metrics(sums: Floats) -> dict[str, Floats]:
        positives, negatives = sums[:segments], sums[segments:]
        return {
            "auroc": auroc_from_counts(positives, negatives),
            "average_precision": average_precision_from_counts(positives, negatives),
        }

    rows = np.where(truth == 1, segment, segment + segments)
    return Statistic(_sparse_sums(rows, owners, np.ones(len(values)), (2 * segments, count)), metrics)


def weighted_log_loss_statistic(
    probabilities: Probabilities, targets: Targets, label_weights: npt.ArrayLike, patients: Indices, count: int
) -> Statistic:
    """Prepares `slicewise.evaluation.metrics.weighted_log_loss` for resampling; shapes as there and above."""
    truth = np.asarray(targets, dtype=np.float64)
    entries = np.asarray(label_weights, dtype=np.float64) * (truth >= 0)
    losses = entries * log_losses(np.asarray(probabilities, dtype=np.float64), np.maximum(truth, 0.0))
    sums = _dense_sums((losses.sum(axis=1), entries.sum(axis=1)), patients, count)
    return Statistic(sums, lambda sums: {"weighted_log_loss": divide(sums[0], sums[1])})


def _moments(values: Floats, truth: Floats, owners: Indices, count: int) -> Statistic:
    columns = (log_losses(values, truth), (values - truth) ** 2, np.ones(len(values)))
    return Statistic(
        _dense_sums(columns, owners, count),
        lambda sums: {"log_loss": divide(sums[0], sums[2]), "brier": divide(sums[1], sums[2])},
    )


def _calibration(values: Floats, truth: Floats, owners: Indices, count: int) -> Statistic:
    bins = calibration_bins(values)
    rows = np.concatenate((bins, bins + CALIBRATION_BINS))
    content = np.concatenate((values - truth, np.ones(len(values))))
    sums = _sparse_sums(rows, np.tile(owners, 2), content, (2 * CALIBRATION_BINS, count))

    def metrics(sums: Floats) -> dict[str, Floats]:
        gaps = np.abs(sums[:CALIBRATION_BINS]).sum(axis=0)
        return {"ece": divide(gaps, sums[CALIBRATION_BINS:].sum(axis=0))}

    return Statistic(sums, metrics)


def _confusion(values: Floats, truth: Floats, owners: Indices, count: int, threshold: float) -> Statistic:
    flagged = values >= threshold
    columns = [(flagged == flag) & (truth == target) for flag, target in ((True, 1), (True, 0), (False, 1), (False, 0))]

    def metrics(sums: Floats) -> dict[str, Floats]:
        true_positive, false_positive, false_negative, true_negative = sums
        return {
            "sensitivity": divide(true_positive, true_positive + false_negative),
            "specificity": divide(true_negative, true_negative + false_positive),
            "ppv": divide(true_positive, true_positive + false_positive),
            "npv": divide(true_negative, true_negative + false_negative),
        }

    return Statistic(_dense_sums([column.astype(np.float64) for column in columns], owners, count), metrics)


def _dense_sums(columns: Iterable[Floats], owners: Indices, count: int) -> sparse.csr_array:
    return sparse.csr_array(np.stack([np.bincount(owners, column, count) for column in columns]))


def _sparse_sums(rows: Indices, owners: Indices, content: Floats, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.coo_array((content, (rows, owners)), shape=shape).tocsr()
