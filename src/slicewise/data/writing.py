"""Writes the files of a prepared dataset; `store.py` describes and reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.data.labels import UNKNOWN
from slicewise.data.occupancy import MASKS, Occupancy, digest_of_masks
from slicewise.data.store import (
    MANIFEST,
    RECORD,
    REJECTED,
    SERIES,
    SLICES,
    SPLITS,
    STUDIES,
    VALUES,
    DatasetManifest,
    SeriesRecord,
    digest_of_values,
    folder_name,
)
from slicewise.files import write_atomically, write_bytes_atomically
from slicewise.results import Rejection
from slicewise.results_csv import SLICE_COLUMNS, write_rejected_csv


def write_manifest(path: Path, manifest: DatasetManifest) -> None:
    """Writes `dataset.json`."""
    write_bytes_atomically(path / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def write_series(
    path: Path, record: SeriesRecord, values: npt.NDArray[np.int16], masks: Occupancy | None = None
) -> SeriesRecord:
    """Writes the folder of a series, whole or not at all.

    Args:
        path: The dataset.
        record: What `series.json` says, but for the digests of values and masks.
        values: `ModelInput.values`, shape (R, size, size).
        masks: Where the findings are, see `occupancy`; None where that is not known.

    Returns:
        The record as it was written.
    """
    masks_digest = "" if masks is None else digest_of_masks(masks)
    record = msgspec.structs.replace(record, values_digest=digest_of_values(values), masks_digest=masks_digest)
    with write_atomically(path / SERIES / folder_name(record.series_uid)) as temporary:
        temporary.mkdir()
        np.save(temporary / VALUES, values, allow_pickle=False)
        if masks is not None:
            np.save(temporary / MASKS, masks, allow_pickle=False)
        (temporary / RECORD).write_bytes(msgspec.json.encode(record))
    return record


def write_masks(path: Path, record: SeriesRecord, masks: Occupancy | None) -> SeriesRecord:
    """Gives a series that is there other masks, or none.

    Returns:
        The record as it was written.
    """
    folder = path / SERIES / folder_name(record.series_uid)
    changed = msgspec.structs.replace(record, masks_digest="" if masks is None else digest_of_masks(masks))
    if masks is None:
        write_record(path, changed)  # first: a killed call may leave a file that no record names, not the reverse
        (folder / MASKS).unlink(missing_ok=True)
        return changed
    with write_atomically(folder / MASKS) as temporary, temporary.open("wb") as stream:
        np.save(stream, masks, allow_pickle=False)
    write_record(path, changed)
    return changed


def write_record(path: Path, record: SeriesRecord) -> None:
    """Replaces `series.json` of a series that is there."""
    write_bytes_atomically(path / SERIES / folder_name(record.series_uid) / RECORD, msgspec.json.encode(record))


def write_splits(path: Path, splits: Mapping[str, str]) -> None:
    """Writes `splits.csv`: "train" or "test" for every patient."""
    _write_csv(path / SPLITS, ("patient_id", "split"), sorted(splits.items()))


def write_tables(
    path: Path,
    records: Iterable[SeriesRecord],
    labels: Sequence[str],
    splits: Mapping[str, str],
    rejected: Iterable[Rejection],
) -> None:
    """Writes `slices.csv`, `splits.csv`, `rejected.csv` and, where studies are labelled, `studies.csv`.

    Args:
        path: The dataset.
        records: The series in order; they are gone through several times.
        labels: Label names.
        splits: "train" or "test" for every patient.
        rejected: Files and series that are not in the dataset.
    """
    _write_csv(path / SLICES, (*SLICE_COLUMNS, *labels), _slice_rows(records))
    write_splits(path, splits)
    write_rejected_csv(path / REJECTED, rejected)
    if any(record.study_labels for record in records):
        rows = dict.fromkeys((item.patient_id, item.study_uid, *_cells(item.study_labels)) for item in records)
        _write_csv(path / STUDIES, ("patient_id", "study_uid", *labels), rows)


def _slice_rows(records: Iterable[SeriesRecord]) -> Iterator[tuple[object, ...]]:
    for record in records:
        ids = (record.patient_id, record.study_uid, record.series_uid)
        for index, item in enumerate(record.slices):
            place = (item.sop_uid, item.frame, item.file, item.slice_index, round(record.positions_mm[index], 3))
            yield (*ids, *place, *_cells(record.labels[index]))


def _cells(labels: Iterable[int]) -> tuple[object, ...]:
    return tuple("" if value == UNKNOWN else value for value in labels)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
