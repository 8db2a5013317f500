"""Images that stand under several patients: in both parts of a split they would make a test that tests nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from slicewise.errors import DatasetError
from slicewise.volume import ScanWarning


class SeriesKey(NamedTuple):
    """What tells whether two series are of one patient.

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        values_digest: Digest of the network input.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    values_digest: str


def linked_patients(series: Iterable[SeriesKey]) -> dict[str, str]:
    """Returns for every patient the first, by name, of those with whom they share images, directly or in a chain."""
    first: dict[str, str] = {}
    of_image: dict[str, str] = {}

    def root(patient: str) -> str:
        while first[patient] != patient:
            patient = first[patient]
        return patient

    for item in series:
        first.setdefault(item.patient_id, item.patient_id)
        one, other = root(item.patient_id), root(of_image.setdefault(item.values_digest, item.patient_id))
        low, high = sorted((one, other))
        first[high] = low
    return {patient: root(patient) for patient in first}


def leak_warnings(series: Iterable[SeriesKey]) -> tuple[ScanWarning, ...]:
    """Tells of images and Study Instance UIDs that stand under several patients."""
    found = tuple(series)
    warnings = []
    links = linked_patients(found)
    linked = sorted(patient for patient, one in links.items() if patient != one)
    if linked:
        message = f"{len(linked)} patients have images of another one and are kept in one part (as {linked[0]})"
        warnings.append(ScanWarning("shared_images", message))
    patients: dict[str, set[str]] = {}
    for item in found:
        patients.setdefault(item.study_uid, set()).add(item.patient_id)
    shared = sorted(study for study, names in patients.items() if len(names) > 1)
    if shared:
        message = f"{len(shared)} Study Instance UIDs stand under several patients (as {shared[0]})"
        warnings.append(ScanWarning("shared_study_uid", message))
    return tuple(warnings)


def check_no_leak(series: Iterable[SeriesKey], splits: Mapping[str, str]) -> None:
    """Checks that no image stands in both parts.

    Raises:
        DatasetError: If one does.
    """
    part_of: dict[str, tuple[str, str]] = {}
    for item in series:
        split = splits[item.patient_id]
        other, patient = part_of.setdefault(item.values_digest, (split, item.patient_id))
        if other != split:
            raise DatasetError(
                f"splits.csv: patient {item.patient_id} is in '{split}' and has the same images as patient {patient} "
                f"in '{other}'. Prepare the dataset again in a new folder: they are then kept in one part"
            )
