"""An object of highdicom -> the bytes of its file: its identity, its equipment, its time and its UID."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr, dcmwrite
from pydicom.uid import UID

from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.codes import plain
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.identity import del_present
from slicewise.reporting.dicom.references import SourceInstance
from slicewise.reporting.dicom.uids import derived_uid
from slicewise.results import SliceResult

MANUFACTURER = "slicewise"

PLACEHOLDER_UID = "2.25.0"
"""SOP Instance UID of an object until it is whole: its own follows from the content."""

_IMPLEMENTATION_UID = UID(derived_uid("implementation"))
_CLOCK = ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture")
"""Type 3 elements that highdicom fills from the clock: with them no two calls would give the same object."""


def common_arguments(findings: StudyFindings, kind: str, number: int, description: str) -> dict[str, Any]:
    """Returns the arguments that the objects of highdicom share.

    Args:
        findings: What the object is about.
        kind: "sr", "kos" or "sc": each is a series.
        number: Series Number, (0020,0011).
        description: Series Description, (0008,103E).
    """
    model = findings.model
    return {
        "series_instance_uid": findings.uid("series", kind),
        "series_number": number,
        "sop_instance_uid": PLACEHOLDER_UID,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": plain(model.name),
        "device_serial_number": plain(model.digest),
        "software_versions": (plain(findings.software_version), plain(f"model {model.version}")),
        "series_description": plain(description),
        "content_date": findings.sources.date,
        "content_time": findings.sources.time,
    }


def reference(findings: StudyFindings, instance: SourceInstance) -> Dataset:
    """Returns an image as highdicom wants what an object refers to, with no identity yet."""
    dataset = Dataset()
    dataset.SOPClassUID = instance.sop_class_uid
    dataset.SOPInstanceUID = instance.sop_uid
    dataset.StudyInstanceUID = findings.sources.study_uid
    dataset.SeriesInstanceUID = instance.series_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.StudyDate = dataset.StudyTime = None
    dataset.Rows = dataset.Columns = 1  # says to highdicom that it is an image
    return dataset


def references(findings: StudyFindings, slices: list[SliceResult] | None = None) -> list[Dataset]:
    """Returns the images of some slices, or all of the study, each once and in order."""
    instances = findings.sources.instances
    uids = list(instances) if slices is None else list(dict.fromkeys(item.sop_uid for item in slices))
    return [reference(findings, instances[uid]) for uid in uids]


def encoded(dataset: Dataset, findings: StudyFindings) -> bytes:
    """Completes an object and returns its file, DICOM PS3.10: the same object always gives the same bytes."""
    with silent_pydicom():
        del_present(dataset, *_CLOCK)
        for equipment in dataset.get("ContributingEquipmentSequence", ()):
            del_present(equipment, "ContributionDateTime")
        dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
        dataset.file_meta.ImplementationVersionName = plain(f"slicewise {findings.software_version}", 16)
        correct_ambiguous_vr(dataset, is_little_endian=True)  # which pydicom leaves out where stored values are kept
        findings.sources.identity.apply(dataset)
        digest = hashlib.sha256(_written(dataset)).hexdigest()
        uid = UID(findings.uid("instance", digest))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    content = BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    return content.getvalue()
