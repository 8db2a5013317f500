"""Finds the images in files and folders: a header for every usable one, a reason for every other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydicom.uid import UID

from slicewise.errors import UnreadableFileError, UsageError
from slicewise.imaging.dicom import DicomFile, displayed, matrix_problem, read_dicom, silent_pydicom
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection, RejectionKind
from slicewise.volume import Orientation

_KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "PatientID",
    "SliceThickness",
    "ConvolutionKernel",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
)
_REQUIRED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class SliceHeader:
    """What the header of one image says. Absent texts are empty; absent or malformed numbers are None.

    Attributes:
        path: The file itself, to open it.
        file: To show and to write: path relative to the input (the folder of an input that is a file), with forward
            slashes, as `displayed` returns it.
        patient_id: Patient ID, (0010,0020).
        study_uid: Study Instance UID, (0020,000D).
        series_uid: Series Instance UID, (0020,000E).
        sop_uid: SOP Instance UID, (0008,0018).
        frame: Frame number within the instance, from 1; 1 for a single-frame image.
        modality: Modality, (0008,0060).
        sop_class_uid: SOP Class UID, (0008,0016).
        image_type: Image Type, (0008,0008).
        rows: Rows, (0028,0010).
        columns: Columns, (0028,0011).
        series_number: Series Number, (0020,0011).
        instance_number: Instance Number, (0020,0013).
        series_description: Series Description, (0008,103E).
        convolution_kernel: Convolution Kernel, (0018,1210).
        slice_thickness_mm: Slice Thickness, (0018,0050).
        image_position: Image Position (Patient) in mm, (0020,0032).
        image_orientation: Image Orientation (Patient), (0020,0037): direction of a row, then of a column.
        pixel_spacing_mm: Pixel Spacing, (0028,0030): distance between rows, then between columns.
    """

    path: Path
    file: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    frame: int
    modality: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    series_number: int | None
    instance_number: int | None
    series_description: str
    convolution_kernel: str
    slice_thickness_mm: float | None
    image_position: tuple[float, float, float] | None
    image_orientation: Orientation | None
    pixel_spacing_mm: tuple[float, float] | None


@dataclass(frozen=True)
class _Found:
    """A path under an input, and how it is shown; `problem` says why it cannot be read or listed."""

    path: Path
    file: str
    problem: str = ""


def discover(inputs: Sequence[Path], progress: Progress = no_progress) -> Iterator[SliceHeader | Rejection]:
    """Reads the headers of all files under the inputs, in sorted order; pixels are not read.

    Args:
        inputs: Files and folders; folders are searched to any depth.
        progress: Reports the files.

    Yields:
        A header for every usable image; for every other file a rejection with a code of `REASONS`.

    Raises:
        UsageError: If an input does not exist, before anything is read.
    """
    for item in inputs:
        if not _exists(item):
            raise UsageError(f"{item}: there is no such file or folder, or it may not be read")
    files = [found for item in inputs for found in _files_under(item)]
    for found in progress(files, description="reading headers", total=len(files), unit="file"):
        yield _rejection(found.file, "unreadable_path", found.problem) if found.problem else _header(found)


def _exists(item: Path) -> bool:
    try:
        return item.exists()
    except OSError:
        return False


def _files_under(item: Path) -> Iterator[_Found]:
    if item.is_dir():
        yield from _walk(item, item, frozenset())
    else:
        yield _Found(item, displayed(item.name))


def _walk(source: Path, folder: Path, parents: frozenset[Path]) -> Iterator[_Found]:
    try:
        real = folder.resolve()
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except (OSError, RuntimeError) as error:  # Path.resolve raises RuntimeError for a loop of links
        yield _found(source, folder, f"cannot be listed ({getattr(error, 'strerror', None) or 'a loop of links'})")
        return
    if real in parents:  # a link to a folder above it
        yield _found(source, folder, "is a link to a folder that contains it, and is not followed")
        return
    for entry in ordered:
        path = folder / entry.name
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # as for a link to itself
            yield _found(source, path, f"cannot be followed ({error.strerror})")
            continue
        if is_folder:
            yield from _walk(source, path, parents | {real})
        else:
            # anything else than a regular file could block the reader, as a pipe does
            yield _found(source, path, "" if is_file else "is a broken link or not a regular file")


def _found(source: Path, path: Path, problem: str) -> _Found:
    return _Found(path, displayed(path.relative_to(source).as_posix()), problem)


def _header(found: _Found) -> SliceHeader | Rejection:
    with silent_pydicom():
        try:
            content = read_dicom(found.path, _KEYWORDS)
        except UnreadableFileError as error:
            return Rejection(found.file, "unreadable", error.reason, str(error))
        return _problem(found, content) or _slice_header(found, content)


def _problem(found: _Found, content: DicomFile) -> Rejection | None:
    """Returns why the file cannot be used, None if it can; the first reason that applies."""
    if content.is_directory:
        return _rejection(found.file, "dicomdir", "is an index of other files, which are read themselves", "not_chosen")
    sop_class = UID(content.text("SOPClassUID")).name
    if content.pixel_keyword is None and sop_class.endswith("Storage") and "Image" not in sop_class:
        return _rejection(found.file, "not_an_image", f"is no image but an object of {sop_class}", "not_chosen")
    if content.is_truncated:
        return _rejection(found.file, "truncated", "ends early: copy the file again")
    return _incomplete(found, content) or _too_few_bytes(found, content)


def _incomplete(found: _Found, content: DicomFile) -> Rejection | None:
    missing = [keyword for keyword in _REQUIRED if not content.text(keyword)]
    missing += [keyword for keyword in ("Rows", "Columns") if content.integer(keyword) is None]
    if missing:
        return _rejection(found.file, "missing_tag", f"has no {', '.join(missing)}, which every image needs")
    problem = matrix_problem(content.integer("Rows") or 0, content.integer("Columns") or 0)
    if problem:
        return _rejection(found.file, "bad_matrix", problem)
    if content.pixel_keyword is None:
        return _rejection(found.file, "no_pixel_data", "is an image without pixel data")
    if (content.integer("NumberOfFrames") or 1) > 1:
        return _rejection(found.file, "multiframe", "has several frames; expected one image a file")
    return None


def _too_few_bytes(found: _Found, content: DicomFile) -> Rejection | None:
    if content.pixel_bytes is None or content.is_compressed:
        return None
    rows, columns = content.integer("Rows") or 0, content.integer("Columns") or 0
    samples, bits = content.integer("SamplesPerPixel") or 1, content.integer("BitsAllocated") or 16
    expected = rows * columns * samples * bits // 8
    if content.pixel_bytes >= expected:
        return None
    message = f"has {content.pixel_bytes} bytes of pixel data; {rows} x {columns} pixels need {expected}"
    return _rejection(found.file, "truncated", message)


def _rejection(file: str, reason: str, message: str, kind: RejectionKind = "unreadable") -> Rejection:
    return Rejection(file, kind, reason, f"{file}: {message}.")


def _slice_header(found: _Found, content: DicomFile) -> SliceHeader:
    spacing = content.numbers("PixelSpacing", 2)
    return SliceHeader(
        path=found.path,
        file=found.file,
        patient_id=content.text("PatientID"),
        study_uid=content.text("StudyInstanceUID"),
        series_uid=content.text("SeriesInstanceUID"),
        sop_uid=content.text("SOPInstanceUID"),
        frame=1,
        modality=content.text("Modality"),
        sop_class_uid=content.text("SOPClassUID"),
        image_type=content.texts("ImageType"),
        rows=content.integer("Rows") or 0,
        columns=content.integer("Columns") or 0,
        series_number=content.integer("SeriesNumber"),
        instance_number=content.integer("InstanceNumber"),
        series_description=content.text("SeriesDescription"),
        convolution_kernel=content.text("ConvolutionKernel"),
        slice_thickness_mm=content.number("SliceThickness"),
        image_position=cast("tuple[float, float, float] | None", content.numbers("ImagePositionPatient", 3)),
        image_orientation=cast("Orientation | None", content.numbers("ImageOrientationPatient", 6)),
        pixel_spacing_mm=cast("tuple[float, float]", spacing) if spacing and min(spacing) > 0 else None,
    )
