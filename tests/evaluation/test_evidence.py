from __future__ import annotations

import numpy as np
import pytest

from slicewise.evaluation.evidence import Difference, difference, estimate


def test_a_p_value_is_twice_the_smaller_share_beyond_zero() -> None:
    resampled = np.concatenate([np.full(990, 1.0), np.full(9, -1.0)])
    assert difference(0.9, resampled).p_value == pytest.approx(2 * 10 / 1000)
    assert difference(-0.9, -resampled).p_value == pytest.approx(2 * 10 / 1000)


def test_a_p_value_is_never_above_one_or_zero() -> None:
    assert difference(0.0, np.zeros(50)).p_value == 1.0
    assert difference(1.0, np.ones(999)).p_value == pytest.approx(2 / 1000)


def test_what_is_not_defined_has_no_p_value() -> None:
    assert difference(float("nan"), np.ones(10)) == Difference(None, None, None, None)
    assert difference(0.5, np.full(10, np.nan)) == Difference(0.5, None, None, None)


def test_an_estimate_has_the_interval_of_its_resamples() -> None:
    found = estimate(0.5, np.linspace(0, 1, 1001))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


def test_a_distance_that_chance_makes_larger_has_a_reflected_interval() -> None:
    # Resamples of a distance of 0.02 lie about 0.03: the truth lies as far below 0.02 as they lie above.
    found = estimate(0.02, np.linspace(0.02, 0.04, 1001), is_biased=True)
    assert (found.value, found.low, found.high) == pytest.approx((0.02, 0.04 - 0.0395, 0.04 - 0.0205), abs=1e-3)
    near_zero = estimate(0.01, np.linspace(0.02, 0.05, 1001), is_biased=True)
    assert (near_zero.low, near_zero.high) == (0.0, 0.01)
