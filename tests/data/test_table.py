from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slicewise.data.labels import Labels, LabelTable
from slicewise.data.table import read_table
from slicewise.errors import LabelTableError
from slicewise.task import Task, load_task
from slicewise.volume import SliceReference

TASK = load_task("ich")
NAMES = ",".join(TASK.label_names)


@pytest.fixture
def task() -> Task:
    return TASK


def write(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def references(*sop_uids: str) -> list[SliceReference]:
    return [SliceReference(sop_uid, 1, "", index) for index, sop_uid in enumerate(sop_uids)]


def lookup(table: LabelTable, series_uid: str, slices: list[SliceReference]) -> Labels:
    return table.values_of(table.rows_of(series_uid, slices))


def test_series_and_slice_index(tmp_path: Path, task: Task) -> None:
    path = write(
        tmp_path / "l.csv",
        f"patient_id,series,slice_index,comment,{NAMES}",
        "P,s,0,dull,0,0,0,0,0,0",
        "P,s,2,clear,1,0,0,,0,1",
    )
    table = read_table(path, task)
    assert lookup(table, "s", references("a", "b", "c")).tolist() == [[0] * 6, [-1] * 6, [1, 0, 0, -1, 0, 1]]
    assert table.patient_of("s", references("a")) == "P"
    assert table.warnings == ()


def test_sop_uid_wins_over_the_position(tmp_path: Path, task: Task) -> None:
    path = write(
        tmp_path / "l.csv",
        f"sop_uid,series,slice_index,patient_id,{NAMES}",
        "a,s,1,P,1,0,0,0,0,1",
        ",s,1,P,0,0,0,0,0,0",
    )
    found = lookup(read_table(path, task), "s", references("a", "b"))
    assert found.tolist() == [[1, 0, 0, 0, 0, 1], [0] * 6]


def test_rows_of_a_multi_frame_image_do_not_merge(tmp_path: Path, task: Task) -> None:
    # As slices.csv of a prepared dataset has them; libraries write 2.0 where another cell is empty.
    lines = ("a,1,1,0,0,0,0,1", "a,2,0,0,0,0,0,0", "a,3,1,1,0,0,0,0", "b,,0,0,0,0,0,0")
    table = read_table(write(tmp_path / "l.csv", f"sop_uid,frame,{NAMES}", *lines), task)
    slices = [*(SliceReference("a", frame, "", 3 - frame) for frame in (3, 2, 1)), *references("b")]
    assert lookup(table, "s", slices).tolist() == [[1, 1, 0, 0, 0, 0], [0] * 6, [1, 0, 0, 0, 0, 1], [0] * 6]
    assert [warning.code for warning in table.warnings] == ["no_patient_id"]


def test_a_frame_that_names_no_slice_is_metadata(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", f"series,slice_index,frame,{NAMES}", "s,1,left,0,0,0,0,0,0")
    assert lookup(read_table(path, task), "s", references("a", "b")).tolist() == [[-1] * 6, [0] * 6]


def test_values_that_libraries_write_are_understood(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", f"sop_uid,{NAMES}", " a ,1.0,0.0,,,,1", "b, ,0,0,0,0,0")
    assert lookup(read_table(path, task), "s", references("a", "b")).tolist() == [[1, 0, -1, -1, -1, 1], [0] * 6]


def test_parquet_gives_the_same_as_csv(tmp_path: Path, task: Task) -> None:
    content = pl.DataFrame(
        {
            "series": ["s", "s"],
            "slice_index": [0, 1],
            **{name: [1, None] for name in task.label_names[:3]},
            **{name: [True, False] for name in task.label_names[3:5]},
            task.label_names[5]: [0.0, None],
        }
    )
    content.write_parquet(tmp_path / "l.parquet")
    content.with_columns(pl.col(task.label_names[3:5]).cast(pl.Int8)).write_csv(tmp_path / "l.csv")
    expected = [[1, 1, 1, 1, 1, 0], [-1, -1, -1, 0, 0, -1]]
    for name in ("l.parquet", "l.csv"):
        assert lookup(read_table(tmp_path / name, task), "s", references("a", "b")).tolist() == expected


def test_a_damaged_parquet_is_refused(tmp_path: Path, task: Task) -> None:
    path = tmp_path / "l.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(LabelTableError, match="cannot be read as a Parquet file"):
        read_table(path, task)


def test_repeated_slices_and_missing_patients_are_told(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", f"sop_uid,{NAMES}", "a,0,0,0,0,0,0", "a,0,0,0,0,0,0", "b,0,0,0,0,0,0")
    table = read_table(path, task)
    assert [warning.code for warning in table.warnings] == ["duplicate_labels", "no_patient_id"]
    assert table.warnings[0].message.startswith("1 rows")


def test_the_summary_label_may_be_left_out(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "l.csv", "sop_uid," + ",".join(task.label_names[1:]), "a,0,0,1,0,0")
    assert read_table(path, task).values.tolist() == [[1, 0, 0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (f"sop_uid,{NAMES}", "a,0,0,2,0,0,0", r"row 2, column intraparenchymal: '2'; expected 0, 1 or an empty cell"),
        (f"sop_uid,{NAMES}", "a,0,0,0,0,0,yes", r"row 2, column subdural: 'yes'"),
        (f"sop_uid,{NAMES}", "a,0,0,0,0,0,0.5", r"row 2, column subdural: '0.5'"),
        (f"series,slice_index,{NAMES}", "s,-1,0,0,0,0,0,0", r"row 2, column slice_index: '-1'; expected a whole"),
        (f"series,slice_index,{NAMES}", "s,one,0,0,0,0,0,0", r"row 2, column slice_index: 'one'"),
        (f"series,slice_index,{NAMES}", "s,,0,0,0,0,0,0", r"row 2, column slice_index: an empty cell"),
        (f"series,slice_index,{NAMES}", ",3,0,0,0,0,0,0", r"row 2, column series: an empty cell"),
        (f"sop_uid,{NAMES}", ",0,0,0,0,0,0", r"row 2, column sop_uid: an empty cell; the row names no slice"),
        (f"sop_uid,frame,{NAMES}", "a,0,0,0,0,0,0,0", r"row 2, column frame: '0'; expected a whole number from 1"),
        (f"sop_uid,frame,{NAMES}", "a,two,0,0,0,0,0,0", r"row 2, column frame: 'two'"),
        (f"image,{NAMES}", "a,0,0,0,0,0,0", r"expected sop_uid, or series and slice_index.*Missing: sop_uid"),
        ("sop_uid,any,epidural", "a,0,0", r"Missing: intraparenchymal, intraventricular, subarachnoid, subdural"),
        (f"sop_uid;{NAMES.replace(',', ';')}", "a;0;0;0;0;0;0", r"Missing: sop_uid, or series and slice_index, epi"),
        (f"sop_uid,{NAMES},any", "a,0,0,0,0,0,0,1", r"column any stands twice"),
    ],
)
def test_what_cannot_be_a_label_file_is_refused(
    tmp_path: Path, task: Task, header: str, line: str, message: str
) -> None:
    with pytest.raises(LabelTableError, match=message):
        read_table(write(tmp_path / "l.csv", header, line), task)


@settings(deadline=None, max_examples=40)  # the first call imports, and the machine may be busy
@given(st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=5, max_size=5), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[list[int]]) -> None:
    cells = [["" if value == -1 else str(value) for value in row] for row in values]
    path = write(
        tmp_path_factory.mktemp("labels") / "l.csv",
        "series,slice_index,patient_id," + ",".join(TASK.label_names[1:]),
        *(f"s,{index},P,{','.join(row)}" for index, row in enumerate(cells)),
    )
    table = read_table(path, TASK)
    found = lookup(table, "s", references(*map(str, range(len(values)))))
    assert found[:, 1:].tolist() == values
    assert found[:, 0].tolist() == [1 if 1 in row else -1 if -1 in row else 0 for row in values]
