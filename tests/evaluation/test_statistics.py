from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resampled_rows import drawn_rows
from slicewise.evaluation import bootstrap, metrics, reliability, statistics
from slicewise.evaluation.metrics import known_rows


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    decimals=st.sampled_from((1, 2, 8)),
    prevalence=st.sampled_from((0.02, 0.2, 0.9)),
)
def test_resampled_metrics_equal_those_of_the_drawn_rows(seed: int, decimals: int, prevalence: float) -> None:
    generator = np.random.default_rng(seed)
    count, rows = 12, 150
    patients = generator.integers(count, size=rows)
    values = generator.random(rows).round(decimals)
    targets = (generator.random(rows) < prevalence).astype(np.int8)
    targets[generator.random(rows) < 0.1] = -1
    draws = bootstrap.patient_multiplicities(count, 10, seed)
    found = bootstrap.resample(statistics.binary_statistics(values, targets, patients, count), draws)
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws, index)
        expected = metrics.binary_metrics(values[sample], targets[sample])
        parts = reliability.brier_decomposition(values[sample], targets[sample])
        expected |= {f"brier_{name}": value for name, value in parts._asdict().items()}
        assert expected == pytest.approx({name: found[name][index] for name in expected}, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_resampled_metrics_at_a_threshold_equal_those_of_the_drawn_rows(threshold: float) -> None:
    generator = np.random.default_rng(6)
    patients, values = generator.integers(12, size=150), generator.random(150).round(1)
    targets = (generator.random(150) < 0.2).astype(np.int8)
    draws = bootstrap.patient_multiplicities(12, 20, 0)
    known, truth, _ = known_rows(values, targets)
    found = statistics.threshold_statistic(known, truth, patients, 12, threshold).resample(draws)
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws, index)
        expected = metrics.binary_metrics(values[sample], targets[sample], threshold)
        for name in ("sensitivity", "specificity", "ppv", "npv"):
            assert found[name][index] == pytest.approx(expected[name], abs=1e-12, nan_ok=True)


def test_resampled_weighted_log_loss_equals_that_of_the_drawn_rows() -> None:
    generator = np.random.default_rng(3)
    patients = generator.integers(9, size=80)
    values, targets = generator.random((80, 3)), generator.integers(-1, 2, (80, 3))
    draws = bootstrap.patient_multiplicities(9, 20, 0)
    statistic = statistics.weighted_log_loss_statistic(values, targets, (2, 1, 1), patients, 9)
    found = statistic.resample(draws)["weighted_log_loss"]
    for index in range(draws.shape[1]):
        sample = drawn_rows(patients, draws, index)
        expected = metrics.weighted_log_loss(values[sample], targets[sample], (2, 1, 1))
        assert found[index] == pytest.approx(expected, abs=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    patients, values = generator.integers(6, size=60), generator.random(60)
    prepared = statistics.binary_statistics(values, generator.integers(0, 2, 60), patients, 6)
    draws = bootstrap.patient_multiplicities(6, 7, 0)
    whole = bootstrap.resample(prepared, draws)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 1)
    single = bootstrap.resample(prepared, draws)
    for name, values_of_all in whole.items():
        np.testing.assert_allclose(single[name], values_of_all, rtol=1e-12)
