from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from slicewise.evaluation.curves import (
    DRAWN_POINTS,
    TABLE_THRESHOLDS,
    CurvePoints,
    precision_recall_points,
    reliability_bins,
    roc_points,
    threshold_table,
)
from slicewise.evaluation.metrics import (
    CALIBRATION_BINS,
    Floats,
    Targets,
    average_precision,
    expected_calibration_error,
)


def sample(count: int, *, ties: bool, seed: int = 0) -> tuple[Floats, Targets]:
    generator = np.random.default_rng(seed)
    targets = (generator.random(count) < 0.1).astype(np.int8)
    values = generator.beta(1.0 + 3.0 * targets, 4.0)
    return (np.round(values, 1) if ties else values), targets


def distances(points: CurvePoints, line: CurvePoints) -> Floats:
    """How far every third point lies from the line through others."""
    places = np.stack((points.x, points.y), axis=1)[::3, None]
    corners = np.stack((line.x, line.y), axis=1)
    start, step = corners[None, :-1], np.diff(corners, axis=0)[None]
    along = np.clip(((places - start) * step).sum(axis=2) / (step**2).sum(axis=2), 0.0, 1.0)
    found: Floats = np.linalg.norm(start + along[..., None] * step - places, axis=2).min(axis=1)
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_roc_points_are_those_of_scikit_learn(*, ties: bool) -> None:
    values, targets = sample(500, ties=ties)
    found = roc_points(values, targets, most=None)
    false, true, _ = roc_curve(targets, values, drop_intermediate=False)
    np.testing.assert_allclose(found.x, false)
    np.testing.assert_allclose(found.y, true)


@pytest.mark.parametrize("ties", [False, True])
def test_precision_recall_points_are_those_of_scikit_learn(*, ties: bool) -> None:
    values, targets = sample(500, ties=ties)
    found = precision_recall_points(values, targets, most=None)
    precision, recall, _ = precision_recall_curve(targets, values)
    np.testing.assert_allclose(found.y, precision[:-1][::-1])
    np.testing.assert_allclose(found.x, recall[:-1][::-1])
    steps = np.diff(found.x, prepend=0.0)
    assert (steps * found.y).sum() == pytest.approx(average_precision(values, targets))


def test_thinned_curves_are_where_all_their_points_are() -> None:
    values, targets = sample(60_000, ties=False)
    for points in (roc_points, precision_recall_points):
        whole, drawn = points(values, targets, most=None), points(values, targets)
        assert len(whole) > 5_000
        assert len(drawn) <= DRAWN_POINTS
        assert (drawn.x[0], drawn.y[0], drawn.x[-1], drawn.y[-1]) == (whole.x[0], whole.y[0], whole.x[-1], whole.y[-1])
        assert np.all(np.diff(drawn.x) >= 0)
        assert distances(whole, drawn).max() < 0.002  # less than a pixel of a curve 400 pixels wide


def test_short_curves_keep_every_point() -> None:
    values, targets = sample(100, ties=False)
    assert len(roc_points(values, targets)) == 101
    assert len(roc_points(values, targets, most=2)) == 2


def test_reliability_bins_are_those_of_scikit_learn() -> None:
    values, targets = sample(3_000, ties=False)
    bins = reliability_bins(values, targets)
    filled = bins.count > 0
    share, mean = calibration_curve(targets, values, n_bins=CALIBRATION_BINS)
    np.testing.assert_allclose(bins.positive_share[filled], share)
    np.testing.assert_allclose(bins.mean_probability[filled], mean)
    gaps = np.abs(bins.positive_share - bins.mean_probability)[filled] * bins.count[filled]
    assert gaps.sum() / bins.count.sum() == pytest.approx(expected_calibration_error(values, targets))


def test_reliability_bins_have_wilson_intervals_and_may_be_empty() -> None:
    bins = reliability_bins(np.array([0.01, 0.02, 0.03, 0.99]), np.array([1, 0, 0, 1]))
    z, n, p = stats.norm.ppf(0.975), 3, 1 / 3
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert bins.low[0] == pytest.approx((middle - reach) / (1 + z**2 / n))
    assert bins.high[0] == pytest.approx((middle + reach) / (1 + z**2 / n))
    assert bins.count.tolist() == [3] + [0] * (CALIBRATION_BINS - 2) + [1]
    assert np.all(np.isnan(bins.mean_probability[1:-1]))
    assert reliability_bins(np.zeros(0), np.zeros(0, np.int8)).count.sum() == 0


@pytest.mark.parametrize("ties", [False, True])
def test_threshold_table_counts_what_each_threshold_flags(*, ties: bool) -> None:
    values, targets = sample(3_000, ties=ties)
    table = threshold_table(values, targets, include=(0.123456789,))
    assert 0.123456789 in table.thresholds
    assert {0.0, 1.0} <= set(table.thresholds.tolist())
    assert np.all(np.diff(table.thresholds) > 0)
    assert len(table.thresholds) <= TABLE_THRESHOLDS + 3
    assert ties or len(table.thresholds) > 0.9 * TABLE_THRESHOLDS
    for place in range(0, len(table.thresholds), 7):
        flagged = values >= table.thresholds[place]
        expected = confusion_matrix(targets, flagged, labels=[0, 1]).ravel().tolist()
        found = (table.true_negatives, table.false_positives, table.false_negatives, table.true_positives)
        assert [int(column[place]) for column in found] == expected


def test_printed_thresholds_give_their_counts() -> None:
    values, targets = sample(500, ties=False)
    table = threshold_table(values.astype(np.float32), targets)
    printed = np.array([float(f"{threshold:.6g}") for threshold in table.thresholds])
    np.testing.assert_array_equal(printed, table.thresholds)


def test_rows_with_an_unknown_target_are_left_out() -> None:
    values, targets = sample(500, ties=True)
    unknown = np.append(targets, np.full(100, -1, np.int8)), np.append(values, np.linspace(0, 1, 100))
    for points in (roc_points, precision_recall_points):
        np.testing.assert_array_equal(points(unknown[1], unknown[0]).y, points(values, targets).y)
    np.testing.assert_array_equal(
        reliability_bins(unknown[1], unknown[0]).count, reliability_bins(values, targets).count
    )
    known, all_rows = threshold_table(values, targets), threshold_table(unknown[1], unknown[0])
    np.testing.assert_array_equal(known.true_positives, all_rows.true_positives)


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0], [-1, -1, -1], [-1, 1, -1]])
def test_one_class_alone_has_no_curve(targets: list[int]) -> None:
    values, truth = np.array([0.1, 0.5, 0.5]), np.array(targets)
    assert len(roc_points(values, truth)) == 0
    assert len(precision_recall_points(values, truth)) == 0
    assert len(threshold_table(values, truth, include=(0.5,)).thresholds) == 0


def test_values_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        roc_points(np.array([0.1, np.nan]), np.array([0, 1]))


def test_a_whole_challenge_takes_seconds() -> None:
    values, targets = sample(750_000, ties=False)
    start = time.perf_counter()
    roc_points(values, targets)
    precision_recall_points(values, targets)
    reliability_bins(values, targets)
    threshold_table(values, targets)
    assert time.perf_counter() - start < 5.0  # one label of six; about half a second on an idle machine
