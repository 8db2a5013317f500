from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from slicewise.errors import InputError
from slicewise.evaluation.predictions import PredictionTable, concatenate
from slicewise.task import Task


def test_patients_are_numbered_alike_on_both_levels(table: PredictionTable, task: Task) -> None:
    slices, studies = table.slices(), table.studies(task)
    assert len(table) == 180
    assert table.patients[slices.patients[0]] == "patient0"
    assert [table.patients[code] for code in slices.patients] == list(table.patient_ids)
    # 15 patients, the last of whom has two studies.
    assert len(studies.probabilities) == 16
    assert list(studies.patients) == [*range(15), 14]


def test_a_study_has_the_largest_probability_of_its_slices(table: PredictionTable, task: Task) -> None:
    studies = table.studies(task)
    np.testing.assert_array_equal(studies.probabilities[0], table.probabilities[:12].max(axis=0))
    np.testing.assert_array_equal(studies.probabilities[15], table.probabilities[174:].max(axis=0))


@pytest.mark.parametrize(
    ("targets", "expected"), [((0, 0, 0), 0), ((0, 1, 0), 1), ((-1, 1, 0), 1), ((0, -1, 0), -1), ((-1, -1, -1), -1)]
)
def test_the_target_of_a_study(
    table: PredictionTable, task: Task, targets: tuple[int, int, int], expected: int
) -> None:
    changed = table.targets.copy()
    changed[:12] = 0
    changed[4:7] = np.array(targets, dtype=np.int8)[:, None]
    assert replace(table, targets=changed).studies(task).targets[0].tolist() == [expected, expected]


def test_rows_may_stand_in_any_order(table: PredictionTable, task: Task) -> None:
    order = np.random.default_rng(0).permutation(len(table))
    texts = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
    changes: dict[str, Any] = {name: tuple(getattr(table, name)[row] for row in order) for name in texts}
    arrays = {name: getattr(table, name)[order] for name in ("positions_mm", "probabilities", "targets")}
    shuffled = replace(table, **changes, **arrays)

    def by_study(found: PredictionTable) -> set[tuple[object, ...]]:
        rows = found.studies(task)
        columns = zip(rows.patients, rows.probabilities.tolist(), rows.targets.tolist(), strict=True)
        return {(found.patients[code], *values, *truth) for code, values, truth in columns}

    assert by_study(shuffled) == by_study(table)


def test_one_study_uid_on_two_patients_is_two_studies(table: PredictionTable, task: Task) -> None:
    assert len(replace(table, study_uids=("anonymous",) * len(table)).studies(task).patients) == 15


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_a_probability_out_of_range_is_named(table: PredictionTable, value: float) -> None:
    changed = table.probabilities.copy()
    changed[7, 1] = value
    with pytest.raises(InputError, match=r"row 8 \(slice sop7\), column 'lesion'"):
        replace(table, probabilities=changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": ("a",)}, "files has 1 entries for 180 slices"),
        ({"targets": np.zeros((180, 1), dtype=np.int8)}, "need"),
        ({"targets": np.full((180, 2), 2, dtype=np.int8)}, "targets must be"),
        ({"sop_uids": ("same",) * 180, "series_uids": ("same",) * 180}, "stands twice"),
    ],
)
def test_fields_that_do_not_fit_are_refused(table: PredictionTable, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(table, **change)


def test_an_unknown_study_rule_is_refused(table: PredictionTable, task: Task) -> None:
    other = msgspec.structs.replace(task, study_rule="mean")
    with pytest.raises(ValueError, match="'mean' is not known"):
        table.studies(other)


TEXTS = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
ARRAYS = ("positions_mm", "probabilities", "targets")


def rows_of(table: PredictionTable, rows: slice, **others: Any) -> PredictionTable:
    return replace(table, **{name: getattr(table, name)[rows] for name in (*TEXTS, *ARRAYS)}, **others)


def test_tables_of_folds_become_one(table: PredictionTable, task: Task) -> None:
    parts = [
        rows_of(table, slice(48), warnings=("odd", "first")),
        rows_of(table, slice(48, 48)),
        rows_of(table, slice(48, None), warnings=("odd",)),
    ]
    joined = concatenate(parts)
    for name in TEXTS:
        assert getattr(joined, name) == getattr(table, name)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(table, name))
        assert getattr(joined, name).dtype == getattr(table, name).dtype
    assert joined.label_names == table.label_names
    assert joined.warnings == ("odd", "first")
    np.testing.assert_array_equal(joined.studies(task).patients, table.studies(task).patients)


def test_a_single_table_stays_as_it_is(table: PredictionTable) -> None:
    assert concatenate([table]).slice_keys() == table.slice_keys()


def test_a_slice_in_two_tables_is_refused(table: PredictionTable) -> None:
    with pytest.raises(ValueError, match="stands twice"):
        concatenate([rows_of(table, slice(50)), rows_of(table, slice(49, None))])


def test_tables_of_different_labels_are_not_joined(table: PredictionTable) -> None:
    for names in (("lesion", "edema"), ("edema", "other")):
        with pytest.raises(ValueError, match="different labels"):
            concatenate([rows_of(table, slice(50)), rows_of(table, slice(50, None), label_names=names)])


def test_a_study_keeps_the_label_that_it_was_given(table: PredictionTable, task: Task) -> None:
    given = np.full_like(table.targets, -1)
    given[:12, 0], given[12:24, 0] = 1, 0
    unlabelled = np.full_like(table.targets, -1)
    studies = replace(table, targets=unlabelled, study_targets=given).studies(task)
    assert studies.targets[:3, 0].tolist() == [1, 0, -1]
    of_slices = table.studies(task).targets
    mixed = replace(table, study_targets=given).studies(task).targets
    assert mixed[:2, 0].tolist() == [1, 0]
    np.testing.assert_array_equal(mixed[2:], of_slices[2:])
    np.testing.assert_array_equal(mixed[:, 1], of_slices[:, 1])


def test_attributes_need_one_text_a_slice(table: PredictionTable) -> None:
    with pytest.raises(ValueError, match="attribute 'sex' has 1 entries for 180 slices"):
        replace(table, attributes={"sex": ("F",)})


def test_joined_tables_keep_what_one_of_them_knows(table: PredictionTable) -> None:
    first = replace(table, study_targets=table.targets, attributes={"sex": ("F",) * 180, "kernel": ("a",) * 180})
    renamed = replace(table, sop_uids=tuple(f"other{uid}" for uid in table.sop_uids), attributes={"sex": ("M",) * 180})
    joined = concatenate([first, renamed])
    assert dict(joined.attributes) == {"sex": ("F",) * 180 + ("M",) * 180, "kernel": ("a",) * 180 + ("",) * 180}
    assert joined.study_targets is not None
    np.testing.assert_array_equal(joined.study_targets[:180], table.targets)
    assert np.all(joined.study_targets[180:] == -1)
