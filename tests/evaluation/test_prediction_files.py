from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slicewise.errors import InputError, LabelTableError, UsageError
from slicewise.evaluation.prediction_files import read_predictions, write_predictions
from slicewise.evaluation.predictions import PredictionTable
from slicewise.results_csv import SLICE_COLUMNS
from slicewise.task import Task


def write(path: Path, text: str) -> Path:
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n", encoding="utf-8")
    return path


def test_what_is_written_is_read_back_to_the_last_digit(tmp_path: Path, table: PredictionTable, task: Task) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, table)
    found = read_predictions(path, None, task)
    np.testing.assert_array_equal(found.probabilities.astype(np.float32), table.probabilities)
    np.testing.assert_array_equal(found.targets, table.targets)
    np.testing.assert_array_equal(found.positions_mm, table.positions_mm)
    for name in ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index"):
        assert getattr(found, name) == getattr(table, name)
    assert found.warnings == ()


def test_the_columns_are_those_of_slices_csv_and_one_label_each(
    tmp_path: Path, table: PredictionTable, task: Task
) -> None:
    write_predictions(tmp_path / "predictions.csv", replace(table, positions_mm=np.full(len(table), np.nan)))
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == (*SLICE_COLUMNS, "edema", "lesion", "label_edema", "label_lesion")
    assert len(rows) == len(table)
    assert (rows[5]["label_edema"], rows[5]["label_lesion"]) == ("", str(table.targets[5, 1]))
    assert rows[0]["position_mm"] == ""
    del task


def test_labels_are_joined_by_sop_uid(tmp_path: Path, task: Task) -> None:
    predictions = write(
        tmp_path / "slices.csv",
        """patient_id,study_uid,series_uid,sop_uid,frame,file,slice_index,position_mm,edema,lesion,other
        p1,st1,se1,a,1,x/a.dcm,0,-5.5,0.125,0.25,?
        p1,st1,se1,b,1,x/b.dcm,1,0.0,0.5,1.0,?
        p2,st2,se2,c,1,x/c.dcm,0,3.0,0.0,0.0,?""",
    )
    labels = write(
        tmp_path / "labels.csv",
        """remark,lesion,sop_uid,edema,patient_id
        ,1,b,0,p1
        ,0,a,,p1
        ,1,z,1,p9""",
    )
    table = read_predictions(predictions, labels, task)
    assert table.probabilities.tolist() == [[0.125, 0.25], [0.5, 1.0], [0.0, 0.0]]
    assert table.targets.tolist() == [[-1, 0], [0, 1], [-1, -1]]
    assert table.patient_ids == ("p1", "p1", "p2")
    assert table.positions_mm.tolist() == [-5.5, 0.0, 3.0]
    assert table.warnings[-2:] == (
        "1 of 3 predicted slices have no label row and enter no metric",
        "1 of 3 labelled slices have no prediction and enter no metric",
    )


def test_labels_are_joined_by_series_and_slice_index(tmp_path: Path, task: Task) -> None:
    predictions = write(
        tmp_path / "predictions.csv",
        """series,slice_index,edema,lesion
        head,1,0.1,0.2
        head,0,0.3,0.4
        neck,0,0.5,0.6""",
    )
    labels = write(
        tmp_path / "labels.csv",
        """series,slice_index,edema,lesion
        head,0,1,1
        head,1,0,0
        neck,0,0,1""",
    )
    table = read_predictions(predictions, labels, task)
    assert table.targets.tolist() == [[0, 0], [1, 1], [0, 1]]
    assert table.patient_ids == table.study_uids == table.series_uids == ("head", "head", "neck")
    assert len(set(table.sop_uids)) == 3
    assert any("3 of 3 slices have no patient_id: their series counts as a patient" in text for text in table.warnings)


def test_the_patient_of_the_label_file_holds_for_the_whole_series(tmp_path: Path, task: Task) -> None:
    predictions = write(
        tmp_path / "predictions.csv",
        """patient_id,study_uid,series_uid,sop_uid,edema,lesion
        ANON,st1,se1,a,0.1,0.2
        ANON,st1,se1,b,0.1,0.2
        ANON,st2,se2,c,0.1,0.2""",
    )
    labels = write(tmp_path / "labels.csv", "sop_uid,patient_id,edema,lesion\na,p1,0,0\nc,p2,0,0")
    assert read_predictions(predictions, labels, task).patient_ids == ("p1", "p1", "p2")
    write(labels, "sop_uid,patient_id,edema,lesion\na,p1,0,0\nb,p2,0,0")
    with pytest.raises(LabelTableError, match=r"row 2.*belongs to one patient"):
        read_predictions(predictions, labels, task)


def test_further_frames_do_not_take_the_label_of_the_first(tmp_path: Path, task: Task) -> None:
    predictions = write(
        tmp_path / "predictions.csv",
        """patient_id,series_uid,sop_uid,frame,edema,lesion
        p,s,a,1,0.1,0.2
        p,s,a,2,0.1,0.2""",
    )
    labels = write(tmp_path / "labels.csv", "sop_uid,edema,lesion\na,1,1")
    assert read_predictions(predictions, labels, task).targets.tolist() == [[1, 1], [-1, -1]]


