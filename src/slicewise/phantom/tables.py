"""The names that a study has in a layout, the record kept of every written study, and the label files made of them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from slicewise.files import write_atomically
from slicewise.phantom.hemorrhage import ANY, SUBTYPES
from slicewise.phantom.study import LABELS, UNKNOWN, PhantomStudy

CLINICAL, RSNA = "clinical", "rsna"
LAYOUTS = (CLINICAL, RSNA)
LABELS_CSV, RSNA_CSV = "labels.csv", "stage_2_train.csv"
COLUMNS = ("patient_id", "study_uid", "series", "sop_uid", "slice_index", "position_mm", *LABELS)

RSNA_POSITIVE_MM2 = 8.0
"""The challenge has no unknown label: there, borderline slices are positive from this area of blood."""

_ID_BITS = 36
_SLICES_A_STUDY = 64


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


def names_of(study: PhantomStudy, seed: int, patient: int, layout: str) -> StudyNames:
    """Returns what a study is called.

    Args:
        study: The study.
        seed: Seed of the data set.
        patient: Index of the patient's first study.
        layout: "clinical" keeps the valid UIDs of the volume, "rsna" has the short names of the challenge.
    """
    volume = study.volume
    if layout == CLINICAL:
        return StudyNames(
            volume.patient_id, volume.study_uid, volume.series_uid, tuple(item.sop_uid for item in volume.slices)
        )
    first = study.index * _SLICES_A_STUDY
    return StudyNames(
        rsna_id(seed, "patient", patient),
        rsna_id(seed, "study", study.index),
        rsna_id(seed, "series", study.index),
        tuple(rsna_id(seed, "slice", first + number) for number in range(len(volume.slices))),
    )


def rsna_id(seed: int, kind: str, number: int) -> str:
    """Returns a name like "ID_6431af929" that no other number of that seed and kind has.

    Every step is a bijection of the 36-bit integers, so names cannot clash as hashes could.
    """
    mask = (1 << _ID_BITS) - 1
    key = int.from_bytes(hashlib.sha256(f"{seed}/{kind}".encode()).digest()[:8], "big")
    value = (number + key) & mask
    for factor, shift in ((0x9E3779B97F4A7C15, 17), (0xBF58476D1CE4E5B9, 19)):
        value = (value * factor) & mask
        value ^= value >> shift
    return f"ID_{value:09x}"


def record_of(study: PhantomStudy, names: StudyNames) -> StudyRecord:
    """Returns what is kept of a study once its files are written."""
    slices = tuple(
        SliceRecord(
            sop_uid,
            round(float(study.volume.positions_mm[number]), 3),
            tuple(study.labels[number].tolist()),
            tuple(round(area, 3) for area in study.areas_mm2[number].tolist()),
        )
        for number, sop_uid in enumerate(names.sop_uids)
    )
    return StudyRecord(names.patient_id, names.study_uid, names.series_uid, slices)


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
