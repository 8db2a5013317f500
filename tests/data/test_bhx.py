from __future__ import annotations

from pathlib import Path

import pytest

from slicewise.data.bhx import read_bhx
from slicewise.data.labels import Box
from slicewise.errors import LabelTableError
from slicewise.task import load_task

TASK = load_task("ich")
COLUMNS = "SOPInstanceUID,SeriesInstanceUID,StudyInstanceUID,data,labelName,labelType"
BOX = "\"{'x': 10.5, 'y': 20, 'width': 30, 'height': 40.25}\""


def row(sop_uid: str, label: str, kind: str = "manual", box: str = BOX) -> str:
    return f"{sop_uid},1.2.3,1.2,{box},{label},{kind}"


def write(path: Path, *rows: str, columns: str = COLUMNS) -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def labels_of(path: Path, sop_uid: str) -> list[int]:
    table = read_bhx(path, TASK)
    return list(map(int, table.values[table.rows_by_frame[sop_uid, 1]]))


def test_a_box_makes_its_slice_positive_and_says_nothing_of_other_findings(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", row("a", "Subdural"), row("a", "Epidural"), row("b", "Intraventricular"))
    assert labels_of(path, "a") == [1, 1, -1, -1, -1, 1]
    assert labels_of(path, "b") == [1, -1, -1, 1, -1, -1]


def test_a_chronic_one_is_no_acute_hemorrhage_and_no_proof_of_none(tmp_path: Path) -> None:
    path = write(tmp_path / "boxes.csv", row("a", "Chronic"), row("b", "Chronic"), row("b", "Intraparenchymal"))
    table = read_bhx(path, TASK)
    assert ("a", 1) not in table.rows_by_frame
    assert labels_of(path, "b") == [1, -1, 1, -1, -1, -1]
    summary, subdural = TASK.label_names.index("any"), TASK.label_names.index("subdural")
    assert table.undecided == {("a", 1): (summary, subdural), ("b", 1): (summary, subdural)}
    assert [box.label for box in table.boxes["a", 1]] == ["chronic"]


def test_boxes_are_in_pixels_and_say_whether_they_were_drawn(tmp_path: Path) -> None:
    rows = [row("a", "Subdural"), row("a", "Subdural", "Extrapolated Label", "\"{'x':1,'y':2,'width':3,'height':4}\"")]
    table = read_bhx(write(tmp_path / "boxes.csv", *rows), TASK)
    assert table.boxes["a", 1] == (
        Box("subdural", row=20.0, column=10.5, height=40.25, width=30.0, extrapolated=False),
        Box("subdural", row=2.0, column=1.0, height=4.0, width=3.0, extrapolated=True),
    )
    assert [warning.code for warning in table.warnings] == ["extrapolated_boxes", "no_negatives"]
    assert table.warnings[0].message.startswith("1 of 2 boxes")


def test_boxes_may_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "b.csv", "a,Epidural,1,2,3,4", columns="SOPInstanceUID,labelName,x,y,width,height")
    assert read_bhx(path, TASK).boxes["a", 1] == (Box("epidural", row=2.0, column=1.0, height=4.0, width=3.0),)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([row("a", "Ischemia")], COLUMNS, "row 2, column labelName: 'Ischemia'.*expected a kind of hemorrhage"),
        ([row("a", "Subdural"), row("", "Subdural")], COLUMNS, "row 3, column SOPInstanceUID: an empty cell"),
        ([row("a", "Subdural", box="left")], COLUMNS, r"row 2, column data: 'left'; expected \{'x'"),
        ([row("a", "Subdural", box="\"{'x': 1, 'y': 2, 'width': 3}\"")], COLUMNS, "row 2, column data"),
        ([row("a", "Subdural", box="__import__('os').getcwd()")], COLUMNS, "row 2, column data"),
        ([row("a", "Subdural", box="\"{'x': 1, 'y': 2, 'width': 0, 'height': 4}\"")], COLUMNS, "a box of 0 x 4"),
        ([row("a", "Subdural", box="\"{'x': 1e9, 'y': 2, 'width': 1, 'height': 4}\"")], COLUMNS, r"at 1e\+09"),
        (["a,1"], "SOPInstanceUID,labelName", "Missing: x, y, width, height"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, rows: list[str], columns: str, message: str) -> None:
    with pytest.raises(LabelTableError, match=message):
        read_bhx(write(tmp_path / "boxes.csv", *rows, columns=columns), TASK)
