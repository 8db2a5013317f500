"""Writes the files of a prepared dataset; `store.py` describes and reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.data.labels import UNKNOWN
from slicewise.data.store import (
    MANIFEST,
    RECORD,
    SERIES,
    SLICES,
    SPLITS,
    VALUES,
    DatasetManifest,
    SeriesRecord,
    digest_of_values,
    folder_name,
)
from slicewise.files import write_atomically, write_bytes_atomically
from slicewise.results import SLICE_COLUMNS


def write_manifest(path: Path, manifest: DatasetManifest) -> None:
    """Writes `dataset.json`."""
    write_bytes_atomically(path / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def write_series(path: Path, record: SeriesRecord, values: npt.NDArray[np.int16]) -> SeriesRecord:
    """Writes the folder of a series, whole or not at all.

    Args:
        path: The dataset.
        record: What `series.json` says, but for the digest of the values.
        values: `ModelInput.values`, shape (R, size, size).

    Returns:
        The record as it was written.
    """
    record = msgspec.structs.replace(record, values_digest=digest_of_values(values))
    with write_atomically(path / SERIES / folder_name(record.series_uid)) as temporary:
        temporary.mkdir()
        np.save(temporary / VALUES, values, allow_pickle=False)
        (temporary / RECORD).write_bytes(msgspec.json.encode(record))
    return record


def write_record(path: Path, record: SeriesRecord) -> None:
    """Replaces `series.json` of a series that is there."""
    write_bytes_atomically(path / SERIES / folder_name(record.series_uid) / RECORD, msgspec.json.encode(record))


def write_tables(path: Path, records: Sequence[SeriesRecord], labels: Sequence[str], splits: Mapping[str, str]) -> None:
    """Writes `slices.csv` and `splits.csv`."""
    _write_csv(path / SLICES, (*SLICE_COLUMNS, *labels), _slice_rows(records))
    _write_csv(path / SPLITS, ("patient_id", "split"), sorted(splits.items()))


def _slice_rows(records: Sequence[SeriesRecord]) -> Iterator[tuple[object, ...]]:
    for record in records:
        ids = (record.patient_id, record.study_uid, record.series_uid)
        for index, item in enumerate(record.slices):
            labels = ("" if value == UNKNOWN else value for value in record.labels[index])
            position = round(record.positions_mm[index], 3)
            yield (*ids, item.sop_uid, item.frame, item.file, index, position, *labels)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
