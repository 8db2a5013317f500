from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics
from scipy import stats

from slicewise.evaluation.delong import auroc_covariance, compare_auroc

Floats = npt.NDArray[np.float64]


def plain_covariance(scores: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """DeLong et al. 1988, equations 5 to 8, with every pair compared."""
    positive, negative = scores[targets == 1], scores[targets == 0]
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    of_positive, of_negative = wins.mean(axis=1), wins.mean(axis=0)
    covariance = np.cov(of_positive.T) / len(positive) + np.cov(of_negative.T) / len(negative)
    return wins.mean(axis=(0, 1)), covariance


def two_models(rows: int, seed: int, *, gain: float = 0.5) -> tuple[Floats, Floats, Floats]:
    generator = np.random.default_rng(seed)
    targets = (generator.random(rows) < 0.4).astype(np.float64)
    common = generator.normal(size=rows)
    first, second = (
        stats.norm.cdf(targets * shift + common + 0.7 * generator.normal(size=rows)) for shift in (1 + gain, 1)
    )
    return first, second, targets


def test_one_row_a_patient_gives_delongs_covariance() -> None:
    first, second, targets = two_models(90, 0)
    scores = np.stack((first.round(1), second), axis=1)  # with ties
    auroc, covariance = auroc_covariance(scores, targets, np.arange(90))
    expected_auroc, expected = plain_covariance(scores, targets)
    np.testing.assert_allclose(auroc, expected_auroc, rtol=1e-12)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)
    assert auroc[0] == pytest.approx(sklearn.metrics.roc_auc_score(targets, scores[:, 0]))


def test_the_p_value_is_that_of_the_normal_distribution() -> None:
    first, second, targets = two_models(90, 1)
    found = compare_auroc(first, second, targets.astype(np.int8), np.arange(90))
    auroc, covariance = plain_covariance(np.stack((first, second), axis=1), targets)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.value == pytest.approx(auroc[0] - auroc[1])
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-abs(found.value) / error))
    assert found.interval == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=1e-4)


def test_copies_of_a_study_are_no_news() -> None:
    first, second, targets = two_models(60, 2)
    once = compare_auroc(first, second, targets.astype(np.int8), np.arange(60))
    one, other = (np.repeat(values, 4) for values in (first, second))
    often = compare_auroc(one, other, np.repeat(targets, 4).astype(np.int8), np.repeat(np.arange(60), 4))
    assert often.value == pytest.approx(once.value)
    assert often.standard_error == pytest.approx(once.standard_error)


def test_the_same_order_does_not_differ() -> None:
    first, _, targets = two_models(40, 3)
    found = compare_auroc(first, first / 2, targets.astype(np.int8), np.arange(40))
    assert (found.value, found.standard_error, found.p_value) == (0.0, 0.0, 1.0)


def test_too_few_patients_of_a_class_are_not_compared() -> None:
    values = np.array([0.1, 0.5, 0.7, 0.9])
    found = compare_auroc(values, values[::-1], np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]))
    assert math.isnan(found.value)
    assert math.isnan(found.p_value)


def test_without_a_difference_the_p_value_is_uniform() -> None:
    p_values = []
    for seed in range(300):
        first, second, targets = two_models(80, seed, gain=0.0)
        p_values.append(compare_auroc(first, second, targets.astype(np.int8), np.arange(80)).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_rows_that_tell_nothing_about_the_error_give_no_p_value() -> None:
    targets, perfect, constant = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), np.full(4, 0.5)
    for other, value in ((constant, 0.5), (1 - perfect, 1.0)):
        found = compare_auroc(perfect, other, targets, np.arange(4))
        assert found.value == value
        assert math.isnan(found.p_value)
        assert all(math.isnan(end) for end in found.interval)
