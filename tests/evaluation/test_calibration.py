from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.linear_model import LogisticRegression

from slicewise.evaluation.calibration import choose_threshold, fit_platt
from slicewise.evaluation.metrics import log_loss
from slicewise.package import probabilities_from_logits


def sample(seed: int, count: int, scale: float, bias: float) -> tuple[Any, Any]:
    """Logits whose true calibration is known, and targets drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1.0, 2.0, count)
    return logits, (generator.random(count) < special.expit(scale * logits + bias)).astype(np.int8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.3, 3.0), bias=st.floats(-2.0, 2.0))
def test_without_penalty_it_is_logistic_regression(seed: int, scale: float, bias: float) -> None:
    logits, targets = sample(seed, 600, scale, bias)
    weights = np.random.default_rng(seed).integers(1, 4, len(logits)).astype(np.float64)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    reference.fit(logits[:, None], targets, sample_weight=weights)
    found = fit_platt(logits[:, None], targets[:, None], weights, penalty=0.0)
    assert found.scale[0] == pytest.approx(float(reference.coef_[0, 0]), rel=1e-4)
    assert found.bias[0] == pytest.approx(float(reference.intercept_[0]), rel=1e-4, abs=1e-4)


def test_the_penalty_is_a_ridge_towards_no_change() -> None:
    # scikit-learn shrinks to 0; shifting the parameters by (1, 0) is an offset of `logits`, which it lacks. So the
    # penalised optimum is checked by its own condition: the gradient vanishes.
    logits, targets = sample(3, 40, 2.0, 0.5)
    found = fit_platt(logits[:, None], targets[:, None], penalty=2.0)
    residual = special.expit(found.scale[0] * logits + found.bias[0]) - targets
    assert (residual * logits).sum() + 2.0 * (found.scale[0] - 1.0) == pytest.approx(0.0, abs=1e-4)
    assert residual.sum() + 2.0 * found.bias[0] == pytest.approx(0.0, abs=1e-4)


def test_labels_are_fitted_apart_and_unknown_targets_are_left_out() -> None:
    logits, targets = sample(1, 300, 0.5, -1.0)
    others, other_targets = sample(2, 300, 1.5, 1.0)
    other_targets[:100] = -1
    both = fit_platt(np.stack((logits, others), axis=1), np.stack((targets, other_targets), axis=1))
    first = fit_platt(logits[:, None], targets[:, None])
    second = fit_platt(others[100:, None], other_targets[100:, None])
    assert both.scale == pytest.approx((first.scale[0], second.scale[0]), rel=1e-6)
    assert both.bias == pytest.approx((first.bias[0], second.bias[0]), rel=1e-6)


def test_it_repairs_overconfident_logits() -> None:
    logits, targets = sample(5, 4000, 1.0, 0.0)
    spoilt = (3.0 * logits + 1.0)[:, None].astype(np.float32)
    found = fit_platt(spoilt, targets[:, None])
    assert found.scale[0] == pytest.approx(1 / 3, abs=0.03)
    repaired = probabilities_from_logits(spoilt, found, None)[:, 0]
    assert log_loss(repaired, targets) < log_loss(special.expit(spoilt[:, 0]), targets) - 0.05


def test_few_positives_that_are_separated_perfectly_keep_a_moderate_scale() -> None:
    logits = np.array([-3.0, -2.0, -2.5, -4.0, 2.0])[:, None]
    targets = np.array([0, 0, 0, 0, 1])[:, None]
    found = fit_platt(logits, targets)
    assert 0.5 < found.scale[0] < 3.0
    assert abs(found.bias[0]) < 1.0


def test_reversed_logits_keep_a_scale_above_zero() -> None:
    logits = np.linspace(-3, 3, 200)[:, None]
    found = fit_platt(logits, (logits < 0).astype(np.int8))
    assert 0.0 < found.scale[0] < 0.1


@pytest.mark.parametrize("target", [0, 1, -1])
def test_one_class_keeps_the_identity(target: int) -> None:
    found = fit_platt(np.array([[-1.0], [2.0]]), np.full((2, 1), target))
    assert (found.scale, found.bias) == ((1.0,), (0.0,))


@pytest.mark.parametrize(
    ("logits", "targets", "weights", "penalty", "message"),
    [
        ([[1.0]], [[0], [1]], None, 1.0, "shapes do not fit"),
        ([1.0], [0], None, 1.0, "shapes do not fit"),
        ([[1.0], [2.0]], [[0], [1]], [1.0], 1.0, "shapes do not fit"),
        ([[math.nan], [2.0]], [[0], [1]], None, 1.0, "finite"),
        ([[1.0], [2.0]], [[0], [2]], None, 1.0, "targets must be"),
        ([[1.0], [2.0]], [[0], [1]], [1.0, -1.0], 1.0, "not negative"),
        ([[1.0], [2.0]], [[0], [1]], None, -1.0, "not negative"),
    ],
)
def test_bad_input_is_refused(logits: Any, targets: Any, weights: Any, penalty: float, message: str) -> None:
    rows = None if weights is None else np.array(weights)
    with pytest.raises(ValueError, match=message):
        fit_platt(np.array(logits), np.array(targets), rows, penalty=penalty)


def test_the_threshold_lies_midway_between_the_classes_it_parts() -> None:
    values, targets = np.array([0.1, 0.2, 0.6, 0.8, 0.0]), np.array([0, 0, 1, 1, -1])
    assert choose_threshold(values, targets) == pytest.approx(0.4)


def test_the_threshold_maximises_sensitivity_plus_specificity() -> None:
    generator = np.random.default_rng(4)
    targets = generator.integers(0, 2, 200)
    values = np.clip(generator.normal(0.3 + 0.3 * targets, 0.2), 0, 1).round(2)

    def youden(threshold: float) -> float:
        flagged = values >= threshold
        return float(flagged[targets == 1].mean() + (~flagged)[targets == 0].mean())

    best = max(youden(threshold) for threshold in np.linspace(0, 1, 1001))
    assert youden(choose_threshold(values, targets)) == pytest.approx(best)


def test_of_equal_thresholds_the_lowest_is_taken() -> None:
    # Flagging from .3 on: sensitivity 1, specificity 1/2. From .9 on: sensitivity 1/2, specificity 1.
    values, targets = np.array([0.1, 0.3, 0.5, 0.9]), np.array([0, 1, 0, 1])
    assert choose_threshold(values, targets) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "targets"),
    [([0.1, 0.9], [0, 0]), ([0.1, 0.9], [1, 1]), ([0.1], [-1]), ([0.3, 0.3], [0, 1]), ([0.9, 0.1], [0, 1])],
)
def test_the_threshold_falls_back_to_one_half(values: Any, targets: Any) -> None:
    assert choose_threshold(np.array(values), np.array(targets)) == 0.5
