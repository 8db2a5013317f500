from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.evaluation import bootstrap, metrics

Indices = npt.NDArray[np.intp]


def drawn_rows(patients: Indices, multiplicities: npt.NDArray[np.int16]) -> Indices:
    """The plain reference of a resample: every row as often as its patient was drawn."""
    drawn = np.repeat(np.arange(len(multiplicities)), multiplicities)
    return np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    decimals=st.sampled_from((1, 2, 8)),
    prevalence=st.sampled_from((0.02, 0.2, 0.9)),
    threshold=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
)
def test_resampled_metrics_equal_those_of_the_drawn_rows(
    seed: int, decimals: int, prevalence: float, threshold: float
) -> None:
    generator = np.random.default_rng(seed)
    count, rows = 12, 150
    patients = generator.integers(count, size=rows)
    values = generator.random(rows).round(decimals)
    targets = (generator.random(rows) < prevalence).astype(np.int8)
    targets[generator.random(rows) < 0.1] = -1
    draws = bootstrap.patient_multiplicities(count, 10, seed)
    found = bootstrap.resample(bootstrap.binary_statistics(values, targets, patients, count, threshold), draws)
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws[:, index])
        expected = metrics.binary_metrics(values[sample], targets[sample], threshold)
        assert expected == pytest.approx({name: found[name][index] for name in expected}, abs=1e-12, nan_ok=True)


def test_resampled_weighted_log_loss_equals_that_of_the_drawn_rows() -> None:
    generator = np.random.default_rng(3)
    patients = generator.integers(9, size=80)
    values, targets = generator.random((80, 3)), generator.integers(-1, 2, (80, 3))
    draws = bootstrap.patient_multiplicities(9, 20, 0)
    statistic = bootstrap.weighted_log_loss_statistic(values, targets, (2, 1, 1), patients, 9)
    found = bootstrap.resample([statistic], draws)["weighted_log_loss"]
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws[:, index])
        expected = metrics.weighted_log_loss(values[sample], targets[sample], (2, 1, 1))
        assert found[index] == pytest.approx(expected, abs=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    patients, values = generator.integers(6, size=60), generator.random(60)
    statistics = bootstrap.binary_statistics(values, generator.integers(0, 2, 60), patients, 6)
    draws = bootstrap.patient_multiplicities(6, 7, 0)
    whole = bootstrap.resample(statistics, draws)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 1)
    single = bootstrap.resample(statistics, draws)
    for name, values_of_all in whole.items():
        np.testing.assert_allclose(single[name], values_of_all, rtol=1e-12)


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
    statistics = bootstrap.binary_statistics(values, targets, np.arange(900), 900)
    draws = bootstrap.patient_multiplicities(900, 2000, 0)
    low, high = bootstrap.percentile_interval(bootstrap.resample(statistics, draws)["brier"])
    squares = (values - targets) ** 2
    assert high - low == pytest.approx(2 * 1.96 * squares.std() / math.sqrt(900), rel=0.08)
    assert low < squares.mean() < high


def test_slices_of_one_patient_widen_the_interval() -> None:
    # The same 60 values, once from 60 patients and once ten times each: ten copies are no news.
    generator = np.random.default_rng(8)
    values, targets = generator.random(60), generator.integers(0, 2, 60)
    draws = bootstrap.patient_multiplicities(60, 500, 0)
    once = bootstrap.binary_statistics(values, targets, np.arange(60), 60)
    tenfold = bootstrap.binary_statistics(np.tile(values, 10), np.tile(targets, 10), np.tile(np.arange(60), 10), 60)
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
    statistics = bootstrap.binary_statistics(np.array([0.1, 0.9]), np.array([0, 1]), np.array([0, 1]), 2)
    found = bootstrap.resample(statistics, bootstrap.patient_multiplicities(2, 0, 0))
    assert found["auroc"].shape == (0,)
    assert all(math.isnan(end) for end in bootstrap.percentile_interval(found["auroc"]))
