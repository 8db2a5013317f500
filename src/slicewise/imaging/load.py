"""Series -> Volume: checks that its slices form a stack, orders and decodes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.uid import DeflatedExplicitVRLittleEndian

from slicewise.errors import GeometryError, UnreadableFileError
from slicewise.imaging.decode import decode_file
from slicewise.imaging.discover import read_headers
from slicewise.imaging.elements import LONGEST_SHOWN
from slicewise.imaging.geometry import FARTHEST_MM, AxialGeometry, order_slices
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.hounsfield import DecodedSlice
from slicewise.imaging.nifti import decode_nifti
from slicewise.imaging.series import Series, series_warnings
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.volume import FloatImages, ScanWarning, SliceReference, Volume

_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacing within a series."""

_PIXEL_SPACING_MM = (0.05, 10.0)
"""Pixel spacing of any scanner lies well within."""

_LARGEST_BYTES = 4 * 1024**3
"""Memory of the largest volume that is read, as float32: 4096 slices of 512 x 512 pixels."""

_FRAMES_A_JOB = 16
"""Frames of one file that a thread decodes in a row, where each can be read by itself."""


@dataclass(frozen=True, eq=False)
class Stack:
    """The headers of a series that form a stack.

    Attributes:
        headers: From feet to head.
        geometry: Positions, tilt, duplicates; `order` refers to the headers that have a position, as found.
        pixel_spacing_mm: Distance between rows and between columns.
        rejected: Slices without a usable position.
    """

    headers: tuple[SliceHeader, ...]
    geometry: AxialGeometry
    pixel_spacing_mm: tuple[float, float]
    rejected: tuple[Rejection, ...]


def stack_headers(series: Series) -> Stack:
    """Orders the slices of a series and checks that they form a stack; reads no pixels.

    Raises:
        GeometryError: If they do not; `reason` is a code of `REASONS`.
    """
    problems = [_position_problem(item) for item in series.headers]
    placed = [item for item, problem in zip(series.headers, problems, strict=True) if problem is None]
    rejected = tuple(problem for problem in problems if problem is not None)
    if not placed:
        raise GeometryError(
            "No slice states a usable Image Position (0020,0032) and Image Orientation (0020,0037), so the slices "
            "cannot be ordered. Export the series again with its geometry.",
            reason=rejected[0].reason,
        )
    _refuse_mixed(placed, "mixed_patients", "Patient ID (0010,0020)", [item.patient_id for item in placed])
    _refuse_mixed(
        placed, "mixed_matrix", "Rows x Columns (0028,0010)", [f"{item.rows} x {item.columns}" for item in placed]
    )
    _refuse_too_large(placed)
    spacing = _pixel_spacing(placed)
    geometry = _geometry(placed)
    return Stack(
        headers=tuple(placed[index] for index in geometry.order),
        geometry=geometry,
        pixel_spacing_mm=spacing,
        rejected=rejected,
    )


def load_volume(series: Series, workers: int = 2) -> tuple[Volume, tuple[Rejection, ...]]:
    """Decodes a series.

    Slices that cannot be decoded or have no position are left out: each gives a rejection, and the volume a warning
    (slices_missing). Of files that hold the same image one is read.

    Args:
        series: The series.
        workers: Threads that decode.

    Returns:
        The volume from feet to head, and the files that are not in it.

    Raises:
        GeometryError: If the slices do not form a stack.
        UnreadableFileError: If not one slice can be decoded.
    """
    stack = stack_headers(series)
    first = stack.headers[0]
    values = np.empty((len(stack.headers), first.rows, first.columns), dtype=np.float32)
    decoded = _decode_into(values, stack.headers, workers)
    problems = [outcome for outcome in decoded if isinstance(outcome, Rejection)]
    if len(problems) == len(decoded):
        raise UnreadableFileError(
            f"None of the {len(decoded)} slices can be decoded. The first: {problems[0].message}",
            reason=problems[0].reason,
        )
    repeated = _repeated_files(values, stack.headers, decoded)
    keep = [
        index for index, outcome in enumerate(decoded) if not isinstance(outcome, Rejection) and index not in repeated
    ]
    headers, geometry = stack.headers, stack.geometry
    if len(keep) < len(decoded):
        headers = tuple(headers[index] for index in keep)
        geometry = _geometry(headers)
        headers = tuple(headers[index] for index in geometry.order)
        values = values[np.asarray(keep)[geometry.order]]
    rejected = (*stack.rejected, *problems, *repeated.values())
    missing = [item for item in rejected if item.kind == "unreadable"]
    warnings = (
        *series_warnings(series),
        *geometry.warnings,
        *_distinct_warnings(decoded),
        *_missing_warning([*series.unreadable, *missing]),
    )
    volume = Volume(
        values=values,
        positions_mm=geometry.positions_mm,
        pixel_spacing_mm=stack.pixel_spacing_mm,
        tilt_degrees=geometry.tilt_degrees,
        duplicate_rank=geometry.duplicate_rank,
        slices=_references(headers),
        patient_id=series.patient_id,
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        modality=series.modality,
        orientation=geometry.orientation,
        warnings=warnings,
    )
    return volume, rejected


