from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest

from made_results import LABELS, make_results
from slicewise.results import Rejection
from slicewise.results_csv import write_rejected_csv, write_series_csv, write_slices_csv, write_studies_csv


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_have_the_columns_of_the_contract(tmp_path: Path) -> None:
    results = make_results()
    write_slices_csv(tmp_path / "slices.csv", results.studies, LABELS)
    write_series_csv(tmp_path / "series.csv", results.studies, LABELS)
    write_studies_csv(tmp_path / "studies.csv", results.studies, LABELS)
    write_rejected_csv(tmp_path / "rejected.csv", results.rejected)
    slices = read(tmp_path / "slices.csv")
    assert list(slices[0]) == [
        *("patient_id", "study_uid", "series_uid", "sop_uid", "frame", "file", "slice_index", "position_mm"),
        *LABELS,
    ]
    assert [row["position_mm"] for row in slices] == ["0.0", "5.0", "10.0"]
    assert slices[2]["patient_id"] == "P,1"
    assert float(slices[2]["left"]) == pytest.approx(1 / 3, abs=1e-6)
    assert read(tmp_path / "series.csv")[0]["slices"] == "3"
    assert read(tmp_path / "studies.csv")[0]["warnings"] == "tilted: The gantry is tilted."
    assert read(tmp_path / "rejected.csv")[0]["message"] == 'It says "no".'


def test_text_without_an_encoding_is_written_visibly(tmp_path: Path) -> None:
    # What os.fsdecode makes of the file name b"IM\xff".
    study = msgspec.structs.replace(make_results().studies[0], patient_id="P\udc80")
    rejected = (Rejection("IM\udcff", "unreadable", "not_dicom", "IM\udcff is no DICOM file."),)
    write_rejected_csv(tmp_path / "rejected.csv", rejected)
    write_studies_csv(tmp_path / "studies.csv", [study], LABELS)
    assert r"IM\udcff,unreadable" in (tmp_path / "rejected.csv").read_text(encoding="utf-8")
    assert r"P\udc80" in (tmp_path / "studies.csv").read_text(encoding="utf-8")


def test_tables_tell_how_familiar_a_scan_is(tmp_path: Path) -> None:
    (study,) = make_results().studies
    (series,) = study.series
    odd = msgspec.structs.replace(series, familiarity=1 / 96, unlike_training=True)
    mixed = msgspec.structs.replace(study, series=(msgspec.structs.replace(series, familiarity=0.5), odd))
    write_series_csv(tmp_path / "series.csv", [study, mixed], LABELS)
    write_studies_csv(tmp_path / "studies.csv", [study, mixed], LABELS)
    expected = [("", "0"), ("0.5", "0"), ("0.010417", "1")]
    for name, rows in (("series.csv", expected), ("studies.csv", [expected[0], expected[2]])):
        assert [(row["familiarity"], row["unlike_training"]) for row in read(tmp_path / name)] == rows
