"""Calibration of logits and choice of operating points, both on patients that trained neither stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from slicewise.evaluation.metrics import Floats, Probabilities, Targets, known_rows
from slicewise.package import Calibration

PENALTY = 1.0
"""Default strength of the ridge, in nats: the penalty is PENALTY / 2 * ((scale - 1)^2 + bias^2), that is, a standard
normal prior around "no change". A few dozen informative slices outweigh it; without it, a label that is separated
perfectly on few positives would get an infinite scale."""

SMALLEST_SCALE = 1e-3
FALLBACK_THRESHOLD = 0.5


def fit_platt(
    logits: npt.NDArray[np.floating[Any]],
    targets: Targets,
    weights: npt.NDArray[np.floating[Any]] | None = None,
    *,
    penalty: float = PENALTY,
) -> Calibration:
    """Fits Platt scaling for every label by penalised maximum likelihood (Platt 1999, with a ridge).

    A label whose known targets are all of one class keeps the identity: nothing can be learnt about its order, and a
    rate of 0 or 1 in a small sample is no reason to drive its probabilities there.

    Args:
        logits: Shape (n, labels), finite.
        targets: Shape (n, labels), in {0, 1} with -1 for unknown. Unknown entries are left out.
        weights: Non-negative weights of the rows, shape (n,); None counts every row once.
        penalty: Strength of the ridge towards scale 1 and bias 0, not negative.

    Raises:
        ValueError: If a shape or value does not fit.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    rows = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or values.shape != truth.shape or rows.shape != values.shape[:1]:
        raise ValueError(f"shapes do not fit: logits {values.shape}, targets {truth.shape}, weights {rows.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("logits must be finite")
    if not np.all(np.isin(truth, (-1, 0, 1))):
        raise ValueError("targets must be 0, 1 or -1 for unknown")
    if penalty < 0 or not np.all((rows >= 0) & np.isfinite(rows)):
        raise ValueError("weights and penalty must be finite and not negative")
    fits = [_fit_label(values[:, index], truth[:, index], rows, penalty) for index in range(values.shape[1])]
    return Calibration(scale=tuple(scale for scale, _ in fits), bias=tuple(bias for _, bias in fits))


def choose_threshold(probabilities: Probabilities, targets: Targets) -> float:
    """Chooses the operating point with the largest sensitivity + specificity - 1 (Youden 1950).

    The threshold lies midway between the lowest flagged probability and the next lower one, so that rounding does not
    turn a decision. Of several best points the lowest is taken: it misses least.

    Args:
        probabilities: Calibrated probabilities of one label, shape (n,).
        targets: Shape (n,), in {0, 1} with -1 for unknown.

    Returns:
        The threshold, `FALLBACK_THRESHOLD` where one class is missing or no threshold is better than chance.

    Raises:
        ValueError: If a shape or value does not fit.
    """
    values, truth, _ = known_rows(probabilities, targets)
    distinct, group = np.unique(values, return_inverse=True)
    positives = np.bincount(group, truth, len(distinct))
    negatives = np.bincount(group, 1.0 - truth, len(distinct))
    if positives.sum() == 0 or negatives.sum() == 0:
        return FALLBACK_THRESHOLD
    # Entry k: every row with at least distinct[k + 1] is flagged. Scaled to whole numbers, so that ties are exact.
    youden = (np.cumsum(negatives) * positives.sum() - np.cumsum(positives) * negatives.sum())[:-1]
    if len(youden) == 0 or youden.max() <= 0.0:
        return FALLBACK_THRESHOLD
    best = int(np.argmax(youden))
    return float((distinct[best] + distinct[best + 1]) / 2.0)


def fit_logistic(features: Floats, targets: Targets, *, penalty: float = PENALTY) -> tuple[Floats, float]:
    """Fits a logistic regression by penalised maximum likelihood.

    Args:
        features: Shape (n, features), finite.
        targets: 0 or 1, shape (n,).
        penalty: Strength of the ridge on the weights, not on the bias, in nats.

    Returns:
        The weights, shape (features,), and the bias.
    """
    truth = np.asarray(targets, dtype=np.float64)
    rows = max(1, len(truth))

    def objective(parameters: Floats) -> tuple[float, Floats]:
        weights, bias = parameters[:-1], parameters[-1]
        z = features @ weights + bias
        loss = (np.logaddexp(0.0, z) - truth * z).sum() + penalty / 2.0 * (weights**2).sum()
        residual = special.expit(z) - truth
        gradient = np.append(residual @ features + penalty * weights, residual.sum())
        return float(loss / rows), gradient / rows

    start = np.zeros(features.shape[1] + 1)
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "gtol": 1e-8})
    return found.x[:-1], float(found.x[-1])


def _fit_label(logits: Floats, targets: Targets, rows: Floats, penalty: float) -> tuple[float, float]:
    known = (targets >= 0) & (rows > 0)
    x, y, w = logits[known], targets[known].astype(np.float64), rows[known]
    if len(np.unique(y)) < 2:
        return 1.0, 0.0
    total = w.sum()

    def objective(parameters: Floats) -> tuple[float, Floats]:
        scale, bias = parameters
        z = scale * x + bias
        loss = (w * (np.logaddexp(0.0, z) - y * z)).sum() + penalty / 2.0 * ((scale - 1.0) ** 2 + bias**2)
        residual = w * (special.expit(z) - y)
        gradient = np.array(((residual * x).sum() + penalty * (scale - 1.0), residual.sum() + penalty * bias))
        # The mean, not the sum, so that the stopping rule does not depend on the number of rows.
        return float(loss / total), gradient / total

    found = optimize.minimize(
        objective,
        x0=np.array((1.0, 0.0)),
        jac=True,
        method="L-BFGS-B",
        bounds=((SMALLEST_SCALE, None), (None, None)),
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    return float(found.x[0]), float(found.x[1])