def load_slice(source: Source, frame: int, modality: str) -> tuple[SliceHeader, DecodedSlice]:
    """Reads one slice of a file again.

    Args:
        source: The file.
        frame: The slice, from 1.
        modality: What a NIfTI file holds, which states none.

    Raises:
        UnreadableFileError: If the file has no such frame, or no usable pixels.
    """
    found = list(read_headers(source, modality))
    header = next((item for item in found if isinstance(item, SliceHeader) and item.frame == frame), None)
    if header is None:
        problem = next((item for item in found if isinstance(item, Rejection)), None)
        message = f"{source.file}: has no frame {frame} any more." if problem is None else problem.message
        raise UnreadableFileError(message, reason="undecodable" if problem is None else problem.reason)
    image = next(_decode([header]))
    if isinstance(image, UnreadableFileError):
        raise image
    return header, image


def _references(headers: Sequence[SliceHeader]) -> tuple[SliceReference, ...]:
    return tuple(
        SliceReference(item.sop_uid, item.frame, item.file, index if item.slice_index is None else item.slice_index)
        for index, item in enumerate(headers)
    )


def _geometry(headers: Sequence[SliceHeader]) -> AxialGeometry:
    return order_slices(
        np.array([item.image_position for item in headers], dtype=np.float64),
        np.array([item.image_orientation for item in headers], dtype=np.float64),
        [item.instance_number for item in headers],
        [f"{item.sop_uid} {item.frame:09d}" for item in headers],  # the frames of one file share their UID
    )


def _refuse_mixed(headers: Sequence[SliceHeader], reason: str, what: str, values: Sequence[str]) -> None:
    counts = Counter(values)
    if len(counts) == 1:
        return
    found = ", ".join(f"'{value[:LONGEST_SHOWN]}' in {count} slices" for value, count in counts.most_common(3))
    odd = next(item.file for item, value in zip(headers, values, strict=True) if value == counts.most_common()[-1][0])
    raise GeometryError(
        f"The slices differ in {what}: {found}, as {odd}. Expected one value a series; split the series.",
        reason=reason,
    )


def _pixel_spacing(headers: Sequence[SliceHeader]) -> tuple[float, float]:
    known = [item.pixel_spacing_mm for item in headers if item.pixel_spacing_mm is not None]
    if len(known) < len(headers):
        raise GeometryError(
            f"{len(headers) - len(known)} of {len(headers)} slices state no usable Pixel Spacing (0028,0030), so the "
            "size of the head is unknown. Export the series again with its geometry.",
            reason="no_pixel_spacing",
        )
    table = np.array(known)
    low, high = table.min(axis=0), table.max(axis=0)
    smallest, largest = _PIXEL_SPACING_MM
    if low.min() < smallest or high.max() > largest:
        raise GeometryError(
            f"Pixel Spacing (0028,0030) is {low[0]:g} x {low[1]:g} to {high[0]:g} x {high[1]:g} mm; expected "
            f"{smallest:g} to {largest:g} mm. Export the series again with its geometry.",
            reason="bad_spacing",
        )
    if np.any(high - low > _SPACING_TOLERANCE * low):
        raise GeometryError(
            f"The slices differ in Pixel Spacing (0028,0030): from {low[0]:g} x {low[1]:g} to {high[0]:g} x "
            f"{high[1]:g} mm. Expected one value a series; split the series.",
            reason="mixed_spacing",
        )
    rows, columns = np.median(table, axis=0).tolist()
    return rows, columns


def _refuse_too_large(headers: Sequence[SliceHeader]) -> None:
    """Refuses a series before memory is taken for it; its slices have one matrix."""
    first = headers[0]
    size = len(headers) * first.rows * first.columns * np.dtype(np.float32).itemsize
    if size <= _LARGEST_BYTES:
        return
    raise GeometryError(
        f"{len(headers)} slices of {first.rows} x {first.columns} pixels need {size / 1024**3:.1f} GiB of memory; "
        f"expected up to {_LARGEST_BYTES / 1024**3:g}. Split the series.",
        reason="too_large",
    )


