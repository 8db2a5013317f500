from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import LabelCounts, Labels, LabelTable, count_labels
from slicewise.errors import LabelTableError
from slicewise.task import Task, load_task
from slicewise.volume import SliceReference


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ich")


def frame(task: Task, rows: list[list[int | None]], **keys: list[object]) -> pl.DataFrame:
    columns = {name: [row[index] for row in rows] for index, name in enumerate(task.label_names)}
    return pl.DataFrame({**keys, **columns}, schema_overrides=dict.fromkeys(task.label_names, pl.Int8))


def references(*sop_uids: str) -> list[SliceReference]:
    return [SliceReference(sop_uid, 1, "", index) for index, sop_uid in enumerate(sop_uids)]


def lookup(table: LabelTable, series_uid: str, slices: list[SliceReference]) -> Labels:
    return table.values_of(table.rows_of(series_uid, slices))


def codes(table: LabelTable) -> list[str]:
    return [warning.code for warning in table.warnings]


def test_slices_are_found_by_sop_uid_in_the_order_asked_for(task: Task) -> None:
    rows: list[list[int | None]] = [[0] * 6, [1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]]
    table = LabelTable.from_frame(frame(task, rows, sop_uid=["a", "b", "c"]), task)
    found = lookup(table, "any series", references("c", "nowhere", "b"))
    assert found.dtype == np.int8
    assert found.tolist() == [rows[2], [-1] * 6, rows[1]]
    assert table.warnings == ()


def test_slices_are_found_by_series_and_index(task: Task) -> None:
    rows: list[list[int | None]] = [[1, 0, 0, 0, 0, 1], [0] * 6]
    table = LabelTable.from_frame(frame(task, rows, series_uid=["s", "t"], slice_index=[2, 0]), task)
    assert lookup(table, "s", references("x", "y", "z")).tolist() == [[-1] * 6, [-1] * 6, rows[0]]
    assert lookup(table, "t", references("x", "y")).tolist() == [rows[1], [-1] * 6]


FRAMES = [SliceReference("a", 1, "", 0), SliceReference("a", 2, "", 1), SliceReference("b", 1, "", 2)]


def test_a_sop_uid_alone_labels_the_first_frame(task: Task) -> None:
    table = LabelTable.from_frame(frame(task, [[0] * 6], sop_uid=["a"]), task)
    assert lookup(table, "s", FRAMES).tolist() == [[0] * 6, [-1] * 6, [-1] * 6]


def test_frames_of_one_instance_keep_their_own_labels(task: Task) -> None:
    rows: list[list[int | None]] = [[1, 0, 0, 0, 0, 1], [0] * 6, [1, 1, 0, 0, 0, 0]]
    table = LabelTable.from_frame(frame(task, rows, sop_uid=["a", "a", "b"], frame=[2, 1, None]), task)
    assert lookup(table, "s", FRAMES).tolist() == [rows[1], rows[0], rows[2]]
    assert table.warnings == ()


def test_a_conflict_names_the_frame(task: Task) -> None:
    rows: list[list[int | None]] = [[0] * 6, [1, 1, 0, 0, 0, 0], [0] * 6]
    table = LabelTable.from_frame(frame(task, rows, sop_uid=["a"] * 3, frame=[3, 3, 4]), task)
    assert codes(table) == ["conflicting_labels"]
    assert "1 slices" in table.warnings[0].message
    assert "(a frame 3)" in table.warnings[0].message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None, 0, 0, 1, None, 0], [1, 0, 0, 1, -1, 0]),
        ([None, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ([None, 0, 0, 0, None, 0], [-1, 0, 0, 0, -1, 0]),
        ([1, None, None, None, None, None], [1, -1, -1, -1, -1, -1]),
        ([0, None, None, None, None, None], [0, -1, -1, -1, -1, -1]),
    ],
)
def test_the_summary_label_follows_from_the_others(task: Task, given: list[int | None], expected: list[int]) -> None:
    table = LabelTable.from_frame(frame(task, [given], sop_uid=["a"]), task)
    assert table.values.tolist() == [expected]
    assert table.warnings == ()


def test_the_summary_label_may_have_no_column(task: Task) -> None:
    given = frame(task, [[None, 0, 0, 0, 1, 0], [None, 0, 0, 0, 0, 0]], sop_uid=["a", "b"]).drop(task.label_names[0])
    assert LabelTable.from_frame(given, task).values[:, 0].tolist() == [1, 0]


