from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resampled_rows import drawn_rows
from slicewise.evaluation import sweep as sweep_module
from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.metrics import auroc, average_precision
from slicewise.evaluation.operating_points import LEAST_SENSITIVITY, LEAST_SPECIFICITY, YOUDEN, choose_threshold
from slicewise.evaluation.sweep import Sweep

POINTS = (YOUDEN, *LEAST_SENSITIVITY, *LEAST_SPECIFICITY)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    decimals=st.sampled_from((1, 2, 8)),
    prevalence=st.sampled_from((0.03, 0.3, 0.9)),
)
def test_every_resample_equals_the_plain_metrics_of_its_drawn_rows(seed: int, decimals: int, prevalence: float) -> None:
    generator = np.random.default_rng(seed)
    count, rows = 10, 80
    patients = generator.integers(count, size=rows)
    values = generator.random(rows).round(decimals)
    truth = (generator.random(rows) < prevalence).astype(np.float64)
    draws = patient_multiplicities(count, 6, seed)
    sweep = Sweep.of(values, truth, patients, count)
    found = sweep.run(draws)
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws, index)
        drawn, targets = values[sample], truth[sample].astype(np.int8)
        assert found.auroc[index] == pytest.approx(auroc(drawn, targets), abs=1e-12, nan_ok=True)
        expected = average_precision(drawn, targets)
        assert found.average_precision[index] == pytest.approx(expected, abs=1e-12, nan_ok=True)
        for name in POINTS:
            threshold = choose_threshold(drawn, targets, name)
            point = found.points[name]
            if np.isnan(threshold):
                assert point.step[index] == -1
                assert np.isnan(point.true_positives[index])
                continue
            assert point.true_positives[index] == (targets[drawn >= threshold] == 1).sum()
            assert point.false_positives[index] == (targets[drawn >= threshold] == 0).sum()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40),
    name=st.sampled_from(POINTS),
)
def test_thresholds_are_those_of_the_plain_search(rows: list[tuple[int, bool]], name: str) -> None:
    values, truth = np.array([value / 12 for value, _ in rows]), np.array([float(is_true) for _, is_true in rows])
    sweep = Sweep.of(values, truth, np.zeros(len(rows), dtype=np.intp), 1)
    found = sweep.run(np.ones((1, 1), dtype=np.float32))
    threshold = sweep.threshold(int(found.points[name].step[0]))
    expected = choose_threshold(values, truth.astype(np.int8), name)
    assert threshold == pytest.approx(expected, abs=0, nan_ok=True)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    patients, values = generator.integers(7, size=300), generator.random(300)
    truth = (generator.random(300) < 0.4).astype(np.float64)
    draws = patient_multiplicities(7, 9, 0)
    sweep = Sweep.of(values, truth, patients, 7)
    whole = sweep.run(draws)
    monkeypatch.setattr(sweep_module, "_BLOCK_BYTES", 1)
    single = sweep.run(draws)
    np.testing.assert_allclose(single.auroc, whole.auroc, rtol=1e-12)
    np.testing.assert_allclose(single.average_precision, whole.average_precision, rtol=1e-12)
    for name in POINTS:
        np.testing.assert_array_equal(single.points[name].step, whole.points[name].step)
        np.testing.assert_array_equal(single.points[name].false_positives, whole.points[name].false_positives)


def test_rows_between_two_positives_are_one_step() -> None:
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    truth = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    sweep = Sweep.of(values, truth, np.arange(6), 6)
    np.testing.assert_array_equal(sweep.highest, [0.9, 0.7, 0.6])
    np.testing.assert_array_equal(sweep.lowest, [0.8, 0.7, 0.4])
    assert sweep.threshold(1) == pytest.approx(0.65)
    assert sweep.threshold(2) == 0.4  # everything is flagged
    assert np.isnan(sweep.threshold(-1))


def test_no_row_is_no_number() -> None:
    nothing = np.zeros(0)
    found = Sweep.of(nothing, nothing, np.zeros(0, dtype=np.intp), 3).run(patient_multiplicities(3, 5, 0))
    assert np.isnan(found.auroc).all()
    assert np.isnan(found.average_precision).all()
    assert all((point.step == -1).all() for point in found.points.values())
