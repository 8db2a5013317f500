"""The prepared dataset: a folder that holds exactly what the networks read, and the labels beside it.

    dataset.json              DatasetManifest: the task, the preprocessing digest, warnings about labels
    slices.csv                one row an original slice: ids, file, slice_index, position_mm, labels (empty = unknown)
    splits.csv                patient_id, split ("train" or "test")
    studies.csv               patient_id, study_uid, labels of the study; only where studies are labelled
    rejected.csv              files and series that are not in the dataset, with the reason
    series/<name>/values.npy  ModelInput.values of one series, int16
    series/<name>/masks.npy   where findings are, on a coarse grid (`occupancy.py`); only where masks are known
    series/<name>/series.json SeriesRecord of that series

Nothing is pickled. A series folder is written whole or not at all; `dataset.json` says whether the preparation ended.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.data.arrays import open_array, read_rows
from slicewise.data.labels import UNKNOWN, Box, Labels
from slicewise.data.occupancy import MASKS, Occupancy, open_masks
from slicewise.data.split import read_splits
from slicewise.errors import DatasetError, UsageError
from slicewise.imaging.acquisition import Acquisition
from slicewise.imaging.preprocess import ModelInput
from slicewise.results import Rejection
from slicewise.task import OCCUPANCY_STRIDE, Task
from slicewise.volume import ScanWarning, SliceReference

FORMAT_VERSION = 2
MANIFEST, SLICES, SPLITS, REJECTED = "dataset.json", "slices.csv", "splits.csv", "rejected.csv"
STUDIES = "studies.csv"
SERIES, VALUES, RECORD = "series", "values.npy", "series.json"


class DatasetManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `dataset.json` holds.

    Attributes:
        layout: Layout of the images and labels that it was prepared from.
        task: The task, whole.
        preprocessing_digest: Digest of the preprocessing that made the stored values.
        software_version: Version of slicewise that prepared it.
        complete: False until the preparation has ended.
        label_warnings: What was odd about the labels.
        holdout: Share of the patients whose split is "test".
        seed: Seeds the split.
        format_version: Version of the dataset format.
    """

    layout: str
    task: Task
    preprocessing_digest: str
    software_version: str
    complete: bool = False
    label_warnings: tuple[ScanWarning, ...] = ()
    holdout: float = 0.0
    seed: int = 0
    format_version: int = FORMAT_VERSION


