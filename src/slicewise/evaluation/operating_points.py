"""Named operating points: rules that choose a threshold, and what a threshold then gives."""

from __future__ import annotations

import numpy as np

from slicewise.evaluation.metrics import Floats, Probabilities, Targets, divide, known_rows

MODEL = "model"
"""The threshold that a model package brings, chosen on other data."""

YOUDEN = "youden"
"""The largest sensitivity + specificity - 1; of equal ones the lowest threshold, which misses least (Youden 1950)."""

LEAST_SENSITIVITY = {"sensitivity_90": 0.90, "sensitivity_95": 0.95}
"""The highest threshold with at least this sensitivity."""

LEAST_SPECIFICITY = {"specificity_95": 0.95}
"""The highest sensitivity with at least this specificity; of equal ones the highest threshold, which alarms least."""

PREVALENCES = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40)
"""Shares of positives at which predictive values are given."""

_ROUNDING = 1e-6


def choose_threshold(probabilities: Probabilities, targets: Targets, name: str) -> float:
    """Chooses a threshold by its rule: the plain way, which tries every probability.

    Args:
        probabilities: Shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        name: `YOUDEN`, or a key of `LEAST_SENSITIVITY` or `LEAST_SPECIFICITY`.

    Returns:
        The threshold, midway between the lowest flagged probability and the next lower one; nan where one class is
        missing, or where no threshold fulfils the rule.

    Raises:
        ValueError: If a shape or value does not fit.
    """
    values, truth, _ = known_rows(probabilities, targets)
    positives, negatives = float((truth == 1).sum()), float((truth == 0).sum())
    best, score = float("nan"), 0.0
    if positives == 0 or negatives == 0:
        return best
    distinct = np.unique(values)[::-1]
    for threshold, below in zip(distinct, [*distinct[1:], distinct[-1]], strict=True):
        true = float((truth[values >= threshold] == 1).sum())
        false = float((truth[values >= threshold] == 0).sum())
        middle = float(threshold + below) / 2.0
        if name == YOUDEN:
            found = true * negatives - false * positives
            if found > 0 and found >= score:
                best, score = middle, found
        elif name in LEAST_SENSITIVITY:
            if true >= LEAST_SENSITIVITY[name] * positives - _ROUNDING:
                return middle
        elif false <= (1.0 - LEAST_SPECIFICITY[name]) * negatives + _ROUNDING and true > score:
            best, score = middle, true
    return best


def threshold_metrics(true: Floats, false: Floats, positives: Floats, negatives: Floats) -> dict[str, Floats]:
    """Computes what a threshold gives from counts, each of shape (resamples,).

    Args:
        true: Flagged positives.
        false: Flagged negatives.
        positives: All positives.
        negatives: All negatives.

    Returns:
        `sensitivity`, `specificity`, `ppv`, `npv` and `f1`, nan where not defined.
    """
    return {
        "sensitivity": divide(true, positives),
        "specificity": divide(negatives - false, negatives),
        "ppv": divide(true, true + false),
        "npv": divide(negatives - false, negatives - false + positives - true),
        "f1": divide(2.0 * true, true + false + positives),
    }


def predictive_values(sensitivity: Floats, specificity: Floats, prevalence: float) -> tuple[Floats, Floats]:
    """Returns positive and negative predictive value at another prevalence, by Bayes' theorem.

    Args:
        sensitivity: Shape (resamples,).
        specificity: Likewise.
        prevalence: Share of positives, between 0 and 1.
    """
    true, false = sensitivity * prevalence, (1.0 - specificity) * (1.0 - prevalence)
    clear, missed = specificity * (1.0 - prevalence), (1.0 - sensitivity) * prevalence
    return divide(true, true + false), divide(clear, clear + missed)
