from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slicewise.errors import InputError
from slicewise.evaluation.attribute_files import read_attributes
from slicewise.evaluation.predictions import PredictionTable


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_columns_become_attributes_of_the_rows_they_name(table: PredictionTable, tmp_path: Path) -> None:
    known = replace(table, attributes={"sex": ("F",) * len(table), "kernel": ("soft",) * len(table)})
    file = written(tmp_path / "more.csv", "patient_id,sex,ward\npatient0,M, icu \npatient2,,er\n")
    found = read_attributes(file).added_to(known).attributes
    assert found["kernel"] == known.attributes["kernel"]
    of_patient = {name: {(found["sex"][row], found["ward"][row])} for row, name in enumerate(table.patient_ids)}
    assert of_patient["patient0"] == {("M", "icu")}
    assert of_patient["patient1"] == {("", "")}
    assert of_patient["patient2"] == {("", "er")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ward,sex\nicu,F\n", "expected one of sop_uid"),
        ("patient_id\npatient0\n", "a column for each attribute"),
        ("patient_id,sex\npatient0,F\npatient0,M\n", "row 3, column patient_id: 'patient0' stands twice"),
        ("patient_id,sex\nnobody,F\n", "not one patient_id is among the predictions"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(table: PredictionTable, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_attributes(written(tmp_path / "more.csv", text)).added_to(table)
