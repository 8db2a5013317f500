"""Plants identity in every place of a scan that could leak into an output, so that tests can look for it there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage

from dicom_files import make_dataset, write_dataset, write_series

MARK = "Qz7Geheim"
"""Part of every planted text, plain ASCII: it stays the same however a text is decoded."""

MALFORMED_SLICES = 13
"""Slices of the series of `plant_malformed`; five of them cannot be read."""

BIRTH_DATE = "19010203"

NAMES = {
    "ISO_IR 192": "Müller-Łoś^Zoë",
    "GB18030": "王^小东",
    "ISO_IR 144": "Щукин^Илья",
    "ISO_IR 100": "Buc^Jérôme",
    "ISO 2022 IR 87": "山田^太郎",
    "ISO_IR 9999": "Nobody^Knows",
}
"""Names by Specific Character Set, (0008,0005); the last one does not exist."""


def identity(charset: str) -> dict[str, Any]:
    """Returns elements by keyword that name a patient, and none of the ids that outputs may hold."""
    name = f"{MARK}^{NAMES[charset]}"
    return {
        "SpecificCharacterSet": ["", charset] if charset.startswith("ISO 2022") else charset,
        "PatientName": name,
        "PatientBirthDate": BIRTH_DATE,
        "OtherPatientIDs": f"{MARK}-other",
        "PatientAddress": name,
        "PatientComments": name,
        "AccessionNumber": f"{MARK}-acc",
        "InstitutionName": name,
        "ReferringPhysicianName": name,
        "PerformingPhysicianName": name,
        "OperatorsName": name,
        "StudyID": f"{MARK}-id",
        "StudyDescription": name,
        "StationName": f"{MARK}-st",
        "ImageComments": name,
    }


def plant_malformed(folder: Path, charset: str) -> int:
    """Writes a series of which some slices cannot be read, and other files that cannot, each for another reason.

    Returns:
        Number of files that cannot be read.
    """
    tags = identity(charset)
    too_short, cut, no_preamble, position, slope, *_ = write_series(
        folder / "bad", slices=MALFORMED_SLICES, patient_id="bad", **tags
    )
    content = too_short.read_bytes()
    start = content.index(MARK.encode())
    cut.write_bytes(content[: start + 4])  # ends within the name of the patient
    no_preamble.write_bytes(content[132 : start + 40])
    # The length of the name ends within it, so that the rest is taken for an element.
    too_short.write_bytes(content[: start - 2] + b"\x02\x00" + content[start:])
    for path, element in ((position, b"\x20\x00\x32\x00DS"), (slope, b"\x28\x00\x53\x10DS")):
        stored = path.read_bytes()
        place = stored.index(element) + 8
        path.write_bytes(stored[:place] + MARK.encode()[:1] + stored[place + 1 :])
    missing = make_dataset(SeriesInstanceUID=None, **tags)
    write_dataset(folder / "bad" / "no_series", missing)
    report = make_dataset(PixelData=None, Rows=None, Columns=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", **tags)
    write_dataset(folder / "bad" / "report", report)
    blank = make_dataset(PixelData=None, SOPClassUID=CTImageStorage, **tags)
    write_dataset(folder / "bad" / "blank", blank)
    (folder / "bad" / "letter").write_text(f"Dear {tags['PatientName']}", encoding="utf-8")
    return 9


def traces(text: str, charset: str) -> list[str]:
    """Returns what of the planted identity stands in a text; pictures, whose letters are random, do not count."""
    searched = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]*", "", text).lower()
    return [part for part in (MARK, BIRTH_DATE, *NAMES[charset].split("^")) if part.lower() in searched]
