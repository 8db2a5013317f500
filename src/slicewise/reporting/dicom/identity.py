"""Who and which study an object is about, copied byte by byte from the images."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from slicewise.errors import InputError

IDENTITY_KEYWORDS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
)
"""Texts of the Patient and General Study modules, DICOM PS3.3 C.7.1.1 and C.7.2.1."""

IDENTITY_SEQUENCES = ("IssuerOfAccessionNumberSequence", "IssuerOfPatientIDQualifiersSequence")
"""Who issued the numbers, likewise."""

_OPTIONAL = ("IssuerOfPatientID", *IDENTITY_SEQUENCES)
"""Type 3: left out where the images do not state it. All others are type 2: empty."""


@dataclass(frozen=True, eq=False)
class Identity:
    """The identity that the files of a study agree on.

    Attributes:
        character_sets: Specific Character Set, (0008,0005), that the texts are encoded in.
        stored: Value of every stated text as it stands in the file, without its padding, by keyword.
        shown: Every text, decoded, by keyword; "" for what is not stated.
        sequences: The stated sequences, by keyword.
    """

    character_sets: tuple[str, ...]
    stored: dict[str, bytes]
    shown: dict[str, str]
    sequences: dict[str, DataElement]

    def apply(self, dataset: Dataset) -> None:
        """Gives an object this identity in place of its own; must be called within `silent_pydicom`.

        The values are written as they were stored: neither decoded nor corrected, so that an archive finds the patient
        that it already has. Nothing else in the object may hold a text beyond ASCII.
        """
        del_present(dataset, "SpecificCharacterSet", *IDENTITY_KEYWORDS, *IDENTITY_SEQUENCES)
        if self.character_sets:
            dataset.SpecificCharacterSet = list(self.character_sets)
        for keyword in IDENTITY_KEYWORDS:
            if keyword in self.stored or keyword not in _OPTIONAL:
                dataset[_tag(keyword)] = _raw(keyword, self.stored.get(keyword, b""))
        for keyword, element in self.sequences.items():
            dataset[_tag(keyword)] = copy.deepcopy(element)
        # Tells pydicom that the stored values are in the encoding that they are about to be written in.
        dataset.set_original_encoding(
            is_implicit_vr=False,
            is_little_endian=True,
            character_encoding=_encodings(self.character_sets),
        )

    def differences(self, other: Identity) -> tuple[str, ...]:
        """Returns the keywords whose values differ; texts are compared decoded."""
        texts = [keyword for keyword in IDENTITY_KEYWORDS if self.shown[keyword] != other.shown[keyword]]
        sequences = [
            keyword
            for keyword in IDENTITY_SEQUENCES
            if str(self.sequences.get(keyword)) != str(other.sequences.get(keyword))
        ]
        return (*texts, *sequences)


def read_identity(dataset: Dataset, file: str) -> Identity:
    """Returns the identity that one file states; must be called within `silent_pydicom`.

    Args:
        dataset: Its elements, not yet converted.
        file: The file, to show.

    Raises:
        InputError: If its Specific Character Set is none of DICOM PS3.3 C.12.1.1.2 (reason character_set).
    """
    character_sets = _character_sets(dataset, file)
    stored = {keyword: value for keyword in IDENTITY_KEYWORDS if (value := _stored(dataset, keyword))}
    shown = {keyword: _decoded(stored.get(keyword, b""), character_sets) for keyword in IDENTITY_KEYWORDS}
    sequences = {keyword: dataset[keyword] for keyword in IDENTITY_SEQUENCES if dataset.get(keyword)}
    return Identity(character_sets, stored, shown, sequences)


def tag_name(keyword: str) -> str:
    """Returns keyword and tag of an element, for messages."""
    tag = _tag(keyword)
    return f"{keyword_for_tag(tag)} ({tag.group:04X},{tag.element:04X})"


def del_present(dataset: Dataset, *keywords: str) -> None:
    """Removes elements where they are present."""
    for keyword in keywords:
        if keyword in dataset:
            delattr(dataset, keyword)


def _tag(keyword: str) -> BaseTag:
    number = tag_for_keyword(keyword)
    assert number is not None
    return Tag(number)


def _raw(keyword: str, value: bytes) -> RawDataElement:
    padded = value + b" " * (len(value) % 2)
    tag = _tag(keyword)
    # The VR of the dictionary: files with implicit VR state none, and some state UN.
    return RawDataElement(
        tag=tag,
        VR=dictionary_VR(tag),
        length=len(padded),
        value=padded,
        value_tell=0,
        is_implicit_VR=False,
        is_little_endian=True,
    )


def _stored(dataset: Dataset, keyword: str) -> bytes:
    element = dataset.get_item(keyword) if keyword in dataset else None
    if element is None or not isinstance(element.value, bytes):
        return b""
    return element.value.rstrip(b" \0")


def _decoded(value: bytes, character_sets: tuple[str, ...]) -> str:
    return decode_bytes(value, _encodings(character_sets), PN_DELIMS | TEXT_VR_DELIMS).strip(" \0")


def _encodings(character_sets: tuple[str, ...]) -> list[str]:
    return convert_encodings(list(character_sets) or None)


def _character_sets(dataset: Dataset, file: str) -> tuple[str, ...]:
    value = dataset.get("SpecificCharacterSet")
    if not value:
        return ()
    terms = (value,) if isinstance(value, str) else tuple(str(item) for item in value)
    unknown = [term for term in terms if term not in python_encoding]
    if unknown:
        raise InputError(
            f"{file}: {tag_name('SpecificCharacterSet')} is '{unknown[0][:16]}', which DICOM PS3.3 C.12.1.1.2 does not "
            "define, so the name of the patient cannot be copied with its meaning. Export the study again.",
            reason="character_set",
        )
    return terms
