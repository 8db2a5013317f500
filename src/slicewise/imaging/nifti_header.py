"""The header of a NIfTI file, checked: where its voxels lie in the file, in the patient, and on the scale of values.

NIfTI-1, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h, and NIfTI-2. The affine of a file maps voxels to
millimetres to the patient's right, front and head being positive; DICOM counts to the left and the back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import LARGEST_MATRIX, matrix_problem

HEADER_BYTES = 540
"""Of NIfTI-2, the longer one."""

NO_ORIENTATION = "NO_ORIENTATION"
"""Stands in the image type where the file states no orientation."""

OTHER_SLICE_AXIS = "OTHER_SLICE_AXIS"
"""Stands in the image type where slices are not counted along the third axis that is stored."""

_LARGEST_BYTES = 4 * 1024**3
_LARGEST_OFFSET = 64 * 1024**2
"""Extensions between header and voxels are smaller."""

_THICK = 2.0
"""Voxels more than so many times as long along another axis than along the patient's: slices of another plane."""

_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""Unit codes of metres and micrometres; all else counts as millimetres."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """What the header of a file says.

    Attributes:
        dtype: Type of the stored values, with the order of their bytes.
        offset: Where they begin in the unpacked file.
        slope: What they are multiplied by.
        intercept: What is added then.
        shape: Length of the three stored axes.
        affine: Voxel index to millimetres in DICOM's directions (left, back, head), shape (4, 4).
        has_orientation: The file states an orientation.
        slice_axis: The stored axis along which slices are counted.
        row_axis: The stored axis along which the rows of a slice are counted.
        column_axis: The stored axis along which its columns are counted.
    """

    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    shape: tuple[int, int, int]
    affine: Floats
    has_orientation: bool
    slice_axis: int
    row_axis: int
    column_axis: int

    @property
    def voxel_bytes(self) -> int:
        """Length of the stored values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def image_type(self) -> tuple[str, ...]:
        """What the choice of series should know of the file, as an Image Type."""
        no_orientation = () if self.has_orientation else (NO_ORIENTATION,)
        other_axis = () if self.slice_axis == 2 else (OTHER_SLICE_AXIS,)
        return ("NIFTI", *no_orientation, *other_axis)


def parse_grid(file: str, content: bytes, *, axial: bool = False) -> Grid:
    """Reads a header.

    Args:
        file: Name of the file, for messages.
        content: The first `HEADER_BYTES` bytes of the unpacked file, or all that it has.
        axial: The file goes with axial images: slices lie along the axis nearest to the patient's, however long the
            voxels are.

    Raises:
        UnreadableFileError: If it is no header of NIfTI in one file, or not of one grey-valued volume with a usable
            geometry.
    """
    header = _parse(file, content)
    shape = _shape(file, header)
    dtype = _dtype(file, header)
    _refuse_too_large(file, shape, dtype)
    affine, has_orientation = _affine(file, header)
    slice_axis = _slice_axis(affine, axial=axial)
    row_axis, column_axis = _plane(affine, slice_axis)
    problem = matrix_problem(shape[row_axis], shape[column_axis])
    if problem:
        raise UnreadableFileError(f"{file}: {problem}.", reason="bad_matrix")
    if shape[slice_axis] > LARGEST_MATRIX:
        message = f"{file}: states {shape[slice_axis]} slices; expected up to {LARGEST_MATRIX}."
        raise UnreadableFileError(message, reason="bad_dimensions")
    slope, intercept = _scaling(file, header)
    offset = _offset(file, header)
    return Grid(dtype, offset, slope, intercept, shape, affine, has_orientation, slice_axis, row_axis, column_axis)


def _parse(file: str, content: bytes) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    for kind in (Nifti1Header, Nifti2Header):
        try:
            header = kind(content[: kind.sizeof_hdr], check=False)  # type: ignore[no-untyped-call]
            if header["magic"].item().rstrip(b"\0")[:3] in (b"n+1", b"n+2") and header["sizeof_hdr"] == kind.sizeof_hdr:
                return header
        except Exception:  # noqa: BLE001, S112 - nibabel raises nearly anything on malformed headers
            continue
    raise UnreadableFileError(
        f"{file}: has no NIfTI header; expected NIfTI-1 or NIfTI-2 in one file (.nii or .nii.gz).",
        reason="malformed" if len(content) >= HEADER_BYTES else "truncated",
    )


def _shape(file: str, header: Any) -> tuple[int, int, int]:
    try:
        lengths = tuple(int(length) for length in header.get_data_shape())
    except Exception as error:
        raise UnreadableFileError(f"{file}: states no usable dimensions.", reason="bad_dimensions") from error
    if len(lengths) < 3 or min(lengths) < 1 or math.prod(lengths[3:]) != 1:
        message = f"{file}: has dimensions {' x '.join(map(str, lengths))}; expected one volume, that is three."
        raise UnreadableFileError(message, reason="bad_dimensions")
    return lengths[0], lengths[1], lengths[2]