HEADER = "patient_id,series_uid,sop_uid,edema,lesion"


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (f"{HEADER}\np,s,a,0.1,0.2\np,s,b,0.1,1.5", r"predictions\.csv: row 3, column lesion: '1\.5'"),
        (f"{HEADER}\np,s,a,nan,0.2", r"row 2, column edema: 'nan'"),
        (f"{HEADER}\np,s,a,,0.2", r"row 2, column edema: an empty cell"),
        (f"{HEADER}\np,s,a,high,0.2", r"row 2, column edema: 'high'"),
        (f"{HEADER}\np,s,a,0.1,0.2\np,s,a,0.1,0.2", r"row 2, column sop_uid: 'a'; the slice stands twice"),
        (HEADER, r"holds no rows"),
        ("patient_id,sop_uid,lesion\np,a,0.1", r"Missing: edema"),
        ("patient_id,edema,lesion\np,0.1,0.1", r"Missing: sop_uid, or series_uid and slice_index"),
        ("sop_uid,edema,lesion\na,0.1,0.1", r"row 2, column patient_id: an empty cell; expected it, or series_uid"),
        ("sop_uid,patient_id,frame,edema,lesion\na,p,x,0.1,0.1", r"row 2, column frame: 'x'; expected a whole number"),
        ("sop_uid,patient_id,position_mm,edema,lesion\na,p,x,0.1,0.1", r"row 2, column position_mm: 'x'"),
    ],
)
def test_predictions_that_cannot_be_used_are_named(tmp_path: Path, task: Task, predictions: str, message: str) -> None:
    path = write(tmp_path / "predictions.csv", predictions)
    labels = write(tmp_path / "labels.csv", "sop_uid,edema,lesion\na,0,1\nb,0,0")
    with pytest.raises(InputError, match=message):
        read_predictions(path, labels, task)


def test_labels_of_other_scans_are_refused(tmp_path: Path, task: Task) -> None:
    predictions = write(tmp_path / "predictions.csv", f"{HEADER}\np,s,a,0.1,0.2")
    labels = write(tmp_path / "labels.csv", "sop_uid,edema,lesion\nx,0,1")
    with pytest.raises(LabelTableError, match="not one row fits"):
        read_predictions(predictions, labels, task)


def test_own_labels_that_are_missing_or_odd_are_named(tmp_path: Path, task: Task) -> None:
    path = write(tmp_path / "predictions.csv", f"{HEADER}\np,s,a,0.1,0.2")
    with pytest.raises(LabelTableError, match="Missing: label_edema, label_lesion"):
        read_predictions(path, None, task)
    write(path, f"{HEADER},label_edema,label_lesion\np,s,a,0.1,0.2,0,yes")
    with pytest.raises(LabelTableError, match="row 2, column label_lesion: 'yes'"):
        read_predictions(path, None, task)


def test_a_file_that_is_not_there_is_a_wrong_call(tmp_path: Path, task: Task) -> None:
    with pytest.raises(UsageError, match=r"nothing\.csv: there is no such file"):
        read_predictions(tmp_path / "nothing.csv", None, task)


def test_labels_of_studies_and_attributes_are_read_back(tmp_path: Path, table: PredictionTable, task: Task) -> None:
    of_study = np.array([int(uid.endswith("3")) for uid in table.study_uids], dtype=np.int8)
    given = np.stack([of_study, np.full_like(of_study, -1)], axis=1)
    attributes = {"sex": ("F", "") * 90, "arrival_minutes": ("7",) * 180, "ward": ("icu",) * 180}
    write_predictions(tmp_path / "p.csv", replace(table, study_targets=given, attributes=attributes))
    found = read_predictions(tmp_path / "p.csv", None, task)
    assert found.study_targets is not None
    np.testing.assert_array_equal(found.study_targets, given)
    assert dict(found.attributes) == attributes


def test_attributes_that_are_known_by_name_need_no_prefix(tmp_path: Path, task: Task) -> None:
    predictions = write(
        tmp_path / "p.csv",
        """series,slice_index,edema,lesion,label_edema,label_lesion,sex,remark
        a,0,0.1,0.2,0,0,F,x
        a,1,0.3,0.4,0,1,,x""",
    )
    assert dict(read_predictions(predictions, None, task).attributes) == {"sex": ("F", "")}


def test_a_study_with_two_labels_is_refused(tmp_path: Path, table: PredictionTable, task: Task) -> None:
    given = np.zeros_like(table.targets)
    given[3, 1] = 1
    write_predictions(tmp_path / "p.csv", replace(table, study_targets=given))
    with pytest.raises(InputError, match="a study has one label, its rows have several"):
        read_predictions(tmp_path / "p.csv", None, task)
