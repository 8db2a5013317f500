from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.calibration
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st

from slicewise.evaluation import metrics

Floats = npt.NDArray[np.float64]
Case = tuple[Floats, npt.NDArray[np.int8], Floats]

METRICS: list[Callable[..., float]] = [
    metrics.auroc,
    metrics.average_precision,
    metrics.log_loss,
    metrics.brier,
    metrics.expected_calibration_error,
]
THRESHOLD_METRICS: list[Callable[..., float]] = [
    metrics.sensitivity,
    metrics.specificity,
    metrics.ppv,
    metrics.npv,
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Probabilities with ties, targets of both classes, integer weights; both classes keep some weight."""
    count = draw(st.integers(2, 40))
    grid = st.integers(0, 12).map(lambda step: step / 12)
    values = draw(st.lists(grid, min_size=count, max_size=count))
    truth = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    weights = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    case = np.array(values), np.array(truth, dtype=np.int8), np.array(weights, dtype=np.float64)
    assume(all(case[2][case[1] == target].sum() > 0 for target in (0, 1)))
    return case


@given(cases())
def test_ranking_metrics_agree_with_scikit_learn(case: Case) -> None:
    values, truth, weights = case
    assert metrics.auroc(values, truth, weights) == pytest.approx(
        sklearn.metrics.roc_auc_score(truth, values, sample_weight=weights), abs=1e-12
    )
    assert metrics.average_precision(values, truth, weights) == pytest.approx(
        sklearn.metrics.average_precision_score(truth, values, sample_weight=weights), abs=1e-12
    )


@given(cases())
def test_losses_agree_with_scikit_learn(case: Case) -> None:
    values, truth, weights = case
    assert metrics.brier(values, truth, weights) == pytest.approx(
        sklearn.metrics.brier_score_loss(truth, values, sample_weight=weights), abs=1e-12
    )
    clipped = np.clip(values, 1e-15, 1 - 1e-15)
    assert metrics.log_loss(values, truth, weights) == pytest.approx(
        sklearn.metrics.log_loss(truth, clipped, sample_weight=weights, labels=[0, 1]), abs=1e-12
    )


@given(cases(), st.integers(0, 13).map(lambda step: step / 12))
def test_threshold_metrics_agree_with_scikit_learn(case: Case, threshold: float) -> None:
    values, truth, weights = case
    flagged = (values >= threshold).astype(int)
    matrix = sklearn.metrics.confusion_matrix(truth, flagged, sample_weight=weights, labels=[0, 1])
    tn, fp, fn, tp = matrix.ravel()
    assert metrics.sensitivity(values, truth, threshold, weights) == pytest.approx(tp / (tp + fn))
    assert metrics.specificity(values, truth, threshold, weights) == pytest.approx(tn / (tn + fp))
    expected_ppv = tp / (tp + fp) if tp + fp else math.nan
    expected_npv = tn / (tn + fn) if tn + fn else math.nan
    assert metrics.ppv(values, truth, threshold, weights) == pytest.approx(expected_ppv, nan_ok=True)
    assert metrics.npv(values, truth, threshold, weights) == pytest.approx(expected_npv, nan_ok=True)


@given(cases())
def test_calibration_error_agrees_with_scikit_learns_calibration_curve(case: Case) -> None:
    values, truth, _ = case
    share, confidence = sklearn.calibration.calibration_curve(truth, values, n_bins=15)
    edges = np.linspace(0, 1, 16)
    sizes = np.bincount(np.searchsorted(edges[1:-1], values), minlength=15)
    expected = (np.abs(share - confidence) * sizes[sizes > 0]).sum() / len(values)
    assert metrics.expected_calibration_error(values, truth) == pytest.approx(expected, abs=1e-12)


@given(cases())
def test_a_weight_counts_like_that_many_rows(case: Case) -> None:
    values, truth, weights = case
    copies = np.repeat(np.arange(len(values)), weights.astype(int))
    for metric in METRICS:
        assert metric(values, truth, weights) == pytest.approx(metric(values[copies], truth[copies]), abs=1e-12)


@given(cases())
def test_rows_with_unknown_targets_enter_no_metric(case: Case) -> None:
    values, truth, weights = case
    more = (
        np.append(values, (0.0, 0.5, 1.0)),
        np.append(truth, np.array((-1, -1, -1), dtype=np.int8)),
        np.append(weights, (1.0, 2.0, 3.0)),
    )
    for metric in METRICS:
        assert metric(more[0], more[1], more[2]) == metric(values, truth, weights)
    for metric in THRESHOLD_METRICS:
        assert metric(more[0], more[1], 0.5, more[2]) == pytest.approx(metric(values, truth, 0.5, weights), nan_ok=True)


def test_auroc_by_hand() -> None:
    # Positives .8 and .5, negatives .5 and .1: three pairs in order, one tie.
    assert metrics.auroc(np.array([0.8, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0])) == 3.5 / 4


def test_calibration_error_by_hand() -> None:
    # One bin, (0.2, 0.267], with mean probability .25 and a share of .5.
    assert metrics.expected_calibration_error(np.array([0.25, 0.25]), np.array([1, 0])) == pytest.approx(0.25)
    # 1/15 is the upper edge of the first bin, which holds 0 as well: gap |(1/15 + 0) - 1| over 2 rows.
    value = metrics.expected_calibration_error(np.array([1 / 15, 0.0]), np.array([1, 0]))
    assert value == pytest.approx((1 - 1 / 15) / 2)


def test_weighted_log_loss_is_the_official_formula() -> None:
    generator = np.random.default_rng(1)
    values, truth = generator.random((50, 3)), generator.integers(0, 2, (50, 3))
    weights = (2.0, 1.0, 1.0)
    columns = [sklearn.metrics.log_loss(truth[:, k], values[:, k], labels=[0, 1]) for k in range(3)]
    assert metrics.weighted_log_loss(values, truth, weights) == pytest.approx(np.average(columns, weights=weights))


def test_weighted_log_loss_by_hand_with_unknown_entries() -> None:
    values = np.array([[0.5, 0.9], [0.25, 0.1]])
    truth = np.array([[1, -1], [0, 1]])
    expected = (2 * -math.log(0.5) + 2 * -math.log(0.75) + 1 * -math.log(0.1)) / 5
    assert metrics.weighted_log_loss(values, truth, (2.0, 1.0)) == pytest.approx(expected)
    expected = (2 * -math.log(0.75) + 1 * -math.log(0.1)) / 3
    assert metrics.weighted_log_loss(values, truth, (2.0, 1.0), np.array([0, 1])) == pytest.approx(expected)


def test_a_certain_error_costs_the_clipped_loss() -> None:
    assert metrics.log_loss(np.array([0.0]), np.array([1])) == pytest.approx(15 * math.log(10))
    assert metrics.log_loss(np.array([1.0], dtype=np.float32), np.array([0])) == pytest.approx(34.5, abs=0.1)


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_only_is_undefined_where_two_are_needed(target: int) -> None:
    values, truth = np.array([0.2, 0.7]), np.array([target, target])
    found = metrics.binary_metrics(values, truth, 0.5)
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == ({"auroc", "average_precision", "sensitivity"} if target == 0 else {"auroc", "specificity"})


def test_no_known_row_leaves_everything_undefined() -> None:
    found = metrics.binary_metrics(np.array([0.2]), np.array([-1]), 0.5)
    assert len(found) == 9
    assert all(math.isnan(value) for value in found.values())
    assert math.isnan(metrics.weighted_log_loss(np.array([[0.2]]), np.array([[-1]]), (1.0,)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("values", "truth", "weights", "message"),
    [
        ([0.5, math.nan], [0, 1], None, "nan or outside"),
        ([0.5, 1.01], [0, 1], None, "nan or outside"),
        ([-0.01, 0.5], [0, 1], None, "nan or outside"),
        ([0.5, 0.5], [0, 2], None, "targets must be"),
        ([0.5, 0.5], [0], None, "one shape"),
        ([[0.5]], [[1]], None, "1 dimensions"),
        ([0.5, 0.5], [0, 1], [1.0], "sample_weights has shape"),
        ([0.5, 0.5], [0, 1], [1.0, -1.0], "not negative"),
        ([0.5, 0.5], [0, 1], [1.0, math.nan], "finite"),
    ],
)
def test_bad_input_is_refused(
    metric: Callable[..., float], values: Any, truth: Any, weights: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(np.array(values), np.array(truth), None if weights is None else np.array(weights))


def test_weighted_log_loss_needs_one_weight_a_label() -> None:
    with pytest.raises(ValueError, match="label_weights"):
        metrics.weighted_log_loss(np.array([[0.5, 0.5]]), np.array([[0, 1]]), (1.0,))
