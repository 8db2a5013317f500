from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

import odd_scans
from slicewise.imaging.preprocess import preprocess
from slicewise.inference.familiarity import FALSE_ALARMS, FEWEST_PATIENTS, Familiarity, unlike_rule, unlike_warnings
from slicewise.inference.reference import DescribedSeries, Reference, build_reference
from slicewise.results import UNLIKE_TRAINING
from slicewise.task import load_task
from slicewise.volume import ScanWarning, Volume
from synthetic_head import Head

TASK = load_task("ich")
OTHER = load_task("mri_tumor")
SIZE = 5
ACROSS = np.array([1.0, -1.0, 1.0, -1.0, 0.0])
"""A direction in which ordinary slices do not vary."""


def described(rng: np.random.Generator, patients: int, shift: float = 0.0) -> list[DescribedSeries]:
    """Series whose slices share something of their patient; a quarter of each lies far away, as base and vertex do."""
    found = []
    for number in range(patients):
        slices = rng.normal(0, 0.5, SIZE) + rng.normal(0, 1, (12, SIZE)) + shift * ACROSS
        slices[:3] += 20
        descriptors = slices.astype(np.float32)
        found.append(DescribedSeries(f"P{number}", f"S{number}", f"{number}", descriptors, np.full((12, 1), 0.5, "f4")))
    return found


def reference_of(series: list[DescribedSeries]) -> Reference:
    reference = build_reference(series, ("any",), "tests")
    assert reference is not None
    return reference


def familiarity_of(series: list[DescribedSeries]) -> Familiarity:
    familiarity = Familiarity.of(reference_of(series))
    assert familiarity is not None
    return familiarity


def head(*warnings: ScanWarning) -> Volume:
    return replace(Head().volume(), warnings=warnings)


def test_the_p_value_counts_the_calibration_patients_that_are_as_far_away() -> None:
    measure = familiarity_of(described(np.random.default_rng(0), 80))
    space, patients = measure.reference.space, measure.reference.distance_patients
    assert patients == 40
    # The table holds percentiles of these 40 distances: every one of them stands in it.
    known = np.unique(measure.reference.near_distances)
    assert len(known) == 40
    for series in described(np.random.default_rng(1), 30):
        distance = np.quantile(space.distances(series.descriptors), 0.25)
        expected = ((known >= distance).sum() + 1) / 41
        assert measure.p_value(series.descriptors) == pytest.approx(expected)


def test_ordinary_scans_are_flagged_no_more_often_than_is_said_and_strange_ones_always() -> None:
    flagged, rates = [], []
    for seed in range(20):  # the share holds over calibration patients, too: those of one model may be odd
        rng = np.random.default_rng(seed)
        measure = familiarity_of(described(rng, 120))
        rates.append(measure.rate)
        p_values = [measure.p_value(item.descriptors) for item in described(rng, 100)]
        flagged.append(np.mean([bool(measure.warnings(value)) for value in p_values]))
        strange = [measure.p_value(item.descriptors) for item in described(rng, 10, shift=8.0)]
        assert strange == [pytest.approx(1 / 61)] * 10
        assert all(measure.warnings(value)[0].code == UNLIKE_TRAINING for value in strange)
    assert rates == [pytest.approx(1 / 61)] * 20  # of 60 patients, 2 % of 61 is one
    # 2,000 series in 20 groups: an SD of 0.016 / sqrt(20) between groups, and of 0.003 within.
    assert np.mean(flagged) < 1 / 61 + 3 * 0.0047


def test_the_rate_is_two_in_a_hundred_where_there_are_enough_patients() -> None:
    measure = familiarity_of(described(np.random.default_rng(0), 1200))
    assert measure.rate == pytest.approx(12 / 601)
    assert measure.rate <= FALSE_ALARMS
    assert f"{measure.rate:.1%}" in measure.rule
    assert measure.warnings(12 / 601)
    assert not measure.warnings(13 / 601)


def test_far_slices_do_not_make_a_series_strange_as_long_as_some_look_known() -> None:
    measure = familiarity_of(described(np.random.default_rng(0), 80))
    (series,) = described(np.random.default_rng(3), 1)
    before = measure.p_value(series.descriptors)
    series.descriptors[:3] += 1000
    assert measure.p_value(series.descriptors) == pytest.approx(before)


def test_few_patients_and_old_references_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    assert Familiarity.of(None) is None
    assert Familiarity.of(reference_of(described(rng, 2 * FEWEST_PATIENTS - 2))) is None
    enough = reference_of(described(rng, 2 * FEWEST_PATIENTS))
    assert Familiarity.of(enough) is not None
    assert Familiarity.of(msgspec.structs.replace(enough, near_distances=())) is None


def test_a_head_has_no_warning_and_a_knee_has_one() -> None:
    volume = head()
    assert unlike_warnings(volume, preprocess(volume, TASK.preprocessing), TASK) == ()
    knee = odd_scans.volume_of(odd_scans.knee(np.random.default_rng(0)))
    (warning,) = unlike_warnings(knee, preprocess(knee, TASK.preprocessing), TASK)
    assert warning.code == UNLIKE_TRAINING
    assert "cm2 of soft tissue" in warning.message


def test_contrast_medium_that_tags_state_is_a_reason() -> None:
    volume = head(ScanWarning("contrast_suspected", "Contrast medium was given."))
    (warning,) = unlike_warnings(volume, preprocess(volume, TASK.preprocessing), TASK)
    assert warning.message.startswith("Contrast medium")


def test_slices_at_one_position_count_once() -> None:
    # 15 x 15 pixels of 1.3 mm in 4 slices 5 mm apart: 7.6 ml, as calcifications have; 15.2 if each counted twice.
    made = Head()
    values = made.values()
    row, column = (round(center / 1.3) for center in made.center_mm)
    values[:, row - 30 : row - 15, column - 10 : column + 11] -= 22.0  # fluid
    values[4:8, row - 7 : row + 8, column - 7 : column + 8] = 180.0
    once = made.volume(values)
    assert unlike_warnings(once, preprocess(once, TASK.preprocessing), TASK) == ()
    twice = replace(
        once,
        values=np.repeat(once.values, 2, axis=0),
        positions_mm=np.repeat(once.positions_mm, 2),
        duplicate_rank=np.tile([0, 1], len(once.positions_mm)),
        slices=tuple(item for item in once.slices for _ in range(2)),
    )
    assert unlike_warnings(twice, preprocess(twice, TASK.preprocessing), TASK) == ()


def test_images_without_air_are_no_hounsfield_units() -> None:
    volume = head()
    shifted = replace(volume, values=volume.values + 1024)
    warnings = unlike_warnings(shifted, preprocess(shifted, TASK.preprocessing), TASK)
    assert "no air" in warnings[0].message


def test_only_tasks_that_look_for_the_skull_know_what_their_images_show() -> None:
    knee = odd_scans.volume_of(odd_scans.knee(np.random.default_rng(0)) + 1000)
    assert unlike_warnings(knee, preprocess(knee, OTHER.preprocessing), OTHER) == ()
    assert unlike_rule(OTHER, None) == ""
    measure = familiarity_of(described(np.random.default_rng(0), 80))
    assert measure.rule in unlike_rule(OTHER, measure)
    assert measure.rule in unlike_rule(TASK, measure)
    assert "no other measure" in unlike_rule(TASK, None)