class SliceBox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rectangle around a finding.

    Attributes:
        slice: Place of its slice in `SeriesRecord.slices`.
        box: The rectangle.
    """

    slice: int
    box: Box


class SeriesRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prepared series. S original slices in axial order make R rows of the network input.

    Attributes:
        patient_id: Patient ID of the label file, else of the images, else the series.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        source_digest: Digest of the files that the series was read from, without their content.
        slices: Origin of every original slice.
        positions_mm: Position of every original slice.
        labels: 0, 1 or -1 for unknown, shape (S, L).
        row_positions_mm: `ModelInput.positions_mm`, shape (R,).
        duplicate_rank: `ModelInput.duplicate_rank`, shape (R,).
        slab_of_slice: `ModelInput.slab_of_slice`, shape (S,).
        origin_px: `ModelInput.origin_px`.
        step_px: `ModelInput.step_px`.
        matrix: Rows and columns of the original slices.
        pixel_spacing_mm: Distance between rows and between columns of the original slices.
        tilt_degrees: Angle between slice normal and patient axis.
        volume_warnings: `Volume.warnings`.
        input_warnings: `ModelInput.warnings`.
        rejected: Files of the series that could not be read.
        values_digest: `digest_of_values` of the stored values; the writer of the series fills it in.
        transposed: `ModelInput.transposed`.
        study_labels: Labels of the study, 0, 1 or -1 for unknown, shape (L,); () where only slices are labelled.
        boxes: Rectangles around findings.
        masks_digest: `digest_of_masks` of the masks of the series; empty where it has none.
        acquisition: How the series was acquired; None where that is not known, as for NIfTI.
        intensity_scale: `ModelInput.intensity_scale`.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    source_digest: str
    slices: tuple[SliceReference, ...]
    positions_mm: tuple[float, ...]
    labels: tuple[tuple[int, ...], ...]
    row_positions_mm: tuple[float, ...]
    duplicate_rank: tuple[int, ...]
    slab_of_slice: tuple[int, ...]
    origin_px: tuple[float, float]
    step_px: tuple[float, float]
    matrix: tuple[int, int]
    pixel_spacing_mm: tuple[float, float]
    tilt_degrees: float
    volume_warnings: tuple[ScanWarning, ...] = ()
    input_warnings: tuple[ScanWarning, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    values_digest: str = ""
    transposed: bool = False
    study_labels: tuple[int, ...] = ()
    boxes: tuple[SliceBox, ...] = ()
    masks_digest: str = ""
    acquisition: Acquisition | None = None
    intensity_scale: float = 1.0

    @property
    def label_array(self) -> Labels:
        """Labels of the original slices, -1 where unknown, shape (S, L)."""
        return np.array(self.labels, dtype=np.int8)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset, open for reading.

    Attributes:
        path: Its folder.
        manifest: What it was prepared for.
        records: Its series, sorted by patient, study and series.
        splits: "train" or "test" for every patient.
    """

    path: Path
    manifest: DatasetManifest
    records: tuple[SeriesRecord, ...]
    splits: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Opens a dataset.

        Raises:
            UsageError: If there is none.
            DatasetError: If it is incomplete, damaged, or made by another version of the preprocessing.
        """
        manifest = read_manifest(path)
        if not manifest.complete:
            raise DatasetError(f"{path}: its preparation has not ended. Run the same slicewise prepare again")
        folders = sorted(folder for folder in (path / SERIES).glob("*") if not folder.name.startswith("."))
        records = sort_records(read_record(folder) for folder in folders)
        splits = read_splits(path / SPLITS)
        patients = sorted({record.patient_id for record in records})
        missing = [patient for patient in patients if patient not in splits]
        if missing:
            raise DatasetError(f"{path / SPLITS}: patient {missing[0]} has no row. Expected one for every patient")
        return cls(path, manifest, records, {patient: splits[patient] for patient in patients})

    @property
    def task(self) -> Task:
        """The task that it was prepared for."""
        return self.manifest.task

    def input(self, record: SeriesRecord) -> ModelInput:
        """Returns the network input of a series; its values are read from the disk where they are used.

        Raises:
            DatasetError: If the file is missing, truncated or not of this series.
        """
        folder = self.path / SERIES / folder_name(record.series_uid)
        return ModelInput(
            values=open_values(folder, record, self.task.preprocessing.size),
            positions_mm=np.array(record.row_positions_mm, dtype=np.float64),
            duplicate_rank=np.array(record.duplicate_rank, dtype=np.int64),
            slab_of_slice=np.array(record.slab_of_slice, dtype=np.int64),
            origin_px=record.origin_px,
            step_px=record.step_px,
            warnings=record.input_warnings,
            transposed=record.transposed,
            intensity_scale=record.intensity_scale,
        )

    def input_rows(self, record: SeriesRecord, rows: Sequence[int]) -> npt.NDArray[np.int16]:
        """Returns a few rows of the network input of a series, shape (len(rows), size, size).

        Raises:
            DatasetError: As `input`.
        """
        size = self.task.preprocessing.size
        path = self.path / SERIES / folder_name(record.series_uid) / VALUES
        return read_rows(path, rows, np.int16, (len(record.row_positions_mm), size, size))

    def mask_row(self, record: SeriesRecord, row: int) -> Occupancy:
        """Returns where the findings in one row of the network input are, shape (L, cells, cells).

        Raises:
            DatasetError: As `masks`.
        """
        cells = self.task.preprocessing.size // OCCUPANCY_STRIDE
        path = self.path / SERIES / folder_name(record.series_uid) / MASKS
        shape = (len(record.row_positions_mm), len(self.task.labels), cells, cells)
        found: Occupancy = read_rows(path, [row], np.uint8, shape)[0]
        return found

    def masks(self, record: SeriesRecord) -> Occupancy:
        """Returns where the findings of a series are, on the coarse grid; read from the disk where used.

        Raises:
            DatasetError: If the file is missing, truncated or not of this series, as where it has no masks.
        """
        folder = self.path / SERIES / folder_name(record.series_uid)
        rows, labels = len(record.row_positions_mm), len(self.task.labels)
        return open_masks(folder, rows, labels, self.task.preprocessing.size)

    def rejections(self) -> tuple[Rejection, ...]:
        """Returns the files and series that are not in the dataset, from `rejected.csv`.

        Raises:
            DatasetError: If it is missing or damaged.
        """
        file = self.path / REJECTED
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                return tuple(msgspec.convert(row, Rejection) for row in csv.DictReader(stream))
        except (OSError, csv.Error, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise DatasetError(f"{file}: cannot be read: {error}. Prepare the dataset again") from error

    def row_labels(self, record: SeriesRecord) -> Labels:
        """Returns the labels of the rows of the network input, -1 where unknown, shape (R, L).

        A slab of several slices is positive if one of them is, negative if all are, else unknown.
        """
        slices = record.label_array
        rows = np.zeros((len(record.row_positions_mm), slices.shape[1]), dtype=np.int8)
        slab_of_slice = np.array(record.slab_of_slice)
        np.minimum.at(rows, slab_of_slice, np.where(slices == UNKNOWN, UNKNOWN, 0).astype(np.int8))
        np.maximum.at(rows, slab_of_slice, np.where(slices == 1, 1, UNKNOWN).astype(np.int8))
        return rows

    def digest(self) -> str:
        """Returns the SHA-256 over network inputs, ids, labels, masks and splits, in hexadecimal.

        How series were acquired is no part of it: what is learnt and measured does not change by it.
        """
        digest = hashlib.sha256(f"{self.manifest.preprocessing_digest} {self.task.label_names}".encode())
        for record in self.records:
            slices = [(item.sop_uid, item.frame) for item in record.slices]
            ids = (record.patient_id, self.splits[record.patient_id], record.study_uid, record.series_uid)
            rows = (record.values_digest, record.row_positions_mm, record.duplicate_rank, record.slab_of_slice)
            labels = (record.labels, record.study_labels, record.boxes, record.masks_digest)
            digest.update(msgspec.json.encode((ids, slices, labels, rows)))
        return digest.hexdigest()


@dataclass(frozen=True)
class StoredRecords:
    """The records of series of a dataset, read from the disk one by one each time they are gone through.

    Attributes:
        path: The dataset.
        series_uids: The series, in order.
    """

    path: Path
    series_uids: Sequence[str]

    def __iter__(self) -> Iterator[SeriesRecord]:
        for series_uid in self.series_uids:
            yield read_record(self.path / SERIES / folder_name(series_uid))


def folder_name(series_uid: str) -> str:
    """Returns the name of the folder of a series: a hash, as a UID may hold anything.

    >>> folder_name("../../1.2.3")
    '3320e6892f5613647790'
    """
    return hashlib.sha256(series_uid.encode()).hexdigest()[:20]


def digest_of_values(values: npt.NDArray[np.int16]) -> str:
    """Returns the SHA-256 of the values of a series in C order, little-endian, in hexadecimal."""
    return hashlib.sha256(values.astype("<i2", copy=False).tobytes()).hexdigest()


def sort_records(records: Iterable[SeriesRecord]) -> tuple[SeriesRecord, ...]:
    """Sorts series by patient, study and series."""
    return tuple(sorted(records, key=lambda record: (record.patient_id, record.study_uid, record.series_uid)))


def read_manifest(path: Path) -> DatasetManifest:
    """Reads and checks `dataset.json`.

    Raises:
        UsageError: If there is no dataset.
        DatasetError: If it is damaged, or of another format or another version of the preprocessing.
    """
    file = path / MANIFEST
    if not file.exists():
        raise UsageError(f"{path}: not a prepared dataset: {MANIFEST} is missing. `slicewise prepare` makes one")
    try:
        content = file.read_bytes()
        version = msgspec.json.decode(content, type=dict).get("format_version")
        if version != FORMAT_VERSION:
            raise DatasetError(
                f"{path}: dataset format {version}, this slicewise reads {FORMAT_VERSION}. Prepare it again"
            )
        manifest = msgspec.json.decode(content, type=DatasetManifest)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: not valid: {error}. Prepare the dataset again") from error
    if manifest.preprocessing_digest != manifest.task.preprocessing.digest():
        raise DatasetError(
            f"{path}: was prepared with another version of the preprocessing (slicewise {manifest.software_version}). "
            "Prepare it again in a new folder"
        )
    return manifest


def read_record(folder: Path) -> SeriesRecord:
    """Reads `series.json` of a series folder.

    Raises:
        DatasetError: If it is missing or not valid.
    """
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=SeriesRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{folder / RECORD}: cannot be read: {error}. Prepare the dataset again") from error


def open_values(folder: Path, record: SeriesRecord, size: int) -> npt.NDArray[np.int16]:
    """Opens `values.npy` of a series folder, memory-mapped, shape (R, size, size).

    Raises:
        DatasetError: If the file is missing, truncated or not of this series.
    """
    return open_array(folder / VALUES, np.int16, (len(record.row_positions_mm), size, size))
