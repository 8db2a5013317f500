from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.linear_model
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from resampled_rows import drawn_rows
from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.metrics import brier
from slicewise.evaluation.reliability import CalibrationLines, brier_decomposition, calibration_line

Sample = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]


def sample(slope: float, offset: float, rows: int = 4000, seed: int = 0) -> Sample:
    """Targets whose logit is a line over that of the probability."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 1.5, rows)
    targets = generator.random(rows) < special.expit(offset + slope * logits)
    return special.expit(logits), targets.astype(np.int8)


@given(rows=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_the_parts_of_the_brier_score_add_up_to_it(rows: list[tuple[float, int]]) -> None:
    values, targets = np.array([value for value, _ in rows]), np.array([target for _, target in rows])
    parts = brier_decomposition(values, targets)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(brier(values, targets), abs=1e-9)
    assert parts.reliability >= 0


def test_the_decomposition_by_hand() -> None:
    # Two bins: 0.2 said of 5 rows, 1 positive (right); 0.8 said of 5 rows, 3 positive (0.2 too high).
    values, targets = np.repeat([0.2, 0.8], 5), np.array([1, 0, 0, 0, 0, 1, 1, 1, 0, 0])
    parts = brier_decomposition(values, targets)
    assert parts.reliability == pytest.approx(0.5 * 0.0 + 0.5 * 0.2**2)
    assert parts.resolution == pytest.approx(0.5 * (0.2 - 0.4) ** 2 + 0.5 * (0.6 - 0.4) ** 2)
    assert parts.uncertainty == pytest.approx(0.4 * 0.6)


def test_no_row_has_no_parts() -> None:
    assert all(math.isnan(part) for part in brier_decomposition(np.zeros(0), np.zeros(0, dtype=np.int8)))


def test_the_slope_agrees_with_scikit_learn() -> None:
    values, targets = sample(slope=0.6, offset=0.4)
    model = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(special.logit(values)[:, None], targets)
    assert calibration_line(values, targets).slope == pytest.approx(model.coef_[0, 0], rel=1e-4)


def test_the_intercept_makes_the_mean_right() -> None:
    values, targets = sample(slope=1.0, offset=-0.7)
    line = calibration_line(values, targets)
    assert special.expit(special.logit(values) + line.intercept).mean() == pytest.approx(targets.mean(), abs=1e-9)
    assert line.intercept == pytest.approx(-0.7, abs=0.1)
    assert line.slope == pytest.approx(1.0, abs=0.1)


def test_separated_classes_have_no_slope_but_an_intercept() -> None:
    line = calibration_line(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
    assert math.isnan(line.slope)
    assert line.intercept == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_has_no_line(target: int) -> None:
    line = calibration_line(np.array([0.1, 0.6]), np.array([target, target]))
    assert math.isnan(line.slope)
    assert math.isnan(line.intercept)


def test_certain_probabilities_are_kept_finite() -> None:
    line = calibration_line(np.array([0.0, 1.0, 0.0, 1.0, 0.5]), np.array([0, 1, 1, 0, 1]))
    assert math.isfinite(line.slope)


def test_lines_of_resamples_are_those_of_their_rows() -> None:
    values, targets = sample(slope=0.8, offset=0.2, rows=1500)
    patients = np.random.default_rng(3).integers(60, size=1500)
    draws = patient_multiplicities(60, 12, 0)
    found = CalibrationLines(values, targets.astype(np.float64), patients, 60).resample(draws)
    for index in range(12):
        rows = drawn_rows(patients, draws, index)
        line = calibration_line(values[rows], targets[rows])
        assert found["calibration_slope"][index] == pytest.approx(line.slope, abs=3e-3)
        assert found["calibration_intercept"][index] == pytest.approx(line.intercept, abs=3e-3)