def _dtype(file: str, header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except Exception as error:
        message = f"{file}: states the data type {code}, which is unknown; expected grey values."
        raise UnreadableFileError(message, reason="not_grayscale") from error
    if dtype.kind not in "iuf":
        message = f"{file}: holds values of type {dtype}; expected grey values."
        raise UnreadableFileError(message, reason="not_grayscale")
    return dtype


def _refuse_too_large(file: str, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    size = math.prod(shape) * max(dtype.itemsize, np.dtype(np.float32).itemsize)
    if size > _LARGEST_BYTES:
        message = f"{file}: needs {size / 1024**3:.1f} GiB of memory; expected up to {_LARGEST_BYTES / 1024**3:g}."
        raise UnreadableFileError(message, reason="too_large")


def _offset(file: str, header: Any) -> int:
    """Returns where the voxels begin; 0 stands for right behind the header, as nibabel and ITK read it."""
    stated, least = float(header["vox_offset"]), int(header.single_vox_offset)
    if stated == 0:
        return least
    if not least <= stated <= _LARGEST_OFFSET:  # nan is not
        message = f"{file}: its values would begin at byte {stated:g}; expected {least} or a little more."
        raise UnreadableFileError(message, reason="malformed")
    return int(stated)


def _scaling(file: str, header: Any) -> tuple[float, float]:
    """Returns slope and intercept; a slope of 0 says that values are not scaled, nibabel writes nan for it."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        message = f"{file}: states the intercept {intercept:g}; expected a number. Convert the images again."
        raise UnreadableFileError(message, reason="bad_rescale")
    return slope, intercept


def _affine(file: str, header: Any) -> tuple[Floats, bool]:
    """Returns voxel -> mm in DICOM's directions, and whether the file states an orientation.

    Of sform and qform, where both are stated, the first that is usable.
    """
    pixdim = np.abs(np.asarray(header["pixdim"], dtype=np.float64)[1:4])
    stated = [
        read
        for code, read in (("sform_code", header.get_sform), ("qform_code", lambda: _qform(header, pixdim)))
        if int(header[code]) > 0
    ]
    # Without either, the axes as DICOM would store them: to the left, the back and the head.
    forms: list[Callable[[], Any]] = stated or [lambda: np.diag([-pixdim[0], -pixdim[1], pixdim[2], 1.0])]
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    first_problem: tuple[str, str] | None = None
    for form in forms:
        try:
            affine = np.array(form(), dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - nibabel raises nearly anything on malformed headers
            problem = "bad_orientation", f"states no usable orientation ({type(error).__name__})"
        else:
            affine[:3] *= unit
            affine[:2] *= -1.0
            problem = _affine_problem(affine)
        if not problem[0]:
            return affine, bool(stated)
        first_problem = first_problem or problem
    assert first_problem is not None
    raise UnreadableFileError(f"{file}: {first_problem[1]}.", reason=first_problem[0])


def _qform(header: Any, pixdim: Floats) -> Any:
    """Returns the affine of the quaternion; as the standard has it, qfac 0 counts as 1."""
    header = header.copy()
    header["pixdim"][0] = -1.0 if header["pixdim"][0] == -1 else 1.0
    header["pixdim"][1:4] = pixdim
    return header.get_qform()


def _affine_problem(affine: Floats) -> tuple[str, str]:
    """Returns the reason and why an affine is of no use, ("", "") if it is."""
    with np.errstate(all="ignore"):  # what overflows is no voxel either
        steps = np.linalg.norm(affine[:3, :3], axis=0)
    # Not "any beyond": nan is none either.
    if not (np.all(np.isfinite(affine)) and np.all(steps > 1e-3) and np.all(steps < 1e3)):
        shown = " x ".join(f"{step:.3g}" for step in steps)
        return "bad_spacing", f"states voxels of {shown} mm; expected 0.001 to 1000 mm along every axis"
    if abs(np.linalg.det(affine[:3, :3] / steps)) < 0.1:
        return "bad_orientation", "its three axes lie in one plane or nearly so"
    return "", ""


def _slice_axis(affine: Floats, *, axial: bool) -> int:
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    upright, longest = int(np.argmax(np.abs(affine[2, :3]) / steps)), int(np.argmax(steps))
    return longest if steps[longest] > _THICK * steps[upright] and not axial else upright


def _plane(affine: Floats, slice_axis: int) -> tuple[int, int]:
    """Returns the stored axes of rows and columns: of the two the one that runs more to the back counts the rows."""
    first, second = (axis for axis in range(3) if axis != slice_axis)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return (first, second) if abs(directions[1, first]) > abs(directions[1, second]) else (second, first)
