"""Metrics as pure functions of probabilities and targets.

All functions take probabilities in [0, 1], targets in {0, 1} with -1 for unknown, and optional non-negative sample
weights. Rows with an unknown target enter no metric. A metric that is not defined on the rows given (one class only,
no row at all) is nan.

Probabilities and targets have shape (n,), in `weighted_log_loss` (n, labels); sample weights have shape (n,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.floating[Any]]
Targets = npt.NDArray[np.integer[Any]]
SampleWeights = npt.NDArray[np.number[Any]]

CALIBRATION_BINS = 15
"""Number of bins of the expected calibration error."""

LOG_LOSS_CLIP = 1e-15
"""Probabilities are clipped this far from 0 and 1, as the RSNA 2019 challenge does."""


def auroc(probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None) -> float:
    """Area under the receiver operating characteristic, with ties at one half (Hanley and McNeil 1982)."""
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    return float(auroc_from_counts(*_class_counts(values, truth, weights)))


def average_precision(
    probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None
) -> float:
    """Precision averaged over the steps of recall, without interpolation; nan without positives."""
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    return float(average_precision_from_counts(*_class_counts(values, truth, weights)))


def log_loss(probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None) -> float:
    """Mean negative log likelihood in nats, with probabilities clipped by `LOG_LOSS_CLIP`."""
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    return _mean(log_losses(values, truth), weights)


def brier(probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None) -> float:
    """Mean squared difference between probability and target (Brier 1950, for two classes)."""
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    return _mean((values - truth) ** 2, weights)


def expected_calibration_error(
    probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None
) -> float:
    """Mean distance between the probability and the share of positives, over `CALIBRATION_BINS` equal-width bins.

    A bin holds its upper edge, the first one holds 0 as well (Guo et al. 2017, for two classes).
    """
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    gaps = np.bincount(calibration_bins(values), weights * (values - truth), CALIBRATION_BINS)
    return _divide(np.abs(gaps).sum(), weights.sum())


def weighted_log_loss(
    probabilities: Probabilities,
    targets: Targets,
    label_weights: npt.ArrayLike,
    sample_weights: SampleWeights | None = None,
) -> float:
    """The score of the RSNA 2019 challenge: the log loss, averaged over slices and over labels with their weights.

    Args:
        probabilities: Shape (n, labels).
        targets: Shape (n, labels). Unknown entries leave both the sum and its divisor.
        label_weights: Shape (labels,), as in `Task.loss_weights`.
        sample_weights: Shape (n,).

    Raises:
        ValueError: If a value is out of range or a shape does not fit.
    """
    values, truth, weights = _checked(probabilities, targets, sample_weights, dimensions=2)
    labels = np.asarray(label_weights, dtype=np.float64)
    if labels.shape != values.shape[1:]:
        raise ValueError(f"label_weights has shape {labels.shape} for {values.shape[1]} labels")
    entries = weights[:, None] * labels * (truth >= 0)
    return _divide((entries * log_losses(values, np.maximum(truth, 0))).sum(), entries.sum())


def sensitivity(
    probabilities: Probabilities, targets: Targets, threshold: float, sample_weights: SampleWeights | None = None
) -> float:
    """Share of the positives whose probability reaches the threshold."""
    flagged, truth, weights = _flagged(probabilities, targets, threshold, sample_weights)
    return _mean(flagged[truth == 1], weights[truth == 1])


def specificity(
    probabilities: Probabilities, targets: Targets, threshold: float, sample_weights: SampleWeights | None = None
) -> float:
    """Share of the negatives whose probability stays below the threshold."""
    flagged, truth, weights = _flagged(probabilities, targets, threshold, sample_weights)
    return _mean(1.0 - flagged[truth == 0], weights[truth == 0])


def ppv(
    probabilities: Probabilities, targets: Targets, threshold: float, sample_weights: SampleWeights | None = None
) -> float:
    """Positive predictive value: share of positives among the rows whose probability reaches the threshold."""
    flagged, truth, weights = _flagged(probabilities, targets, threshold, sample_weights)
    return _mean(truth[flagged == 1], weights[flagged == 1])


def npv(
    probabilities: Probabilities, targets: Targets, threshold: float, sample_weights: SampleWeights | None = None
) -> float:
    """Negative predictive value: share of negatives among the rows whose probability stays below the threshold."""
    flagged, truth, weights = _flagged(probabilities, targets, threshold, sample_weights)
    return _mean(1.0 - truth[flagged == 0], weights[flagged == 0])


def binary_metrics(probabilities: Probabilities, targets: Targets, threshold: float | None = None) -> dict[str, float]:
    """Returns every metric of one label by name; those at a threshold only where one is given."""
    values = {
        "auroc": auroc(probabilities, targets),
        "average_precision": average_precision(probabilities, targets),
        "log_loss": log_loss(probabilities, targets),
        "brier": brier(probabilities, targets),
        "ece": expected_calibration_error(probabilities, targets),
    }
    if threshold is not None:
        values["sensitivity"] = sensitivity(probabilities, targets, threshold)
        values["specificity"] = specificity(probabilities, targets, threshold)
        values["ppv"] = ppv(probabilities, targets, threshold)
        values["npv"] = npv(probabilities, targets, threshold)
    return values


def auroc_from_counts(positives: Floats, negatives: Floats) -> Floats:
    """Area under the receiver operating characteristic from weights of positives and negatives.

    Args:
        positives: Weight of the positives at every distinct probability, ascending, shape (probabilities, ...).
        negatives: Likewise of the negatives.

    Returns:
        Shape (...), nan where one class has no weight.
    """
    below = np.cumsum(negatives, axis=0) - 0.5 * negatives
    pairs = positives.sum(axis=0) * negatives.sum(axis=0)
    return divide((positives * below).sum(axis=0), pairs)


def average_precision_from_counts(positives: Floats, negatives: Floats) -> Floats:
    """Average precision, as `auroc_from_counts`; nan where the positives have no weight."""
    true = np.cumsum(positives[::-1], axis=0)
    flagged = true + np.cumsum(negatives[::-1], axis=0)
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    return divide((positives[::-1] * precision).sum(axis=0), positives.sum(axis=0))


def log_losses(probabilities: Floats, targets: Floats) -> Floats:
    """Returns the negative log likelihood of every entry in nats, clipped by `LOG_LOSS_CLIP`."""
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    return -np.log(np.where(targets == 1, clipped, 1.0 - clipped))


def calibration_bins(probabilities: Floats) -> npt.NDArray[np.intp]:
    """Returns the index of the bin of the expected calibration error that every probability falls into."""
    return np.searchsorted(np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)[1:-1], probabilities)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divides, with nan where the denominator is 0."""
    result: Floats = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    np.divide(numerator, denominator, out=result, where=np.asarray(denominator) > 0)
    return result


