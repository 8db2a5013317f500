"""Do the 95 % intervals hold the truth 95 times in 100? Simulated scans with correlated slices, the truth known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from slicewise.evaluation.bootstrap import patient_multiplicities, percentile_interval
from slicewise.evaluation.delong import compare_auroc
from slicewise.evaluation.evidence import difference
from slicewise.evaluation.measure import measure_label, measure_metrics
from slicewise.evaluation.predictions import ScoredRows

SIMULATIONS, PATIENTS, SLICES, RESAMPLES = 250, 120, 10, 300
METRICS = ("auroc", "average_precision", "log_loss", "brier", "calibration_slope", "calibration_intercept")
DISTANCES = ("ece", "brier_reliability", "brier_resolution")


def scans(generator: np.random.Generator, patients: int) -> ScoredRows:
    """Two models; patients differ in whether, where and how visibly they bleed, so that slices are not independent."""
    bleeds = generator.random(patients) < 0.5
    start, length = generator.integers(0, 6, patients), generator.integers(1, 5, patients)
    place = np.arange(SLICES)
    positive = bleeds[:, None] & (place >= start[:, None]) & (place < (start + length)[:, None])
    of_patient = generator.normal(0, 1.0, (patients, 1))
    logits = [-2.5 + shift * positive + of_patient + generator.normal(0, 1.0, positive.shape) for shift in (3.0, 2.5)]
    targets = positive.reshape(-1).astype(np.int8)
    return ScoredRows(
        probabilities=special.expit(np.stack([values.reshape(-1) for values in logits], axis=1)),
        targets=np.stack([targets, targets], axis=1),
        patients=np.repeat(np.arange(patients), SLICES),
    )


@pytest.fixture(scope="module")
def truth() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """The metrics of both models on very many patients, and the sensitivity and specificity of the first."""
    rows = scans(np.random.default_rng(0), 40_000)
    nothing = patient_multiplicities(40_000, 0, 0)
    first, second = (measure_metrics(rows, index, nothing).values for index in range(2))
    label = measure_label(rows.probabilities[:, 0], rows.targets[:, 0], rows.patients, nothing, 0.2)
    return first, second, label.points["model"].values


def covered(intervals: list[tuple[float, float]], value: float) -> float:
    return float(np.mean([low <= value <= high for low, high in intervals]))


def within_chance(share: float) -> bool:
    """Whether a share of covered simulations fits intervals that hold the truth 93 to 96 times in 100."""
    error = np.sqrt(0.95 * 0.05 / SIMULATIONS)
    return bool(0.93 - 3 * error <= share <= 0.96 + 3 * error)


def test_intervals_cover_as_they_claim(truth: tuple[dict[str, float], dict[str, float], dict[str, float]]) -> None:
    first, second, at_threshold = truth
    intervals: dict[str, list[tuple[float, float]]] = {}
    draws = patient_multiplicities(PATIENTS, RESAMPLES, 1)
    for seed in range(SIMULATIONS):
        rows = scans(np.random.default_rng(1000 + seed), PATIENTS)
        label = measure_label(rows.probabilities[:, 0], rows.targets[:, 0], rows.patients, draws, 0.2)
        other = measure_metrics(rows, 1, draws)
        for name in METRICS:
            intervals.setdefault(name, []).append(percentile_interval(label.metrics.resampled[name]))
        for name in DISTANCES:
            found = label.metrics.estimates()[name]
            assert found.low is not None
            assert found.high is not None
            intervals.setdefault(name, []).append((found.low, found.high))
        for name in at_threshold:
            intervals.setdefault(name, []).append(percentile_interval(label.points["model"].resampled[name]))
        gain = label.metrics.resampled["auroc"] - other.resampled["auroc"]
        intervals.setdefault("gain", []).append(percentile_interval(gain))
    expected = {**first, **at_threshold, "gain": first["auroc"] - second["auroc"]}
    shares = {name: covered(found, expected[name]) for name, found in intervals.items()}
    # A distance is too large by chance: its interval is one-sided near 0, and holds the truth at least as often.
    wide = {name: shares.pop(name) for name in DISTANCES}
    assert all(within_chance(share) for share in shares.values()), shares
    assert all(share >= 0.88 for share in wide.values()), wide


def test_intervals_that_take_slices_for_patients_do_not_cover(
    truth: tuple[dict[str, float], dict[str, float], dict[str, float]],
) -> None:
    draws = patient_multiplicities(PATIENTS * SLICES, RESAMPLES, 1)
    intervals = []
    for seed in range(60):
        rows = scans(np.random.default_rng(1000 + seed), PATIENTS)
        naive = ScoredRows(rows.probabilities, rows.targets, np.arange(len(rows.patients)))
        intervals.append(percentile_interval(measure_metrics(naive, 0, draws).resampled["log_loss"]))
    assert covered(intervals, truth[0]["log_loss"]) < 0.85


def test_p_values_and_delong_keep_their_level() -> None:
    def studies(generator: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
        targets = (generator.random(PATIENTS) < 0.4).astype(np.int8)
        common = generator.normal(size=PATIENTS)
        logits = [1.2 * targets + common + 0.7 * generator.normal(size=PATIENTS) for _ in range(2)]
        return special.expit(np.stack(logits, axis=1)), targets

    draws = patient_multiplicities(PATIENTS, RESAMPLES, 2)
    owners = np.arange(PATIENTS)
    resampled, delong = [], []
    for seed in range(SIMULATIONS):
        values, targets = studies(np.random.default_rng(seed))
        rows = ScoredRows(values, np.stack([targets, targets], axis=1), owners)
        a, b = (measure_metrics(rows, index, draws) for index in range(2))
        found = difference(a.values["auroc"] - b.values["auroc"], a.resampled["auroc"] - b.resampled["auroc"])
        assert found.p_value is not None
        resampled.append(found.p_value < 0.05)
        delong.append(compare_auroc(values[:, 0], values[:, 1], targets, owners).p_value < 0.05)
    for rejected in (resampled, delong):
        assert 0.01 <= np.mean(rejected) <= 0.10
