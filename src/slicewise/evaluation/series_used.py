"""`series_used.csv`: exactly which series an evaluation has read, so that another one can read the same.

Public studies hold many series, papers rarely tell which of them they took, and thickness and kernel move figures.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import InputError, UsageError
from slicewise.files import write_atomically
from slicewise.imaging.acquisition import Acquisition
from slicewise.results import Rejection

SERIES_USED = "series_used.csv"
COLUMNS = (
    "patient_id",
    "study_uid",
    "series_uid",
    "series_description",
    "slices",
    "slice_thickness_mm",
    "kernel",
    "sop_count",
    "values_digest",
    "preprocessing_digest",
)


class ListedSeries(msgspec.Struct, frozen=True):
    """One row of `series_used.csv`, as far as it is used.

    Attributes:
        series_uid: Series Instance UID.
        patient_id: Patient; "" where the list does not tell.
        values_digest: Digest of the network input that was made of it; "" where the list does not tell.
        preprocessing_digest: Digest of the preprocessing that made it; "" where the list does not tell.
    """

    series_uid: str
    patient_id: str = ""
    values_digest: str = ""
    preprocessing_digest: str = ""


class MissingSeries(msgspec.Struct, frozen=True):
    """A listed series that was not read.

    Attributes:
        series_uid: Series Instance UID.
        patient_id: Patient, as the list names it.
        reason: A code of `imaging.reasons`, or "not_found" if no image has this Series Instance UID.
        message: Why, in words.
    """

    series_uid: str
    patient_id: str
    reason: str
    message: str


class SeriesCheck(msgspec.Struct, frozen=True):
    """What became of a list of series.

    Attributes:
        listed: Series of the list.
        read: Those of them that were read.
        missing: The others.
        changed: Series that were read and whose values are not those that the list was made with.
        not_compared: Series that were read and whose list tells no values, or values of other preprocessing.
    """

    listed: int
    read: int
    missing: tuple[MissingSeries, ...]
    changed: tuple[str, ...]
    not_compared: int


def write_series_used(path: Path, dataset: Dataset, records: Iterable[SeriesRecord]) -> None:
    """Writes one row a series; `slices` counts frames, `sop_count` instances."""
    digest = dataset.manifest.preprocessing_digest
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for record in records:
            told = record.acquisition or Acquisition()
            thickness = "" if told.slice_thickness_mm is None else f"{told.slice_thickness_mm:g}"
            ids = (record.patient_id, record.study_uid, record.series_uid, told.series_description)
            sop_count = len({item.sop_uid for item in record.slices})
            content = (len(record.slices), thickness, told.kernel, sop_count, record.values_digest, digest)
            writer.writerow((*ids, *content))


def read_series_list(path: Path) -> tuple[ListedSeries, ...]:
    """Reads a list of series: `series_used.csv`, or any CSV with a column `series_uid`.

    Raises:
        UsageError: If there is no such file.
        InputError: If it is no such list, is empty, or names a series twice.
    """
    if not path.is_file():
        raise UsageError(f"--series-manifest {path}: there is no such file; expected {SERIES_USED} of an evaluation")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # as spreadsheets save it
            reader = csv.DictReader(stream)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise _bad_list(f"{path}: cannot be read as a CSV file: {error}") from error
    if "series_uid" not in columns:
        raise _bad_list(f"{path}: has no column series_uid; expected {SERIES_USED} of an evaluation")
    listed: dict[str, ListedSeries] = {}
    for number, row in enumerate(rows, start=2):
        item = ListedSeries(*((row.get(name) or "").strip() for name in ListedSeries.__struct_fields__))
        if not item.series_uid:
            raise _bad_list(f"{path}: row {number}, column series_uid: an empty cell; expected a Series Instance UID")
        if item.series_uid in listed:
            raise _bad_list(f"{path}: row {number}, column series_uid: {item.series_uid} stands twice; expected once")
        listed[item.series_uid] = item
    if not listed:
        raise _bad_list(f"{path}: holds no rows below its header; expected one a series")
    return tuple(listed.values())


def check_series(listed: Sequence[ListedSeries], dataset: Dataset, rejected: Iterable[Rejection]) -> SeriesCheck:
    """Compares a list with the series of the dataset that was made by it.

    Args:
        listed: The list.
        dataset: The dataset.
        rejected: What is not in the dataset, with the reason.
    """
    records = {record.series_uid: record for record in dataset.records}
    read = [item for item in listed if item.series_uid in records]
    # A digest tells something about other images only where the same preprocessing made it.
    own = dataset.manifest.preprocessing_digest
    compared = [item for item in read if item.values_digest and item.preprocessing_digest in ("", own)]
    why = {item.series_uid: item for item in rejected if item.series_uid}
    return SeriesCheck(
        listed=len(listed),
        read=len(read),
        missing=tuple(_missing(item, why) for item in listed if item.series_uid not in records),
        changed=tuple(i.series_uid for i in compared if records[i.series_uid].values_digest != i.values_digest),
        not_compared=len(read) - len(compared),
    )


def _missing(item: ListedSeries, why: Mapping[str, Rejection]) -> MissingSeries:
    found = why.get(item.series_uid)
    if found is None:
        return MissingSeries(item.series_uid, item.patient_id, "not_found", "No image has this Series Instance UID.")
    return MissingSeries(item.series_uid, item.patient_id, found.reason, found.message)


def _bad_list(message: str) -> InputError:
    return InputError(message, reason="bad_series_list")
