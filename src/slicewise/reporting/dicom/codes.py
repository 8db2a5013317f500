"""Codes and texts of the objects. All codes stand in the dictionaries of pydicom, DICOM PS3.16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.sr.coding import Code

from slicewise.task import Code as TaskCode
from slicewise.task import Label, Task

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

PRESENT = Code("52101004", "SCT", "Present")
"""CID 240."""
MAXIMUM = Code("56851009", "SCT", "Maximum")
"""CID 3488."""
PROBABILITY = Code("122157", "DCM", "Probability")
NO_UNITS = Code("1", "UCUM", "no units")
"""CID 7181."""
COMMENT = Code("121106", "DCM", "Comment")
OF_INTEREST = Code("113000", "DCM", "Of Interest")
"""CID 7010, the titles of key object selections."""
DEVICE = Code("121007", "DCM", "Device")
"""CID 270, the types of observers."""
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
"""CID 7202."""
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
"""CID 7021."""

_HEAD_CT = Code("24725-4", "LN", "Head CT")
_HEAD_MR = Code("24590-2", "LN", "Brain MRI")
_IMAGING = Code("363679005", "SCT", "Imaging procedure")
_HEAD_WORDS = {"HEAD", "BRAIN", "SKULL"}

PRIVATE_SCHEME = "99SLICEWISE"
_LONGEST_MEANING = 64
"""Characters of a Code Meaning, and of any other LO, DICOM PS3.5 6.2."""


def plain(text: str, longest: int = _LONGEST_MEANING) -> str:
    r"""Returns a text of one's own that fits any Specific Character Set and value representation.

    The character set of an object is that of the patient's name, so no other text may go beyond ASCII. A backslash
    would part the text into two values.

    >>> plain("größer\\kleiner", 7)
    'gr??er/'
    """
    kept = "".join(letter if letter.isprintable() else " " for letter in text.replace("\\", "/"))
    return kept.encode("ascii", "replace").decode("ascii")[:longest].strip() or "unnamed"


def coded(code: TaskCode) -> Code:
    """Returns a code of a task as pydicom has it."""
    return Code(plain(code.value), plain(code.scheme, 16), plain(code.meaning))


def as_task_code(code: Code) -> TaskCode:
    """Returns a code of this module as tasks have theirs."""
    return TaskCode(code.scheme_designator, code.value, code.meaning)


def procedure(task: Task) -> Code:
    """Returns the procedure that a report is about, CID 100: head CT or MRI where the task reads those."""
    if not _HEAD_WORDS.intersection(task.series.body_parts):
        return _IMAGING
    return {"CT": _HEAD_CT, "MR": _HEAD_MR}.get(task.series.modality, _IMAGING)


def label_of(task: Task, name: str) -> Label:
    """Returns a label of a task by its name."""
    return next(label for label in task.labels if label.name == name)


def private_schemes(task: Task) -> list[CodingSchemeIdentificationItem] | None:
    """Returns what the private schemes of a task are, DICOM PS3.3 C.12.1.1.3; None if it has none of ours."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    used = {code.scheme for label in task.labels for code in (label.finding, label.site) if code is not None}
    if PRIVATE_SCHEME not in used:
        return None
    return [
        CodingSchemeIdentificationItem(
            PRIVATE_SCHEME,
            name="Findings that slicewise found no public code for",
            responsible_organization="The slicewise authors",
        )
    ]
