from __future__ import annotations

import csv
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from slicewise.phantom.tables import SliceRecord, StudyRecord, rsna_id, write_labels_csv, write_rsna_csv

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


@given(st.integers(0, 2**35), st.integers(0, 2**35), st.integers(0, 5))
def test_names_of_the_challenge_never_clash(first: int, second: int, seed: int) -> None:
    names = [rsna_id(seed, "slice", number) for number in (first, second)]
    assert all(re.fullmatch(r"ID_[0-9a-f]{9}", name) for name in names)
    assert (names[0] == names[1]) == (first == second)
