"""The images that results were made of, read again: what objects refer to, and whose they are."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from slicewise.errors import InputError, UnreadableFileError
from slicewise.imaging.encoding import open_dataset
from slicewise.imaging.nifti import is_nifti
from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.identity import IDENTITY_KEYWORDS, IDENTITY_SEQUENCES, Identity, read_identity, tag_name
from slicewise.reporting.dicom.uids import is_valid_uid
from slicewise.results import StudyResult
from slicewise.source import Source

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_OTHERS = ("SpecificCharacterSet", "Modality", "NumberOfFrames", *_LOSSY, *_DATES)
_WANTED = [tag_for_keyword(keyword) or 0 for keyword in (*_UIDS, *_OTHERS, *IDENTITY_KEYWORDS, *IDENTITY_SEQUENCES)]
_LAST_WANTED = max(_WANTED)

_DATE = re.compile(r"[12][0-9]{7}")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")

UNKNOWN_DATE, UNKNOWN_TIME = "19000101", "000000"
"""Content Date and Time of objects about a study that states none: both are type 1."""


@dataclass(frozen=True)
class SourceInstance:
    """One image that results were made of.

    Attributes:
        sop_class_uid: SOP Class UID, (0008,0016).
        sop_uid: SOP Instance UID, (0008,0018).
        series_uid: Series Instance UID, (0020,000E).
        modality: Modality, (0008,0060).
        is_multiframe: It has several frames, so that references to it name one, DICOM PS3.3 Table 10-3.
        lossy: The elements that say that it was compressed with loss, by keyword; empty if it was not.
    """

    sop_class_uid: str
    sop_uid: str
    series_uid: str
    modality: str
    is_multiframe: bool
    lossy: dict[str, str]

    def frames(self, frame: int) -> list[int] | None:
        """Returns the frame numbers of a reference to one slice, None for a single-frame image."""
        return [frame] if self.is_multiframe else None


@dataclass(frozen=True, eq=False)
class SourceStudy:
    """The images of one study.

    Attributes:
        study_uid: Study Instance UID, (0020,000D).
        identity: What they agree on.
        instances: By SOP Instance UID, in the order of the results.
        date: Date of the study as DA; `UNKNOWN_DATE` if no valid one is stated.
        time: Its time as TM; `UNKNOWN_TIME` likewise.
    """

    study_uid: str
    identity: Identity
    instances: dict[str, SourceInstance]
    date: str
    time: str


def read_source_study(study: StudyResult) -> SourceStudy:
    """Reads the headers of all images that the results of a study were made of.

    Raises:
        InputError: If nothing may be said about the study in an archive: the results are anonymous (reason anonymous),
            the images are no DICOM (no_dicom), cannot be found (source_unknown) or read (a code of `imaging.reasons`),
            are not those of the results (source_changed), have UIDs that are none (invalid_uid), a name in an unknown
            encoding (character_set), or disagree on whose they are (identity_differs).
    """
    places = list(_sources(study))
    _check_uid("StudyInstanceUID", study.study_uid, "The study")
    instances: dict[str, SourceInstance] = {}
    first: tuple[str, Identity, Dataset] | None = None
    for series_uid, sop_uid, source in places:
        with silent_pydicom():
            dataset = _read(source)
            instances[sop_uid] = _instance(dataset, source.file, (sop_uid, study.study_uid, series_uid))
            identity = read_identity(dataset, source.file)
            if first is None:
                first = source.file, identity, dataset
            _check_same(first, (source.file, identity))
    if first is None:
        raise InputError("The results name no image. Predict the study again.", reason="source_unknown")
    with silent_pydicom():
        date, time = _moment(first[1], first[2])
    return SourceStudy(study.study_uid, first[1], instances, date, time)


def _sources(study: StudyResult) -> Iterator[tuple[str, str, Source]]:
    seen: set[str] = set()
    for series in study.series:
        for item in series.slices:
            if item.sop_uid in seen:
                continue
            seen.add(item.sop_uid)
            source = study.sources.get(item.sop_uid)
            if not item.file:
                raise InputError(
                    "The results are anonymous, and archives file results by the identity of the patient. Predict the "
                    "study again without --anonymous.",
                    reason="anonymous",
                )
            if source is None:
                raise InputError(
                    f"{item.file}: where it lies is not known. Predict the study again.",
                    reason="source_unknown",
                )
            if is_nifti(source.file):
                raise InputError(
                    f"{source.file}: is NIfTI, which names neither patient nor study. DICOM and FHIR results need "
                    "DICOM images.",
                    reason="no_dicom",
                )
            yield series.series_uid, item.sop_uid, source


def _read(source: Source) -> Dataset:
    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return int(tag) > _LAST_WANTED

    with source.open() as stream:
        try:
            return open_dataset(stream).parse(_WANTED, stop)
        except Exception as error:  # the parser of pydicom raises nearly anything on files that changed meanwhile
            raise UnreadableFileError(
                f"{source.file}: its header cannot be parsed any more ({type(error).__name__}). Predict the study "
                "again.",
                reason="malformed",
            ) from error


def _instance(dataset: Dataset, file: str, expected: tuple[str, str, str]) -> SourceInstance:
    found = {keyword: _text(dataset, keyword) for keyword in _UIDS}
    for keyword, wanted in zip(_UIDS[1:], expected, strict=True):
        if found[keyword] != wanted:
            raise InputError(
                f"{file}: its {tag_name(keyword)} is not that of the results: the file has changed since. Predict the "
                "study again.",
                reason="source_changed",
            )
    for keyword, value in found.items():
        _check_uid(keyword, value, file)
    frames = _text(dataset, "NumberOfFrames")
    lossy = {keyword: _text(dataset, keyword) for keyword in _LOSSY}
    return SourceInstance(
        sop_class_uid=found["SOPClassUID"],
        sop_uid=found["SOPInstanceUID"],
        series_uid=found["SeriesInstanceUID"],
        modality=_text(dataset, "Modality"),
        is_multiframe=frames.isdecimal() and int(frames) > 1,
        lossy={keyword: value for keyword, value in lossy.items() if value} if lossy[_LOSSY[0]] == "01" else {},
    )


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - converters of pydicom raise nearly anything on malformed values
        return ""
    if value is None:
        return ""
    values = [value] if isinstance(value, (str, int, float)) else list(value)
    return "\\".join(str(item).strip(" \0") for item in values)


def _check_uid(keyword: str, value: str, where: str) -> None:
    if not is_valid_uid(value):
        raise InputError(
            f"{where}: '{value[:64]}' as {tag_name(keyword)} is no UID; expected up to 64 digits and dots, DICOM PS3.5 "
            "section 9. Archives refuse such objects: give the images valid UIDs.",
            reason="invalid_uid",
        )


def _check_same(first: tuple[str, Identity, Dataset], other: tuple[str, Identity]) -> None:
    different = first[1].differences(other[1])
    if different:
        raise InputError(
            f"{other[0]}: {tag_name(different[0])} differs from that of {first[0]} in the same study, so whose results "
            "these are is not certain. Correct the images, or predict them apart.",
            reason="identity_differs",
        )


def _moment(identity: Identity, dataset: Dataset) -> tuple[str, str]:
    dates = [_text(dataset, keyword) for keyword in _DATES]
    date = next(filter(_is_date, dates), UNKNOWN_DATE)
    time = identity.shown["StudyTime"]
    return date, time if date == dates[0] and _TIME.fullmatch(time) else UNKNOWN_TIME


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
