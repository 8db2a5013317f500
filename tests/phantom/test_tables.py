from __future__ import annotations

import csv
from pathlib import Path

from slicewise.phantom.tables import SliceRecord, StudyRecord, write_labels_csv, write_rsna_csv

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
RECORD = StudyRecord(
    "p",
    "s",
    "r",
    (
        SliceRecord("a", -3.5, (0, 0, 0, 0, 0, 0), (0.0, 1.0, 0.0, 0.0, 0.0)),
        SliceRecord("b", 1.5, (-1, 0, -1, -1, 0, 0), (0.0, 7.9, 8.0, 0.0, 0.0)),
        SliceRecord("c", 6.5, (1, 0, -1, 0, 0, 1), (0.0, 5.0, 0.0, 0.0, 99.0)),
    ),
)


def test_borderline_labels_are_empty_cells(tmp_path: Path) -> None:
    write_labels_csv(tmp_path / "labels.csv", [RECORD])
    assert (tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines() == [
        f"patient_id,study_uid,series,sop_uid,slice_index,position_mm,any,{','.join(SUBTYPES)}",
        "p,s,r,a,0,-3.500,0,0,0,0,0,0",
        "p,s,r,b,1,1.500,,0,,,0,0",
        "p,s,r,c,2,6.500,1,0,,0,0,1",
    ]


def test_the_challenge_has_no_unknown(tmp_path: Path) -> None:
    write_rsna_csv(tmp_path / "train.csv", [RECORD])
    with (tmp_path / "train.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["ID", "Label"]
    assert [row[0] for row in rows[1:]] == [f"{sop}_{label}" for sop in "abc" for label in (*SUBTYPES, "any")]
    values = [int(row[1]) for row in rows[1:]]
    assert values[:6] == [0, 0, 0, 0, 0, 0]
    assert values[6:12] == [0, 0, 1, 0, 0, 1]  # 7.9 mm2 is negative, 8 mm2 positive
    assert values[12:] == [0, 0, 0, 0, 1, 1]
