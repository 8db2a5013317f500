"""The record kept of every written study, and the label files made of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from slicewise.files import write_atomically
from slicewise.phantom import reads
from slicewise.phantom.hemorrhages.model import ANY, SUBTYPES
from slicewise.phantom.labels import LABELS, UNKNOWN
from slicewise.phantom.study import PhantomStudy

LABELS_CSV, RSNA_CSV, READS_CSV = "labels.csv", "stage_2_train.csv", "reads.csv"
COLUMNS = ("patient_id", "study_uid", "series", "sop_uid", "slice_index", "position_mm", *LABELS)

RSNA_POSITIVE_MM2 = 8.0
"""The challenge has no unknown label: there, borderline slices are positive from this area of blood."""


class StudyNames(msgspec.Struct, frozen=True):
    """What a study and its slices are called in a layout; the same everywhere in it."""

    patient_id: str
    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]


class SliceRecord(msgspec.Struct, frozen=True):
    """Labels and areas of one written slice, in the order of `LABELS` and `SUBTYPES`."""

    sop_uid: str
    position_mm: float
    labels: tuple[int, ...]
    areas_mm2: tuple[float, ...]


class StudyRecord(msgspec.Struct, frozen=True):
    """One written study: kept as a file, its presence says that the study is whole."""

    patient_id: str
    study_uid: str
    series_uid: str
    slices: tuple[SliceRecord, ...]
    reads: tuple[reads.Read, ...] = ()


def record_of(study: PhantomStudy, names: StudyNames, found: tuple[reads.Read, ...] = ()) -> StudyRecord:
    """Returns what is kept of a study once its files are written.

    Args:
        study: The study.
        names: What it is called.
        found: What readers found in it, in the CQ500 layout.
    """
    slices = tuple(
        SliceRecord(
            sop_uid,
            round(float(study.volume.positions_mm[number]), 3),
            tuple(study.labels[number].tolist()),
            tuple(round(area, 3) for area in study.areas_mm2[number].tolist()),
        )
        for number, sop_uid in enumerate(names.sop_uids)
    )
    return StudyRecord(names.patient_id, names.study_uid, names.series_uid, slices, found)


def write_labels_csv(path: Path, records: Iterable[StudyRecord]) -> None:
    """Writes one row a slice in the table layout (docs of `slicewise prepare`); a borderline label is empty."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in records:
            for index, item in enumerate(record.slices):
                labels = ["" if label == UNKNOWN else label for label in item.labels]
                ids = (record.patient_id, record.study_uid, record.series_uid, item.sop_uid)
                writer.writerow([*ids, index, f"{item.position_mm:.3f}", *labels])


def write_rsna_csv(path: Path, records: Iterable[StudyRecord]) -> None:
    """Writes the challenge's format: one row a slice and label, `any` last, borderline from 8 mm2 as positive."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("ID", "Label"))
        for record in records:
            for item in record.slices:
                writer.writerows((f"{item.sop_uid}_{name}", label) for name, label in _rsna_labels(item))


def _rsna_labels(item: SliceRecord) -> Iterator[tuple[str, int]]:
    found = dict(zip(LABELS, item.labels, strict=True))
    subtypes = []
    for name, area in zip(SUBTYPES, item.areas_mm2, strict=True):
        subtypes.append(int(area >= RSNA_POSITIVE_MM2) if found[name] == UNKNOWN else found[name])
        yield name, subtypes[-1]
    yield ANY, max(subtypes)


def write_reads_csv(path: Path, records: Iterable[StudyRecord]) -> None:
    """Writes `reads.csv` of CQ500: one row a scan, three readers."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(reads.COLUMNS)
        for record in records:
            writer.writerow((record.patient_id, reads.CATEGORY, *(cell for read in record.reads for cell in read)))
