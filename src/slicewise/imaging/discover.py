"""Finds the images in files, folders and archives: a header for every usable one, a reason for every other."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from pydicom.uid import UID, ExplicitVRBigEndian

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import DicomFile, matrix_problem, read_dicom
from slicewise.imaging.dicomdir import missing_files
from slicewise.imaging.elements import LONGEST_SHOWN, Elements
from slicewise.imaging.header import ModalityLut, PixelDescription, SliceHeader
from slicewise.imaging.multiframe import (
    PER_FRAME,
    SHARED,
    frame_headers,
    functional_groups_problem,
    usable_spacing,
)
from slicewise.imaging.nifti import is_nifti, read_nifti_headers
from slicewise.imaging.parts import is_capture
from slicewise.imaging.quick_header import Wanted
from slicewise.imaging.silence import silent_pydicom
from slicewise.imaging.walk import check_inputs, walk
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection, RejectionKind
from slicewise.source import Source
from slicewise.volume import Orientation

_LUT, _AGENTS = "ModalityLUTSequence", "ContrastBolusAgentSequence"

WANTED = Wanted(
    (
        "ImageType",
        "SOPClassUID",
        "SOPInstanceUID",
        "Modality",
        "SeriesDescription",
        "PatientID",
        "ContrastBolusAgent",
        "BodyPartExamined",
        "SliceThickness",
        "ConvolutionKernel",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "PixelSpacing",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleIntercept",
        "RescaleSlope",
    ),
    (_LUT, _AGENTS, SHARED, PER_FRAME),
)
"""All that is ever read of a header."""

_REQUIRED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

_SUBSAMPLED = "YBR_FULL_422"
"""Of two neighbouring pixels it stores two luminances and two colours, DICOM PS3.3 C.7.6.3.1.2."""


def discover(
    inputs: Sequence[Path], progress: Progress = no_progress, *, modality: str = "CT"
) -> Iterator[SliceHeader | Rejection]:
    """Reads the headers of all files under the inputs, in no particular order; pixels are not read.

    Args:
        inputs: DICOM and NIfTI files, folders of any depth, zip archives, DICOMDIRs.
        progress: Reports the files.
        modality: What the task reads, and NIfTI files hold, which state none.

    Yields:
        A header for every usable slice; for every file without one a rejection with a code of `REASONS`.

    Raises:
        UsageError: If an input does not exist, before anything is read.
    """
    check_inputs(inputs)
    total = sum(1 for _ in walk(inputs))
    for found in progress(walk(inputs), description="reading headers", total=total, unit="file"):
        if isinstance(found, Rejection):
            yield found
        else:
            yield from read_headers(found, modality)


def read_headers(source: Source, modality: str = "CT") -> Iterator[SliceHeader | Rejection]:
    """Reads the headers of one file, as `discover` does."""
    try:
        if is_nifti(source.file):
            yield from read_nifti_headers(source, modality)
        else:
            with silent_pydicom():
                found = tuple(_dicom_headers(source, read_dicom(source, WANTED), modality))
            yield from found
    except UnreadableFileError as error:
        yield Rejection(source.file, "unreadable", error.reason, str(error))


def _dicom_headers(source: Source, content: DicomFile, modality: str) -> Iterator[SliceHeader | Rejection]:
    problem = _problem(source, content)
    if problem is not None:
        yield problem
        if content.is_directory:
            yield from missing_files(source)
        return
    header = _header(source, content)
    assert header.pixels is not None
    frames = header.pixels.frames
    indistinct = functional_groups_problem(content.elements, frames)
    if indistinct:
        yield _undivided(source, content, header, modality, indistinct)
    elif frames == 1 and not content.elements.items(PER_FRAME):
        yield header
    else:
        yield from frame_headers(content.elements, header)


def _problem(source: Source, content: DicomFile) -> Rejection | None:
    """Returns why the file cannot be used, None if it can; the first reason that applies."""
    if content.is_directory:
        message = "is an index of other files, which are read themselves"
        return _rejection(source, content, "dicomdir", message, "not_chosen")
    kind_of_object = _object(content)
    if kind_of_object:
        message = f"is no image but {kind_of_object}"
        return _rejection(source, content, "not_an_image", message, "not_chosen")
    if content.is_truncated:
        return _rejection(source, content, "truncated", "ends early: copy the file again")
    return _incomplete(source, content) or _too_few_bytes(source, content) or _bad_lut(source, content)


def _object(content: DicomFile) -> str:
    """Returns what an object is that is to have no pixels, as a report; "" for an image."""
    sop_class = content.elements.text("SOPClassUID")
    if content.pixel_keyword is not None or not sop_class:
        return ""
    name = UID(sop_class).name
    if "Storage" in name:
        return "" if "Image" in name else f"an object of {name}"
    # As raw data or presentation states of a manufacturer.
    is_object = not content.is_truncated and not content.elements.states("Rows")
    return "an object of a class that is not in the standard" if is_object else ""


def _undivided(source: Source, content: DicomFile, header: SliceHeader, modality: str, indistinct: str) -> Rejection:
    """Rejects an image whose frames have no place each; none is missed of one that would not be read anyway."""
    if is_capture(header):
        message = "holds screen captures (SOP class Secondary Capture), not a scan"
        return _rejection(source, content, "secondary_capture", message, "not_chosen")
    if header.modality and header.modality != modality:
        message = f"its modality is {header.modality}, and the task reads {modality}"
        return _rejection(source, content, "wrong_modality", message, "not_chosen")
    return _rejection(source, content, "multiframe", indistinct)


def _incomplete(source: Source, content: DicomFile) -> Rejection | None:
    elements = content.elements
    missing = [keyword for keyword in _REQUIRED if not elements.text(keyword)]
    missing += [keyword for keyword in ("Rows", "Columns") if elements.integer(keyword) is None]
    if missing:
        return _rejection(source, content, "missing_tag", f"has no {', '.join(missing)}, which every image needs")
    problem = matrix_problem(elements.integer("Rows") or 0, elements.integer("Columns") or 0)
    if problem:
        return _rejection(source, content, "bad_matrix", problem)
    if content.pixel_keyword is None:
        return _rejection(source, content, "no_pixel_data", "is an image without pixel data")
    return None


def _too_few_bytes(source: Source, content: DicomFile) -> Rejection | None:
    if content.pixel_bytes is None or content.is_compressed:
        return None
    elements = content.elements
    rows, columns, frames = elements.integer("Rows") or 0, elements.integer("Columns") or 0, _frames(elements)
    samples, bits = elements.integer("SamplesPerPixel") or 1, elements.integer("BitsAllocated") or 16
    if elements.text("PhotometricInterpretation") == _SUBSAMPLED:
        samples = 2
    expected = frames * rows * columns * samples * bits // 8
    if content.pixel_bytes >= expected:
        return None
    size = f"{rows} x {columns} pixels" if frames == 1 else f"{frames} frames of {rows} x {columns} pixels"
    message = f"has {content.pixel_bytes} bytes of pixel data; {size} need {expected}"
    return _rejection(source, content, "truncated", message)


def _bad_lut(source: Source, content: DicomFile) -> Rejection | None:
    if not content.elements.items(_LUT) or _lut(content) is not None:
        return None
    message = "its Modality LUT Sequence (0028,3000) holds no whole table"
    return _rejection(source, content, "bad_rescale", message)


def _frames(elements: Elements) -> int:
    return max(elements.integer("NumberOfFrames") or 1, 1)


def _rejection(
    source: Source, content: DicomFile, reason: str, message: str, kind: RejectionKind = "unreadable"
) -> Rejection:
    series_uid = content.elements.text("SeriesInstanceUID")
    return Rejection(source.file, kind, reason, f"{source.file}: {message}.", series_uid)


def _header(source: Source, content: DicomFile) -> SliceHeader:
    elements = content.elements
    return SliceHeader(
        source=source,
        frame=1,
        pixels=_pixels(content),
        patient_id=elements.text("PatientID"),
        study_uid=elements.text("StudyInstanceUID"),
        series_uid=elements.text("SeriesInstanceUID"),
        sop_uid=elements.text("SOPInstanceUID"),
        modality=elements.text("Modality")[:LONGEST_SHOWN],
        sop_class_uid=elements.text("SOPClassUID"),
        image_type=elements.texts("ImageType"),
        rows=elements.integer("Rows") or 0,
        columns=elements.integer("Columns") or 0,
        series_number=elements.integer("SeriesNumber"),
        instance_number=elements.integer("InstanceNumber"),
        series_description=elements.text("SeriesDescription")[:LONGEST_SHOWN],
        convolution_kernel=elements.text("ConvolutionKernel"),
        slice_thickness_mm=elements.number("SliceThickness"),
        image_position=cast("tuple[float, float, float] | None", elements.numbers("ImagePositionPatient", 3)),
        image_orientation=cast("Orientation | None", elements.numbers("ImageOrientationPatient", 6)),
        pixel_spacing_mm=usable_spacing(elements.numbers("PixelSpacing", 2)),
        contrast_agent=_contrast_agent(elements),
        body_part=elements.text("BodyPartExamined"),
    )


def _contrast_agent(elements: Elements) -> str:
    """Returns the agent as text, or as enhanced images code it, DICOM PS3.3 C.8.15.2 and C.7.6.4b."""
    coded = (item.text("CodeMeaning") for item in elements.items(_AGENTS))
    return elements.text("ContrastBolusAgent") or next(coded, "")


def _pixels(content: DicomFile) -> PixelDescription:
    elements = content.elements
    assert content.pixel_keyword is not None  # `_problem` told otherwise
    first, last = elements.integer("PixelPaddingValue"), elements.integer("PixelPaddingRangeLimit")
    intercept, slope = (
        elements.number(keyword) if elements.states(keyword) else default
        for keyword, default in (("RescaleIntercept", 0.0), ("RescaleSlope", 1.0))
    )
    return PixelDescription(
        transfer_syntax=content.transfer_syntax,
        keyword=content.pixel_keyword,
        offset=content.pixel_offset,
        length=content.pixel_bytes,
        frames=_frames(elements),
        samples=elements.integer("SamplesPerPixel") or 1,
        photometric=elements.text("PhotometricInterpretation"),
        bits_allocated=elements.integer("BitsAllocated") or 0,
        bits_stored=elements.integer("BitsStored"),
        high_bit=elements.integer("HighBit"),
        signed=elements.integer("PixelRepresentation") == 1,
        padding=None if first is None else (first, first if last is None else last),
        states_intercept=elements.states("RescaleIntercept"),
        intercept=intercept,
        slope=slope,
        lut=_lut(content),
    )


def _lut(content: DicomFile) -> ModalityLut | None:
    """Returns the Modality LUT, DICOM PS3.3 C.11.1.1; None without one, or one that is no table."""
    for item in content.elements.items(_LUT)[:1]:
        descriptor = item.numbers("LUTDescriptor", 3)
        if descriptor is None or descriptor[0] < 0:
            return None
        count, first, _ = map(int, descriptor)
        count = count or 1 << 16
        values = _lut_values(item, count, content.transfer_syntax)
        if len(values) >= count:
            return ModalityLut(first, values[:count])
    return None


def _lut_values(item: Elements, count: int, transfer_syntax: str) -> tuple[int, ...]:
    values = item.values("LUTData")
    if not values or not isinstance(values[0], bytes):
        return values if all(isinstance(value, int) for value in values) else ()
    stored, is_big_endian = values[0], transfer_syntax == ExplicitVRBigEndian  # words, which pydicom leaves as they are
    if len(stored) < 2 * count:  # entries of one byte, two a word
        return () if is_big_endian else tuple(stored)
    return struct.unpack(f"{'>' if is_big_endian else '<'}{count}H", stored[: 2 * count])
