from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.subgroups import BANDS, MOST_GROUPS, group_codes, measure_subgroups
from slicewise.task import Task

PATIENTS, SLICES = 60, 4


@pytest.fixture
def large(table: PredictionTable) -> PredictionTable:
    """60 patients of 4 slices, half of them with a lesion; the first 40 by one manufacturer, then 20 by another."""
    generator = np.random.default_rng(3)
    count = PATIENTS * SLICES
    patient = np.repeat(np.arange(PATIENTS), SLICES)
    targets = np.zeros((count, 2), dtype=np.int8)
    targets[(patient % 2 == 0) & (np.arange(count) % SLICES < 2), 1] = 1
    names = tuple(f"p{number}" for number in patient)
    return replace(
        table,
        patient_ids=names,
        study_uids=names,
        series_uids=names,
        sop_uids=tuple(map(str, range(count))),
        frames=(1,) * count,
        files=("",) * count,
        slice_index=tuple(int(row) % SLICES for row in range(count)),
        positions_mm=np.zeros(count),
        probabilities=np.clip(generator.random((count, 2)) * 0.7 + 0.3 * targets, 0, 1).astype(np.float32),
        targets=targets,
        attributes={
            "manufacturer": tuple("GE" if number < 40 else "Philips" for number in patient),
            "age_years": tuple("" if number == 0 else str(30 + number) for number in patient),
            "finding_ml": tuple("0" if number % 2 else str(number / 4 + 0.5) for number in patient),
            "axial_place": tuple("first or last two" if row % SLICES == 0 else "between" for row in range(count)),
        },
    )


def test_figures_of_a_group_are_those_of_its_slices(large: PredictionTable, task: Task) -> None:
    found = measure_subgroups(large, task, patient_multiplicities(PATIENTS, 100, 0), threshold=0.5)
    first, second = found["manufacturer"]
    assert (first.group, first.n_patients, second.group, second.n_patients) == ("GE", 40, "Philips", 20)
    rows = np.array(large.attributes["manufacturer"]) == "GE"
    truth, values = large.targets[rows, 1], large.probabilities[rows, 1]
    auroc = first.metrics["slice_auroc"]
    assert auroc.value == pytest.approx(sklearn.metrics.roc_auc_score(truth, values))
    assert auroc.low is not None
    assert first.metrics["slice_sensitivity"].value == pytest.approx((values[truth == 1] >= 0.5).mean())
    assert first.metrics["slice_specificity"].value == pytest.approx((values[truth == 0] < 0.5).mean())
    studies = [values[start : start + SLICES].max() for start in range(0, len(values), SLICES)]
    positive = [truth[start : start + SLICES].max() for start in range(0, len(truth), SLICES)]
    assert first.metrics["study_auroc"].value == pytest.approx(sklearn.metrics.roc_auc_score(positive, studies))
    assert (first.slice.positive, first.slice.negative) == (40, 120)
    assert (first.study.positive, first.study.negative) == (20, 20)


def test_a_group_of_few_patients_has_no_figure_and_says_so(large: PredictionTable, task: Task) -> None:
    few = replace(large, attributes={"sex": ("F",) * (12 * SLICES) + ("M",) * (48 * SLICES)})
    women, men = measure_subgroups(few, task, patient_multiplicities(PATIENTS, 10, 0), threshold=0.5)["sex"]
    assert women.too_small
    assert women.metrics == {}
    assert (women.n_patients, women.positive_patients) == (12, 6)
    assert not men.too_small


def test_sizes_part_the_positives_and_share_all_negatives(large: PredictionTable, task: Task) -> None:
    groups = measure_subgroups(large, task, patient_multiplicities(PATIENTS, 10, 0), threshold=0.5)["finding_ml"]
    assert [group.group for group in groups] == ["below 1 ml", "1 to 5 ml", "5 to 30 ml"]
    assert all(group.study.negative == 30 for group in groups)
    assert sum(group.study.positive for group in groups) == 30


def test_a_place_within_the_series_says_nothing_about_studies(large: PredictionTable, task: Task) -> None:
    groups = measure_subgroups(large, task, patient_multiplicities(PATIENTS, 10, 0), threshold=0.5)["axial_place"]
    assert all(group.study.positive + group.study.negative + group.study.unknown == 0 for group in groups)
    assert all("study_auroc" not in group.metrics for group in groups)
    assert all("slice_auroc" in group.metrics for group in groups)


def test_a_number_that_is_not_known_belongs_to_no_band(large: PredictionTable) -> None:
    codes, names = group_codes("age_years", large.attributes["age_years"])
    assert codes[0] == -1
    assert names == ("18 to 40 years", "40 to 60 years", "60 to 80 years", "80 years and more")


@given(number=st.floats(0, 1000), name=st.sampled_from(sorted(BANDS)))
def test_every_number_lies_in_the_band_that_names_it(number: float, name: str) -> None:
    codes, names = group_codes(name, [str(number)])
    if name == "finding_ml" and number == 0:
        assert codes[0] == -1
        return
    limits = BANDS[name].limits
    place = sum(number >= limit for limit in limits)
    assert names[codes[0]] == BANDS[name].names()[place]


def test_rare_values_are_put_together() -> None:
    texts = [f"kernel{number}" for number in range(30) for _ in range(30 - number)]
    codes, names = group_codes("kernel", texts)
    assert len(names) == MOST_GROUPS + 1
    assert names[-1] == "other"
    assert names[codes[0]] == "kernel0"
    assert names[codes[-1]] == "other"


def test_an_attribute_that_nobody_knows_is_left_out(large: PredictionTable, task: Task) -> None:
    unknown = replace(large, attributes={"sex": ("",) * len(large)})
    assert measure_subgroups(unknown, task, patient_multiplicities(PATIENTS, 5, 0), threshold=0.5) == {}


def test_a_study_of_two_kernels_counts_in_neither(large: PredictionTable, task: Task) -> None:
    kernels = ["soft"] * len(large)
    kernels[0] = "bone"
    soft = measure_subgroups(
        replace(large, attributes={"kernel": tuple(kernels)}), task, patient_multiplicities(PATIENTS, 10, 0), 0.5
    )["kernel"][1]
    assert soft.group == "soft"
    assert soft.study.positive + soft.study.negative == PATIENTS - 1
    assert "study_auroc" in soft.metrics


def test_subtypes_of_studies_share_the_studies_without_a_finding(large: PredictionTable, task: Task) -> None:
    patient = np.arange(len(large)) // SLICES
    given = np.zeros_like(large.targets)
    given[patient % 2 == 0, 1] = 1
    of_studies = replace(
        large,
        targets=np.full_like(large.targets, -1),
        study_targets=given,
        attributes={"subtypes": tuple("none" if number % 2 else "single" for number in patient)},
    )
    (single,) = measure_subgroups(of_studies, task, patient_multiplicities(PATIENTS, 10, 0), 0.5)["subtypes"]
    assert (single.study.positive, single.study.negative) == (30, 30)
    assert "study_auroc" in single.metrics