def known_rows(
    probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None = None
) -> tuple[Floats, Floats, Floats]:
    """Checks the input of a metric and leaves out the rows with an unknown target.

    Returns:
        Probabilities, targets and weights, each of shape (known rows,).

    Raises:
        ValueError: If a value is nan or out of range, or a shape does not fit.
    """
    values, truth, weights = _checked(probabilities, targets, sample_weights, dimensions=1)
    known = truth >= 0
    return values[known], truth[known], weights[known]


def _checked(
    probabilities: Probabilities, targets: Targets, sample_weights: SampleWeights | None, *, dimensions: int
) -> tuple[Floats, Floats, Floats]:
    values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if values.ndim != dimensions or values.shape != truth.shape:
        raise ValueError(
            f"probabilities and targets must both have {dimensions} dimensions and one shape, "
            f"not {values.shape} and {truth.shape}"
        )
    # Written so that nan fails as well.
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise ValueError("probabilities must lie in [0, 1]; some are nan or outside")
    if not np.all(np.isin(truth, (-1, 0, 1))):
        raise ValueError("targets must be 0, 1 or -1 for unknown")
    weights = np.ones(len(values)) if sample_weights is None else np.asarray(sample_weights, dtype=np.float64)
    if weights.shape != values.shape[:1]:
        raise ValueError(f"sample_weights has shape {weights.shape} for {len(values)} rows")
    if not np.all((weights >= 0.0) & np.isfinite(weights)):
        raise ValueError("sample_weights must be finite and not negative")
    return values, truth, weights


def _class_counts(values: Floats, truth: Floats, weights: Floats) -> tuple[Floats, Floats]:
    distinct, group = np.unique(values, return_inverse=True)
    positives: Floats = np.bincount(group, weights * truth, len(distinct)).astype(np.float64)
    negatives: Floats = np.bincount(group, weights * (1.0 - truth), len(distinct)).astype(np.float64)
    return positives, negatives


def _flagged(
    probabilities: Probabilities, targets: Targets, threshold: float, sample_weights: SampleWeights | None
) -> tuple[Floats, Floats, Floats]:
    values, truth, weights = known_rows(probabilities, targets, sample_weights)
    return (values >= threshold).astype(np.float64), truth, weights


def _mean(values: Floats, weights: Floats) -> float:
    return _divide((values * weights).sum(), weights.sum())


def _divide(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
