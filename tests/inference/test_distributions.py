from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slicewise.inference.distributions import (
    STEPS,
    Floats,
    chance_between_halves,
    ks_distance,
    percentiles,
    stability_index,
    step_of,
    step_shares,
)

SAMPLES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60)


def counts_of(values: Floats, table: tuple[float, ...]) -> Floats:
    return np.bincount(step_of(values, table), minlength=STEPS).astype(np.float64)[:, None]


def test_the_distance_is_that_of_scipy_but_for_one_step() -> None:
    generator = np.random.default_rng(0)
    reference, other = generator.beta(0.5, 4, 5000), generator.beta(0.7, 4, 800)
    table = percentiles(reference)
    found = float(ks_distance(counts_of(other, table), step_shares(table)[:, None])[0])
    expected = stats.ks_2samp(reference, other).statistic
    assert expected > 0.05
    assert expected - 0.01 <= found <= expected + 0.01 / 5


def test_the_index_is_that_worked_out_by_hand() -> None:
    reference = np.arange(1, 1001) / 1000.0  # tenths end at 0.1, 0.2 ...
    other = np.concatenate([np.full(70, 0.05), np.full(30, 0.95)])
    table = percentiles(reference)
    there, here = [100.5 / 1005] * 10, [70.5 / 105, *[0.5 / 105] * 8, 30.5 / 105]
    expected = sum((one - two) * math.log(one / two) for one, two in zip(here, there, strict=True))
    found = stability_index(counts_of(other, table), 1000 * step_shares(table)[:, None], table)
    assert float(found[0]) == pytest.approx(expected, rel=1e-9)


def test_equal_scores_make_one_tenth() -> None:
    reference = np.concatenate([np.zeros(600), np.linspace(0.1, 1.0, 400)])
    table = percentiles(reference)
    shares = step_shares(table)
    assert shares[0] == pytest.approx(0.6)
    assert shares.sum() == pytest.approx(1.0)
    same = stability_index(counts_of(reference, table), 1000 * shares[:, None], table)
    assert float(same[0]) < 1e-4
    zeros = np.zeros(20)
    # Four tenths of the reference are left: (0.6, 0.7], ..., and all of the zeros in one.
    here, there = [20.5 / 22.5, *[0.5 / 22.5] * 4], [600.5 / 1002.5, *[100.5 / 1002.5] * 4]
    expected = sum((one - two) * math.log(one / two) for one, two in zip(here, there, strict=True))
    found = stability_index(counts_of(zeros, table), 1000 * shares[:, None], table)
    assert float(found[0]) == pytest.approx(expected, rel=1e-6)


@given(SAMPLES, SAMPLES)
def test_any_two_samples_have_a_distance_and_an_index(first: list[float], second: list[float]) -> None:
    table = percentiles(np.array(first))
    assert np.all(np.diff(table) >= 0)
    assert set(table) <= set(first)
    shares = step_shares(table)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.min() >= 0
    here = counts_of(np.array(second), table)
    assert 0 <= float(ks_distance(here, shares[:, None])[0]) <= 1 + 1e-12
    assert 0 <= float(stability_index(here, len(first) * shares[:, None], table)[0]) < 20
    own = counts_of(np.array(first), table)
    assert float(ks_distance(own, shares[:, None])[0]) <= 1 / len(first) + 0.01 + 1e-9


def test_halves_of_alike_rows_lie_further_apart_than_rows_of_their_own() -> None:
    generator = np.random.default_rng(1)
    of_patient = generator.random(40)
    rows = np.repeat(of_patient, 30)
    table = percentiles(rows)
    together = np.stack([counts_of(np.full(30, value), table)[:, 0] for value in of_patient], axis=1)
    apart = np.stack([counts_of(part, table)[:, 0] for part in generator.permutation(rows).reshape(40, 30)], axis=1)
    one, other = chance_between_halves(together, table), chance_between_halves(apart, table)
    assert one is not None
    assert other is not None
    assert one[0] > 2 * other[0]
    assert one[1] > 4 * other[1]
    assert chance_between_halves(together[:, :7], table) is None
