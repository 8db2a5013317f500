"""NIfTI -> headers and slices, as if every slice were an image of its own.

NIfTI states no modality, no patient and no UIDs: the file name stands for the series. The slices are those of one
stored axis, see `read_nifti_headers`; `slice_index` counts along it from 0, in the order in which the file stores
them. It is the third axis of nearly every file; where it is another, the choice of series warns (slice_axis).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import numpy as np

from slicewise.errors import UnreadableFileError
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.nifti_header import HEADER_BYTES, Grid, parse_grid
from slicewise.source import Source
from slicewise.volume import FloatImages, Orientation

SUFFIXES = (".nii.gz", ".nii")

_BOMB_BYTES, _BOMB_RATIO = 256 * 1024**2, 200
"""As in `source`: what unpacks to more than both so many bytes and so many times its own size is a bomb."""

_LARGEST_VALUE = 1e9
_AIR_HU, _LOWEST_AIR_HU, _HIGHEST_AIR_HU = -1024.0, -1500.0, -200.0
"""A CT in HU has values between the last two, in the air around the head and within it."""

_GZIP_START = b"\x1f\x8b"
_GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


def is_nifti(name: str) -> bool:
    """Tells a NIfTI file by its name."""
    return name.lower().endswith(SUFFIXES)


def series_name(name: str) -> str:
    """Returns the name of a file without folders and NIfTI's extensions.

    >>> series_name("scans/CT_01.nii.gz")
    'CT_01'
    """
    stem = name.rsplit("/", 1)[-1]
    suffix = next((item for item in SUFFIXES if stem.lower().endswith(item)), "")
    return stem[: len(stem) - len(suffix)]


def read_nifti_headers(source: Source, modality: str, *, axial: bool = False) -> tuple[SliceHeader, ...]:
    """Reads the header of a file; of a compressed one only its beginning is unpacked.

    The slices are those of the stored axis nearest to the patient's axis, unless the voxels are so much longer along
    another axis that the scan was evidently made in another plane: then they are the slices of that plane, which the
    choice of series tells.

    Args:
        source: The file.
        modality: What it holds.
        axial: It goes with axial images, and so do its slices, however long the voxels are along other axes.

    Returns:
        One header a slice, from the first along the stored axis on.

    Raises:
        UnreadableFileError: If it is no NIfTI file, or not of one grey-valued volume with a usable geometry.
    """
    grid = _read_grid(source, axial=axial)
    name = series_name(source.file)
    steps = np.linalg.norm(grid.affine[:3, :3], axis=0)
    along_row, along_column = grid.affine[:3, grid.column_axis], grid.affine[:3, grid.row_axis]
    orientation = (*(along_row / steps[grid.column_axis]), *(along_column / steps[grid.row_axis]))
    normal = np.cross(orientation[:3], orientation[3:])
    thickness = abs(float(normal @ grid.affine[:3, grid.slice_axis])) / float(np.linalg.norm(normal))
    return tuple(
        SliceHeader(
            source=source,
            frame=index + 1,
            pixels=None,
            patient_id="",
            study_uid=name,
            series_uid=name,
            sop_uid=name,
            modality=modality,
            sop_class_uid="",
            image_type=grid.image_type,
            rows=grid.shape[grid.row_axis],
            columns=grid.shape[grid.column_axis],
            series_number=None,
            instance_number=None,
            series_description="",
            convolution_kernel="",
            slice_thickness_mm=thickness,
            image_position=cast(
                "tuple[float, float, float]",
                tuple((grid.affine[:3, 3] + index * grid.affine[:3, grid.slice_axis]).tolist()),
            ),
            image_orientation=cast("Orientation", tuple(map(float, orientation))),
            pixel_spacing_mm=(float(steps[grid.row_axis]), float(steps[grid.column_axis])),
            slice_index=index,
        )
        for index in range(grid.shape[grid.slice_axis])
    )


def decode_nifti(
    source: Source, headers: Sequence[SliceHeader], *, axial: bool = False
) -> Iterator[FloatImages | UnreadableFileError]:
    """Decodes slices of a file, which is read once.

    CT values below -1024 HU become -1024 HU.

    Args:
        source: The file.
        headers: Slices of it.
        axial: As they were read with.

    Yields:
        For every header, in order, values of shape (rows, columns), or why they cannot be used.

    Raises:
        UnreadableFileError: If the file cannot be decoded, or is to be a CT and is not in HU.
    """
    values = _read_values(source, _read_grid(source, axial=axial))
    is_ct = headers[0].modality == "CT"
    if is_ct and not np.any((values > _LOWEST_AIR_HU) & (values < _HIGHEST_AIR_HU)):
        raise UnreadableFileError(
            f"{source.file}: no value lies between {_LOWEST_AIR_HU:g} and {_HIGHEST_AIR_HU:g}; expected Hounsfield "
            "units, air near -1000. Convert the images again without a window or a mask.",
            reason="not_hounsfield",
        )
    for header in headers:
        yield _slice(values, header, is_ct=is_ct)


def _slice(values: FloatImages, header: SliceHeader, *, is_ct: bool) -> FloatImages | UnreadableFileError:
    index = header.frame - 1
    if index >= len(values):
        return UnreadableFileError(
            f"{header.file}: was changed while the series was read. Run again.", reason="undecodable"
        )
    image: FloatImages = values[index]
    if not np.all(np.abs(image) <= _LARGEST_VALUE):  # not "any beyond": nan is none either
        message = f"{header.file}: slice {index} has values that are no numbers or beyond 1e9."
        return UnreadableFileError(message, reason="bad_pixels")
    if is_ct:
        np.maximum(image, np.float32(_AIR_HU), out=image)
    return image


def _read_grid(source: Source, *, axial: bool) -> Grid:
    with source.open() as stream:
        grid = parse_grid(source.file, _read(source, stream, 0, HEADER_BYTES), axial=axial)
        packed, length = _is_packed(stream), stream.seek(0, 2)
    if not packed and length < grid.offset + grid.voxel_bytes:
        raise _truncated(source, length, grid)
    if packed and grid.voxel_bytes > max(_BOMB_BYTES, _BOMB_RATIO * length):
        message = (
            f"{source.file}: unpacks to {grid.voxel_bytes / 1024**2:.0f} MiB from {length / 1024**2:.1f} MiB, as files "
            "made to fill a machine do. Unpack it yourself if you trust it."
        )
        raise UnreadableFileError(message, reason="archive_bomb")
    return grid


def _read_values(source: Source, grid: Grid) -> FloatImages:
    """Reads the volume, scaled, shape (slices, rows, columns)."""
    with source.open() as stream:
        content = _read(source, stream, grid.offset, grid.voxel_bytes)
    if len(content) < grid.voxel_bytes:
        raise _truncated(source, grid.offset + len(content), grid)
    stored = np.frombuffer(content, grid.dtype).reshape(grid.shape, order="F")
    slices = stored.transpose(grid.slice_axis, grid.row_axis, grid.column_axis)
    values = np.empty(slices.shape, dtype=np.float32)
    with np.errstate(all="ignore"):  # what overflows is found by its value
        for index, image in enumerate(slices):
            values[index] = image.astype(np.float64) * grid.slope + grid.intercept
    return values


def _is_packed(stream: BinaryIO) -> bool:
    """Tells gzip by content: browsers unpack what they download and keep its name."""
    stream.seek(0)
    return stream.read(len(_GZIP_START)) == _GZIP_START


def _read(source: Source, stream: BinaryIO, start: int, count: int) -> bytes:
    """Reads bytes of the unpacked file, fewer if it ends early."""
    try:
        packed = _is_packed(stream)
        stream.seek(0 if packed else start)
        if not packed:
            return stream.read(count)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            unpacked.seek(start)
            content = unpacked.read(count)
            unpacked.read(1)  # at the end of the file the checksum is compared
            return content
    except _GZIP_ERRORS as error:
        message = f"{source.file}: cannot be unpacked ({type(error).__name__}). Copy the file again."
        reason = "truncated" if isinstance(error, EOFError) else "malformed"
        raise UnreadableFileError(message, reason=reason) from error
    except OSError as error:
        message = f"{source.file}: cannot be read ({error.strerror or 'unknown reason'})."
        raise UnreadableFileError(message, reason="unreadable_path") from error


def _truncated(source: Source, length: int, grid: Grid) -> UnreadableFileError:
    expected = grid.offset + grid.voxel_bytes
    message = f"{source.file}: ends after {length} bytes; its header states {expected}. Copy it again."
    return UnreadableFileError(message, reason="truncated")
