from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from slicewise.evaluation.prior_shift import calibrate_at_prior, mean_at_prior
from slicewise.package import Calibration, probabilities_from_logits

LOGITS = np.array([[2.0], [-2.0]], dtype=np.float32)
TARGETS = np.array([[1], [0]], dtype=np.int8)


def calibrated(
    logits: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int8],
    prior: Mapping[str, float],
    shrinkage: float = 1.0,
    *,
    fitted: Calibration | None = None,
    any_index: int | None = None,
) -> Calibration:
    names = tuple("abcdef"[: logits.shape[1]])
    before = fitted or Calibration.identity(len(names))
    return calibrate_at_prior(logits, targets, before, names, prior=prior, shrinkage=shrinkage, any_index=any_index)


def test_without_prior_and_shrinkage_nothing_changes() -> None:
    fitted = Calibration((0.7,), (0.2,))
    assert calibrated(LOGITS, TARGETS, {}, fitted=fitted) == fitted


def test_uninformative_logits_say_the_prior() -> None:
    # All logits are 0: every probability is the prior, the bias its logit, ln(0.2 / 0.8).
    found = calibrated(np.zeros((4, 1), np.float32), np.array([[0], [0], [1], [1]], np.int8), {"a": 0.2})
    assert found.bias[0] == pytest.approx(np.log(0.25))
    assert found.scale == (1.0,)


def test_the_shift_solves_the_equation_worked_out_by_hand() -> None:
    # Half of the logit 2: 1 and -1, and the prior 1/4: the positive weighs 1/4, the negative 3/4. With u = exp(shift),
    # u e / (1 + u e) / 4 + 3 u / (e + u) / 4 = 1/4 is 3 e u^2 + 2 u - e = 0.
    u = (-2.0 + np.sqrt(4.0 + 12.0 * np.e**2)) / (6.0 * np.e)
    found = calibrated(LOGITS, TARGETS, {"a": 0.25}, 0.5)
    assert found.scale == (0.5,)
    assert found.bias[0] == pytest.approx(np.log(u))


def test_shrinkage_alone_keeps_the_share_of_the_calibration_slices() -> None:
    # By symmetry the shift is 0; scale and bias of the fit are both drawn together.
    found = calibrated(LOGITS, TARGETS, {}, 0.5, fitted=Calibration((3.0,), (0.0,)))
    assert found.scale == (1.5,)
    assert found.bias[0] == pytest.approx(0.0, abs=1e-9)


def test_the_fit_and_the_shift_are_one_scaling() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (200, 1)).astype(np.float32)
    targets = (generator.random((200, 1)) < 0.3).astype(np.int8)
    fitted = Calibration((1.7,), (-0.4,))
    found = calibrated(logits, targets, {"a": 0.1}, 0.6, fitted=fitted)
    assert found.scale[0] == pytest.approx(0.6 * 1.7)
    weights = np.where(targets[:, 0] == 1, 0.1 / targets.mean(), 0.9 / (1 - targets.mean()))
    probabilities = probabilities_from_logits(logits, found, None)[:, 0]
    assert np.average(probabilities, weights=weights) == pytest.approx(0.1, abs=1e-6)


def test_what_is_reported_of_the_label_that_sums_up_has_its_prior() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 2, (300, 3)).astype(np.float32)
    targets = (generator.random((300, 3)) < [0.4, 0.2, 0.2]).astype(np.int8)
    prior = {"a": 0.3, "b": 0.05, "c": 0.1}
    for any_index in (0, None):
        found = calibrated(logits, targets, prior, 0.5, any_index=any_index)
        probabilities = probabilities_from_logits(logits, found, any_index)
        for index, name in enumerate("abc"):
            share = targets[:, index].mean()
            weights = np.where(targets[:, index] == 1, prior[name] / share, (1 - prior[name]) / (1 - share))
            assert np.average(probabilities[:, index], weights=weights) == pytest.approx(prior[name], abs=1e-6)


def test_a_prior_below_what_the_other_labels_alone_say_counts_for_the_label_itself() -> None:
    logits, targets = np.zeros((4, 2), np.float32), np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int8)
    found = calibrated(logits, targets, {"a": 0.1, "b": 0.4}, any_index=0)
    assert found.bias == pytest.approx((np.log(1 / 9), np.log(2 / 3)))


def test_unknown_targets_are_left_out_and_one_class_keeps_the_fit() -> None:
    logits = np.concatenate([LOGITS, [[50.0]]]).astype(np.float32)
    with_unknown = calibrated(logits, np.array([[1], [0], [-1]], np.int8), {"a": 0.25}, 0.5)
    without = calibrated(LOGITS, TARGETS, {"a": 0.25}, 0.5)
    assert (*with_unknown.scale, *with_unknown.bias) == pytest.approx((*without.scale, *without.bias))
    for target in (0, 1, -1):
        fitted = Calibration((1.3,), (0.4,))
        assert calibrated(LOGITS, np.full((2, 1), target, np.int8), {"a": 0.25}, 0.5, fitted=fitted) == fitted


def test_the_mean_at_a_prior_weighs_the_classes() -> None:
    # Positives 0.9 and 0.7, negative 0.1: 0.2 * 0.8 + 0.8 * 0.1; the unknown one does not count.
    probabilities = np.array([0.9, 0.7, 0.1, 1.0], np.float32)
    assert mean_at_prior(probabilities, np.array([1, 1, 0, -1], np.int8), 0.2) == pytest.approx(0.24)
    assert mean_at_prior(probabilities, np.array([1, 1, 1, -1], np.int8), 0.2) is None
