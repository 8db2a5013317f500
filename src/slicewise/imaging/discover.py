"""Finds the images in files, folders and archives: a header for every usable one, a reason for every other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from pydicom.uid import UID

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import DicomFile, is_compressed, matrix_problem, read_dicom
from slicewise.imaging.dicomdir import missing_files
from slicewise.imaging.elements import LONGEST_SHOWN, Elements
from slicewise.imaging.header import PixelDescription, SliceHeader
from slicewise.imaging.multiframe import (
    PER_FRAME,
    SHARED,
    frame_headers,
    functional_groups_problem,
    usable_spacing,
)
from slicewise.imaging.nifti import is_nifti, read_nifti_headers
from slicewise.imaging.parts import is_capture
from slicewise.imaging.pixels import MODALITY_LUT, describe_pixels
from slicewise.imaging.quick_header import Wanted
from slicewise.imaging.silence import silent_pydicom
from slicewise.imaging.walk import check_inputs, walk
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection, RejectionKind
from slicewise.source import Source
from slicewise.volume import Orientation

_AGENTS = "ContrastBolusAgentSequence"

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
    (MODALITY_LUT, _AGENTS, SHARED, PER_FRAME),
)
"""All that is ever read of a header."""

_REQUIRED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")

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
    problem = _unusable(header, header.pixels, content.elements) or _undivided(header, content.elements, modality)
    if problem is not None:
        yield problem
    elif header.pixels.frames == 1 and not content.elements.items(PER_FRAME):
        yield header
    else:
        yield from frame_headers(content.elements, header)


def _problem(source: Source, content: DicomFile) -> Rejection | None:
    """Returns why the file is no whole image, None if it is one; the first reason that applies."""
    series_uid = content.elements.text("SeriesInstanceUID")
    if content.is_directory:
        message = "is an index of other files, which are read themselves"
        return _rejection(source, series_uid, "dicomdir", message, "not_chosen")
    kind_of_object = _object(content)
    if kind_of_object:
        return _rejection(source, series_uid, "not_an_image", f"is no image but {kind_of_object}", "not_chosen")
    if content.is_truncated:
        return _rejection(source, series_uid, "truncated", "ends early: copy the file again")
    missing = [keyword for keyword in _REQUIRED if not content.elements.states(keyword)]
    if missing:
        return _rejection(source, series_uid, "missing_tag", f"has no {', '.join(missing)}, which every image needs")
    if content.pixel_keyword is None:
        return _rejection(source, series_uid, "no_pixel_data", "is an image without pixel data")
    return None


def _object(content: DicomFile) -> str:
    """Returns what an object is that is to have no pixels, as a report; "" for an image."""
    if content.pixel_keyword is not None:
        return ""
    sop_class = content.elements.text("SOPClassUID")
    name = UID(sop_class).name
    if "Storage" in name:
        return "" if "Image" in name else f"an object of {name}"
    # As raw data or presentation states of a manufacturer.
    is_object = sop_class and not content.is_truncated and not content.elements.states("Rows")
    return "an object of a class that is not in the standard" if is_object else ""


def _unusable(header: SliceHeader, pixels: PixelDescription, elements: Elements) -> Rejection | None:
    problem = matrix_problem(header.rows, header.columns)
    if problem:
        return _rejection(header.source, header.series_uid, "bad_matrix", problem)
    expected = _expected_bytes(header, pixels)
    if pixels.length is not None and pixels.length < expected and not is_compressed(pixels.transfer_syntax):
        size = f"{header.rows} x {header.columns} pixels"
        size = size if pixels.frames == 1 else f"{pixels.frames} frames of {size}"
        message = f"has {pixels.length} bytes of pixel data; {size} need {expected}"
        return _rejection(header.source, header.series_uid, "truncated", message)
    if pixels.lut is None and elements.items(MODALITY_LUT):
        message = "its Modality LUT Sequence (0028,3000) holds no whole table"
        return _rejection(header.source, header.series_uid, "bad_rescale", message)
    return None


def _expected_bytes(header: SliceHeader, pixels: PixelDescription) -> int:
    samples = 2 if pixels.photometric == _SUBSAMPLED else pixels.samples
    return pixels.frames * header.rows * header.columns * samples * (pixels.bits_allocated or 16) // 8


def _undivided(header: SliceHeader, elements: Elements, modality: str) -> Rejection | None:
    """Rejects an image whose frames have no place each; none is missed of one that would not be read anyway."""
    assert header.pixels is not None
    problem = functional_groups_problem(elements, header.pixels.frames)
    if not problem:
        return None
    if is_capture(header):
        message = "holds screen captures (SOP class Secondary Capture), not a scan"
        return _rejection(header.source, header.series_uid, "secondary_capture", message, "not_chosen")
    if header.modality and header.modality != modality:
        message = f"its modality is {header.modality}, and the task reads {modality}"
        return _rejection(header.source, header.series_uid, "wrong_modality", message, "not_chosen")
    return _rejection(header.source, header.series_uid, "multiframe", problem)


def _rejection(
    source: Source, series_uid: str, reason: str, message: str, kind: RejectionKind = "unreadable"
) -> Rejection:
    return Rejection(source.file, kind, reason, f"{source.file}: {message}.", series_uid)


def _header(source: Source, content: DicomFile) -> SliceHeader:
    elements = content.elements
    return SliceHeader(
        source=source,
        frame=1,
        pixels=describe_pixels(content),
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