def test_a_contradiction_is_unknown_and_reported(task: Task) -> None:
    table = LabelTable.from_frame(frame(task, [[0, 1, 0, 0, 0, 0], [0] * 6], sop_uid=["a", "b"]), task)
    assert table.values.tolist() == [[-1] * 6, [0] * 6]
    assert codes(table) == ["contradicting_labels"]
    assert "1 slices" in table.warnings[0].message
    assert "(a)" in table.warnings[0].message


def test_a_summary_label_that_no_other_explains_is_kept_and_reported(task: Task) -> None:
    table = LabelTable.from_frame(frame(task, [[1, 0, 0, 0, 0, 0]], sop_uid=["a"]), task)
    assert table.values.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert codes(table) == ["unexplained_labels"]


def test_rows_that_disagree_make_that_label_unknown(task: Task) -> None:
    rows: list[list[int | None]] = [[1, 1, 0, 0, 0, 1], [1, 1, 0, 0, None, 0]]
    table = LabelTable.from_frame(frame(task, rows, sop_uid=["a", "a"]), task)
    assert table.values.tolist() == [[1, 1, 0, 0, 0, -1]]
    assert codes(table) == ["conflicting_labels"]


def test_the_patient_of_a_series(task: Task) -> None:
    content = frame(task, [[0] * 6] * 3, sop_uid=["a", "b", "c"], patient_id=["P", None, "Q"])
    table = LabelTable.from_frame(content, task)
    assert table.patient_of("s", references("a", "b")) == "P"
    assert table.patient_of("s", references("b", "nowhere")) is None
    with pytest.raises(LabelTableError, match=r"patient_id.*series s .*2 patients: P, Q"):
        table.patient_of("s", references("a", "c"))


def test_a_slice_of_two_patients_is_an_error(task: Task) -> None:
    content = frame(task, [[0] * 6] * 2, series_uid=["s", "s"], slice_index=[4, 4], patient_id=["P", "Q"])
    with pytest.raises(LabelTableError, match="patient_id: s slice 4 belongs to 2 patients"):
        LabelTable.from_frame(content, task)


def test_without_patients_none_is_known(task: Task) -> None:
    table = LabelTable.from_frame(frame(task, [[0] * 6], sop_uid=["a"]), task)
    assert table.patient_of("s", references("a")) is None


def test_counts(task: Task) -> None:
    rows: list[list[int | None]] = [[1, 1, 0, 0, 0, 0], [0] * 6, [None] * 6]
    values = LabelTable.from_frame(frame(task, rows, sop_uid=["a", "b", "c"]), task).values
    counts = count_labels(values, task.label_names)
    assert tuple(counts) == task.label_names
    assert counts[task.label_names[1]] == LabelCounts(positive=1, negative=1, unknown=1)
    assert counts[task.label_names[5]] == LabelCounts(positive=0, negative=2, unknown=1)


def test_large_tables_are_looked_up_by_index(task: Task) -> None:
    count = 20_000
    values = np.random.default_rng(0).integers(0, 2, (count, 6))
    values[:, 0] = values[:, 1:].max(axis=1)
    sop_uids = [f"ID_{index:09x}" for index in range(count)]
    content = pl.DataFrame({"sop_uid": sop_uids, **dict(zip(task.label_names, values.T, strict=True))})
    table = LabelTable.from_frame(content, task)
    order = np.random.default_rng(1).permutation(count)
    assert np.array_equal(lookup(table, "", references(*(sop_uids[index] for index in order))), values[order])


def test_unreadable_files_are_label_table_errors(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.csv", tmp_path / "binary.csv"
    empty.write_bytes(b"")
    binary.write_bytes(b"ID,Label\n\xff\xfe\x00,1\n")
    for path in (empty, binary, tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(LabelTableError, match="cannot be read as a CSV file"):
            read_text_csv(path)


def test_refused_rows_are_named_as_a_spreadsheet_counts_them(tmp_path: Path) -> None:
    content = pl.DataFrame({"x": ["1", None, "2"]})
    with pytest.raises(LabelTableError, match=r"f\.csv: row 4, column x: '2'; expected 1"):
        refuse_rows(content, pl.col("x") != "1", Path("f.csv"), "x", "expected 1")
    with pytest.raises(LabelTableError, match="row 3, column x: an empty cell"):
        refuse_rows(content, pl.col("x").is_null(), tmp_path, "x", "expected 1")
    refuse_rows(content, pl.col("x") == "3", tmp_path, "x", "expected 1")
