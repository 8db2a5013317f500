"""The key object selection: the flagged slices as a list that viewers jump along, TID 2010, DICOM PS3.16."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.codes import OF_INTEREST
from slicewise.reporting.dicom.encode import common_arguments, encoded, references
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.structured_report import device_observer, summary_text

if TYPE_CHECKING:
    from highdicom.ko import KeyObjectSelection

SERIES_NUMBER = 9702


def key_objects(findings: StudyFindings) -> bytes | None:
    """Returns the selection of the flagged slices as a DICOM file, None if no slice is flagged: it cannot be empty.

    An instance of several frames is listed once, with the numbers of the flagged ones.
    """
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument

    if not findings.flagged:
        return None
    selected = references(findings, [flagged.item for flagged in findings.flagged])
    with silent_pydicom():
        content = KeyObjectSelection(
            OF_INTEREST,
            referenced_objects=selected,
            observer_device_context=device_observer(findings),
            description=summary_text(findings),
        )
        _name_frames(content, findings)
        document = KeyObjectSelectionDocument(
            evidence=selected,
            content=content,
            instance_number=1,
            **common_arguments(findings, "kos", SERIES_NUMBER, "AI flagged slices, research use, not for diagnosis"),
        )
    return encoded(document, findings)


def _name_frames(content: KeyObjectSelection, findings: StudyFindings) -> None:
    frames: dict[str, list[int]] = defaultdict(list)
    for flagged in findings.flagged:
        if findings.instance(flagged.item).is_multiframe:
            frames[flagged.item.sop_uid].append(flagged.item.frame)
    for item in content.get_references():
        (named,) = item.ReferencedSOPSequence
        if named.ReferencedSOPInstanceUID in frames:
            named.ReferencedFrameNumber = sorted(frames[named.ReferencedSOPInstanceUID])
