from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from slicewise.evaluation.shift import Shift, compare_with_reference
from slicewise.inference.reference import DescribedSeries, Reference, build_reference, level_scores

LABELS = ("a", "b")
SIZE, SLICES = 30, 10


def site(patients: int, *, seed: int, push: float = 0.0, moved: float = 0.0, name: str = "P") -> list[DescribedSeries]:
    """Scores whose patients differ; `push` moves their logits, `moved` the descriptors of every slice."""
    generator = np.random.default_rng(seed)
    spread = 1.0 / np.arange(1, SIZE + 1)
    found = []
    for number in range(patients):
        logits = -2 + push + generator.normal(0, 1.5, 2) + generator.normal(0, 0.7, (SLICES, 2))
        descriptors = spread * (generator.normal(0, 1, SIZE) + generator.normal(0, 0.5, (SLICES, SIZE)))
        found.append(
            DescribedSeries(
                f"{name}{number}",
                f"{name}{number}.S",
                f"{name}{number}.S.1",
                (descriptors + moved * np.roll(spread, 7)).astype(np.float32),
                (1 / (1 + np.exp(-logits))).astype(np.float32),
            )
        )
    return found


@pytest.fixture(scope="module")
def reference() -> Reference:
    found = build_reference(site(150, seed=0), LABELS, "tests")
    assert found is not None
    return found


def compare(series: Sequence[DescribedSeries], reference: Reference, resamples: int = 100) -> Shift:
    return compare_with_reference(series, reference, LABELS, resamples=resamples, seed=0)


@pytest.mark.parametrize("patients", [20, 60, 300])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_site_like_the_reference_is_not_flagged(reference: Reference, patients: int, seed: int) -> None:
    found = compare(site(patients, seed=seed), reference, resamples=20)
    assert found.verdict == "alike"


def test_other_scores_are_flagged(reference: Reference) -> None:
    found = compare(site(100, seed=1, push=1.5), reference)
    assert found.verdict == "large"
    assert found.descriptor_grade == "alike"
    assert {(item.level, item.label) for item in found.scores if item.grade == "large"} == {
        (level, label) for level in ("slice", "study") for label in LABELS
    }


def test_other_images_are_flagged_and_the_most_unlike_named(reference: Reference) -> None:
    series = [*site(60, seed=1), *site(60, seed=2, moved=4.0, name="odd")]
    found = compare(series, reference)
    assert found.descriptor_grade == found.verdict == "large"
    assert all(item.grade == "alike" for item in found.scores)
    assert len(found.most_unlike) == 20
    assert all(item.patient_id.startswith("odd") for item in found.most_unlike)
    assert all(item.percentile >= 99 for item in found.most_unlike)
    distances = [item.distance for item in found.most_unlike]
    assert distances == sorted(distances, reverse=True)


def test_distances_are_those_of_scipy_with_intervals_around_them(reference: Reference) -> None:
    series = site(80, seed=3, push=0.8)
    found = compare(series, reference)
    for item in found.scores:
        here, _ = level_scores(series, item.level)
        there, _ = level_scores(site(150, seed=0), item.level)
        index = LABELS.index(item.label)
        expected = stats.ks_2samp(here[:, index], there[:, index]).statistic
        assert item.ks.value == pytest.approx(expected, abs=0.02)
        assert item.ks.value is not None
        assert item.ks.low is not None
        assert item.ks.high is not None
        assert item.ks.low <= item.ks.value + 0.02
        assert item.ks.high >= item.ks.value
        assert item.ks_by_chance is not None
        assert 0 < item.ks_by_chance < 0.5


def test_chance_is_what_equal_sites_stay_below(reference: Reference) -> None:
    beyond = 0
    for seed in range(25):
        found = compare(site(50, seed=100 + seed), reference, resamples=0)
        beyond += sum((item.ks.value or 0) > (item.ks_by_chance or 1) for item in found.scores)
    assert beyond <= 0.02 * 25 * 4


def test_shares_beyond_a_percentile_have_exact_intervals(reference: Reference) -> None:
    series = site(40, seed=4)
    found = compare(series, reference)
    distances = np.array([reference.space.distances(item.descriptors).mean() for item in series])
    for item in found.descriptors:
        beyond = int((distances > reference.series_distances[item.percentile]).sum())
        assert item.share.value == pytest.approx(beyond / 40)
        interval = stats.binomtest(beyond, 40).proportion_ci(0.95, method="exact")
        assert (item.share.low, item.share.high) == pytest.approx((interval.low, interval.high))
        assert item.expected == pytest.approx(1 - item.percentile / 100)
        assert item.expected < item.expected_high < 0.2


def test_without_resamples_there_are_no_intervals(reference: Reference) -> None:
    found = compare(site(10, seed=1), reference, resamples=0)
    assert all(item.psi.value is not None and item.psi.low is None for item in found.scores)


def test_a_reference_of_few_patients_knows_no_chance() -> None:
    small = build_reference(site(7, seed=0), LABELS, "tests")
    assert small is not None
    found = compare(site(10, seed=1), small)
    assert all(item.psi_by_chance is None and item.ks_by_chance is None for item in found.scores)
