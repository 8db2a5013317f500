from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from scored_dataset import small, write_dataset
from slicewise.data.store import Dataset
from slicewise.errors import InputError, UsageError
from slicewise.evaluation.series_used import (
    COLUMNS,
    ListedSeries,
    check_series,
    read_series_list,
    write_series_used,
)
from slicewise.imaging.acquisition import Acquisition
from slicewise.results import Rejection
from slicewise.task import Task


@pytest.fixture
def dataset(tmp_path: Path, task: Task) -> Dataset:
    return write_dataset(tmp_path / "dataset", small(task), patients=3, test=3)


def test_what_is_written_is_read_and_fits(tmp_path: Path, dataset: Dataset) -> None:
    told = Acquisition(series_description="CT Plain, 5mm", kernel="H31s", slice_thickness_mm=4.8)
    records = [msgspec.structs.replace(dataset.records[0], acquisition=told), *dataset.records[1:]]
    path = tmp_path / "series_used.csv"
    write_series_used(path, dataset, records)
    with path.open(encoding="utf-8", newline="") as stream:
        first, second, _ = list(csv.DictReader(stream))
    assert tuple(first) == COLUMNS
    assert (first["patient_id"], first["study_uid"], first["series_uid"]) == ("P0", "1.2.0", "1.2.0.1")
    assert (first["series_description"], first["kernel"], first["slice_thickness_mm"]) == (
        "CT Plain, 5mm",
        "H31s",
        "4.8",
    )
    assert (first["slices"], first["sop_count"]) == ("6", "6")
    assert (second["series_description"], second["slice_thickness_mm"]) == ("", "")
    check = check_series(read_series_list(path), dataset, ())
    assert (check.listed, check.read, check.missing, check.changed, check.not_compared) == (3, 3, (), (), 0)


def test_series_that_are_missing_or_changed_are_told(dataset: Dataset) -> None:
    own = dataset.manifest.preprocessing_digest
    same, other, _ = dataset.records
    listed = (
        ListedSeries(same.series_uid, "P0", same.values_digest, own),
        ListedSeries(other.series_uid, "P1", "0" * 64, own),
        ListedSeries("1.2.2.1", "P2", "0" * 64, "other preprocessing"),
        ListedSeries("gone", "P8"),
        ListedSeries("damaged", "P9"),
    )
    rejected = (
        Rejection("a", "unreadable", "not_dicom", "No."),
        Rejection("b", "unreadable", "truncated", "Ends.", "damaged"),
    )
    check = check_series(listed, dataset, rejected)
    assert (check.listed, check.read, check.changed, check.not_compared) == (5, 3, (other.series_uid,), 1)
    assert [(item.series_uid, item.patient_id, item.reason) for item in check.missing] == [
        ("gone", "P8", "not_found"),
        ("damaged", "P9", "truncated"),
    ]
    assert check.missing[1].message == "Ends."
    # A list of UIDs alone is enough to read the same series, and nothing is compared.
    assert check_series([ListedSeries(same.series_uid)], dataset, ()).not_compared == 1
    assert check_series([ListedSeries(same.series_uid, "", same.values_digest)], dataset, ()).not_compared == 0


def test_only_what_was_made_by_other_preprocessing_is_not_compared(dataset: Dataset) -> None:
    manifest = msgspec.structs.replace(dataset.manifest, preprocessing_digest="other")
    listed = [ListedSeries("1.2.0.1", "P0", "0" * 64, dataset.manifest.preprocessing_digest)]
    assert check_series(listed, replace(dataset, manifest=manifest), ()).changed == ()
    assert check_series(listed, dataset, ()).changed == ("1.2.0.1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"patient_id,series\na,b\n", "has no column series_uid"),
        (b"series_uid\n1.2\n1.2\n", "row 3, column series_uid: 1.2 stands twice"),
        (b"series_uid,kernel\n1.2,A\n ,B\n", "row 3, column series_uid: an empty cell"),
        (b"series_uid\n", "holds no rows"),
        (b"", "has no column series_uid"),
        (b"series_uid\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_list_of_another_form_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_series_list(path)


def test_a_list_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--series-manifest .*there is no such file"):
        read_series_list(tmp_path / "nowhere.csv")
