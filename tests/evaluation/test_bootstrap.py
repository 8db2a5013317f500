from __future__ import annotations

import math

import numpy as np
import pytest

from slicewise.evaluation import bootstrap, statistics


def test_patients_are_drawn_as_often_as_there_are_patients_and_repeatably() -> None:
    draws = bootstrap.patient_multiplicities(50, 200, seed=1)
    assert draws.shape == (50, 200)
    assert np.all(draws.sum(axis=0) == 50)
    np.testing.assert_array_equal(draws, bootstrap.patient_multiplicities(50, 200, seed=1))
    assert not np.array_equal(draws, bootstrap.patient_multiplicities(50, 200, seed=2))


def test_the_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    # Brier scores of one slice a patient are independent: the interval is mean +- 1.96 * standard error.
    generator = np.random.default_rng(7)
    values, targets = generator.random(900), generator.integers(0, 2, 900)
    prepared = statistics.binary_statistics(values, targets, np.arange(900), 900)
    draws = bootstrap.patient_multiplicities(900, 2000, 0)
    low, high = bootstrap.percentile_interval(bootstrap.resample(prepared, draws)["brier"])
    squares = (values - targets) ** 2
    assert high - low == pytest.approx(2 * 1.96 * squares.std() / math.sqrt(900), rel=0.08)
    assert low < squares.mean() < high


def test_slices_of_one_patient_widen_the_interval() -> None:
    # The same 60 values, once from 60 patients and once ten times each: ten copies are no news.
    generator = np.random.default_rng(8)
    values, targets = generator.random(60), generator.integers(0, 2, 60)
    draws = bootstrap.patient_multiplicities(60, 500, 0)
    once = statistics.binary_statistics(values, targets, np.arange(60), 60)
    tenfold = statistics.binary_statistics(np.tile(values, 10), np.tile(targets, 10), np.tile(np.arange(60), 10), 60)
    expected = bootstrap.percentile_interval(bootstrap.resample(once, draws)["auroc"])
    assert bootstrap.percentile_interval(bootstrap.resample(tenfold, draws)["auroc"]) == pytest.approx(expected)


def test_percentiles_leave_out_undefined_resamples_up_to_a_limit() -> None:
    values = np.arange(100.0)
    assert bootstrap.percentile_interval(values) == pytest.approx((2.475, 96.525))
    values[95:] = np.nan
    assert bootstrap.percentile_interval(values) == pytest.approx((94 * 0.025, 94 * 0.975))
    values[94] = np.nan
    assert all(math.isnan(end) for end in bootstrap.percentile_interval(values))


def test_without_resamples_there_is_no_interval() -> None:
    prepared = statistics.binary_statistics(np.array([0.1, 0.9]), np.array([0, 1]), np.array([0, 1]), 2)
    found = bootstrap.resample(prepared, bootstrap.patient_multiplicities(2, 0, 0))
    assert found["auroc"].shape == (0,)
    assert all(math.isnan(end) for end in bootstrap.percentile_interval(found["auroc"]))