def _position_problem(header: SliceHeader) -> Rejection | None:
    """Returns why a slice has no place in the stack, None if it has."""
    if header.image_position is None or header.image_orientation is None:
        reason, problem = "no_position", "has no usable Image Position (0020,0032) or Image Orientation (0020,0037)"
    elif max(map(abs, header.image_position)) > FARTHEST_MM:
        reason, problem = "bad_position", f"its Image Position (0020,0032) lies beyond {FARTHEST_MM / 1000:g} m"
    else:
        return None
    return Rejection(header.file, "unreadable", reason, f"{header.file}: {problem}.", header.series_uid)


def _decode_into(
    values: FloatImages, headers: Sequence[SliceHeader], workers: int
) -> list[Rejection | tuple[ScanWarning, ...]]:
    """Decodes every slice to its place in `values`; returns for each its warnings, or why it is not there."""
    outcomes: list[Rejection | tuple[ScanWarning, ...]] = [()] * len(headers)

    def run(job: Sequence[int]) -> None:
        for index, image in zip(job, _decode([headers[index] for index in job]), strict=True):
            outcomes[index] = _place(values, index, headers[index], image)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        list(pool.map(run, _jobs(headers)))
    return outcomes


def _jobs(headers: Sequence[SliceHeader]) -> list[list[int]]:
    """Groups slices by what is opened once: every file, but multi-frame images in chunks of their frames."""
    by_file: dict[Source, list[int]] = {}
    for index, header in enumerate(headers):
        by_file.setdefault(header.source, []).append(index)
    jobs = []
    for indices in by_file.values():
        length = _FRAMES_A_JOB if _has_random_access(headers[indices[0]]) else len(indices)
        jobs += [indices[start : start + length] for start in range(0, len(indices), length)]
    return jobs


def _has_random_access(header: SliceHeader) -> bool:
    """True if a frame of a file can be read without unpacking all of it."""
    return (
        header.source.entry < 0
        and header.pixels is not None
        and header.pixels.transfer_syntax != DeflatedExplicitVRLittleEndian
    )


def _decode(headers: Sequence[SliceHeader]) -> Iterator[DecodedSlice | UnreadableFileError]:
    """Decodes slices of one file."""
    if headers[0].pixels is not None:
        yield from decode_file(headers)
        return
    try:
        for image in decode_nifti(headers[0].source, headers):
            yield image if isinstance(image, UnreadableFileError) else DecodedSlice(image, ())
    except UnreadableFileError as error:
        yield from [error] * len(headers)


def _place(
    values: FloatImages, index: int, header: SliceHeader, image: DecodedSlice | UnreadableFileError
) -> Rejection | tuple[ScanWarning, ...]:
    if isinstance(image, UnreadableFileError):
        return Rejection(header.file, "unreadable", image.reason, str(image), header.series_uid)
    if image.values.shape != values.shape[1:]:  # NumPy would repeat a single row or column
        message = f"{header.file}: was changed while the series was read. Run again."
        return Rejection(header.file, "unreadable", "undecodable", message, header.series_uid)
    values[index] = image.values
    return image.warnings


def _repeated_files(
    values: FloatImages, headers: Sequence[SliceHeader], decoded: Sequence[Rejection | tuple[ScanWarning, ...]]
) -> dict[int, Rejection]:
    """Returns the slices whose SOP Instance UID an earlier file has: results are keyed by it, so one is read."""
    repeated: dict[int, Rejection] = {}
    first: dict[tuple[str, int], int] = {}
    by_file = sorted(range(len(headers)), key=lambda index: headers[index].file)
    for index in by_file:
        if isinstance(decoded[index], Rejection):
            continue
        header = headers[index]
        other = first.setdefault((header.sop_uid, header.frame), index)
        if other == index:
            continue
        same = _equal(values[index], values[other]) and header.image_position == headers[other].image_position
        what = "the same image" if same else "another image with the same SOP Instance UID (0008,0018)"
        repeated[index] = Rejection(
            path=header.file,
            kind="not_chosen" if same else "unreadable",
            reason="duplicate_file" if same else "conflicting_sop_uid",
            message=f"{header.file}: {headers[other].file} holds {what}; that one was read.",
            series_uid=header.series_uid,
        )
    return repeated


def _equal(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    return bool(np.array_equal(one, other))


def _distinct_warnings(decoded: Sequence[Rejection | tuple[ScanWarning, ...]]) -> tuple[ScanWarning, ...]:
    found = dict.fromkeys(item for outcome in decoded if isinstance(outcome, tuple) for item in outcome)
    return tuple(found)


def _missing_warning(missing: Sequence[Rejection]) -> tuple[ScanWarning, ...]:
    if not missing:
        return ()
    reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(item.reason for item in missing).items())
    return (ScanWarning("slices_missing", f"{len(missing)} slices of the series could not be read ({reasons})."),)
