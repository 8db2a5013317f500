from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from slicewise.evaluation import calibration
from slicewise.evaluation.operating_points import (
    YOUDEN,
    choose_threshold,
    predictive_values,
    threshold_metrics,
)

GENERATOR = np.random.default_rng(2)
TARGETS = (GENERATOR.random(400) < 0.3).astype(np.int8)
VALUES = np.clip(GENERATOR.normal(0.35 + 0.3 * TARGETS, 0.2), 0, 1)


def test_youden_is_the_point_that_calibration_chooses() -> None:
    assert choose_threshold(VALUES, TARGETS, YOUDEN) == pytest.approx(calibration.choose_threshold(VALUES, TARGETS))


@pytest.mark.parametrize(("name", "least"), [("sensitivity_90", 0.9), ("sensitivity_95", 0.95)])
def test_a_sensitivity_point_is_the_first_of_the_roc_curve_that_reaches_it(name: str, least: float) -> None:
    false, true, thresholds = sklearn.metrics.roc_curve(TARGETS, VALUES, drop_intermediate=False)
    first = int(np.argmax(true >= least))
    flagged = choose_threshold(VALUES, TARGETS, name) <= VALUES
    np.testing.assert_array_equal(flagged, thresholds[first] <= VALUES)
    assert flagged[TARGETS == 0].mean() == pytest.approx(false[first])


def test_a_specificity_point_is_the_most_sensitive_of_the_roc_curve_that_keeps_it() -> None:
    false, true, _ = sklearn.metrics.roc_curve(TARGETS, VALUES, drop_intermediate=False)
    flagged = choose_threshold(VALUES, TARGETS, "specificity_95") <= VALUES
    assert flagged[TARGETS == 1].mean() == pytest.approx(true[false <= 0.05].max())
    assert flagged[TARGETS == 0].mean() <= 0.05


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_has_no_operating_point(target: int) -> None:
    assert np.isnan(choose_threshold(np.array([0.2, 0.7]), np.array([target, target]), YOUDEN))


def test_probabilities_without_order_have_no_youden_point() -> None:
    assert np.isnan(choose_threshold(np.array([0.4, 0.4]), np.array([0, 1]), YOUDEN))


def test_metrics_at_a_threshold_agree_with_scikit_learn() -> None:
    flagged = VALUES >= 0.5
    true, false = (np.array([float((np.equal(TARGETS, target) & flagged).sum())]) for target in (1, 0))
    positives, negatives = (np.array([float(np.equal(TARGETS, target).sum())]) for target in (1, 0))
    found = threshold_metrics(true, false, positives, negatives)
    assert found["sensitivity"][0] == pytest.approx(sklearn.metrics.recall_score(TARGETS, flagged))
    assert found["ppv"][0] == pytest.approx(sklearn.metrics.precision_score(TARGETS, flagged))
    assert found["f1"][0] == pytest.approx(sklearn.metrics.f1_score(TARGETS, flagged))
    assert found["npv"][0] == pytest.approx(sklearn.metrics.precision_score(1 - TARGETS, ~flagged))
    assert found["specificity"][0] == pytest.approx(sklearn.metrics.recall_score(1 - TARGETS, ~flagged))


def test_predictive_values_of_a_textbook_example() -> None:
    # 1,000 people, prevalence 1 %, sensitivity 90 %, specificity 91 %: 9 true alarms among 98.1.
    ppv, npv = predictive_values(np.array([0.9]), np.array([0.91]), 0.01)
    assert ppv[0] == pytest.approx(9 / (9 + 89.1))
    assert npv[0] == pytest.approx(900.9 / (900.9 + 1))


@given(sensitivity=st.floats(0.01, 1), specificity=st.floats(0.01, 1))
def test_at_the_prevalence_of_the_data_predictive_values_are_those_of_the_data(
    sensitivity: float, specificity: float
) -> None:
    positives, negatives = 200.0, 600.0
    true, false = np.array([sensitivity * positives]), np.array([(1 - specificity) * negatives])
    here = threshold_metrics(true, false, np.array([positives]), np.array([negatives]))
    ppv, npv = predictive_values(np.array([sensitivity]), np.array([specificity]), 0.25)
    assert ppv[0] == pytest.approx(here["ppv"][0])
    assert npv[0] == pytest.approx(here["npv"][0])
