from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.local_metrics import decision_metrics, probability_metrics, weighted_losses
from slicewise.evaluation.metrics import (
    expected_calibration_error,
    log_loss,
    sensitivity,
    specificity,
    weighted_log_loss,
)

PATIENTS, ROWS = 20, 300


def test_metrics_and_their_resamples_are_those_of_copied_rows() -> None:
    generator = np.random.default_rng(3)
    probabilities, owners = generator.random((ROWS, 2)), generator.integers(0, PATIENTS, ROWS)
    targets = generator.integers(-1, 2, (ROWS, 2))
    draws = patient_multiplicities(PATIENTS, 40, 1)
    column, truth = probabilities[:, 0], targets[:, 0]
    found = {
        **probability_metrics(column, truth, owners, draws),
        **decision_metrics(column >= 0.4, truth, owners, draws),
    }
    losses = weighted_losses(probabilities, targets, (2.0, 1.0), owners, draws)
    copies = [np.repeat(np.arange(ROWS), draws[owners, number].astype(int)) for number in range(40)]
    for number, rows in enumerate((np.arange(ROWS), *copies)):
        expected = weighted_log_loss(probabilities[rows], targets[rows], (2.0, 1.0))
        assert losses[number] == pytest.approx(expected)
    metrics: dict[str, Callable[..., float]] = {
        "log_loss": log_loss,
        "ece": expected_calibration_error,
        "sensitivity": partial(sensitivity, threshold=0.4),
        "specificity": partial(specificity, threshold=0.4),
    }
    for name, metric in metrics.items():
        values = [metric(column[rows], truth[rows]) for rows in copies]
        assert found[name].value == pytest.approx(metric(column, truth))
        assert (found[name].low, found[name].high) == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))))


def test_without_labels_nothing_is_defined() -> None:
    draws, owners, targets = patient_multiplicities(2, 10, 0), np.array([0, 1]), np.array([-1, -1])
    found = {
        **probability_metrics(np.array([0.1, 0.2]), targets, owners, draws),
        **decision_metrics(np.array([True, False]), targets, owners, draws),
    }
    assert all((item.value, item.low) == (None, None) for item in found.values())
