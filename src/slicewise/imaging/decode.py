"""Stored pixel values -> Hounsfield units, with the known defects of real files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import DicomFile, displayed, matrix_problem, read_dicom, silent_pydicom
from slicewise.volume import FloatImages, ScanWarning

AIR_HU = -1024.0
"""Floor of CT values; what lies outside the image counts as this."""

_LARGEST = 1e9
"""No pixel, rescale slope or intercept of a real scanner comes near this; beyond it float32 may overflow."""

_KEYWORDS = (
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
)


@dataclass(frozen=True, eq=False)
class DecodedSlice:
    """The pixels of one image.

    Attributes:
        values: HU for CT, else the rescaled values, shape (rows, columns).
        warnings: Repairs that a reader of the results should know.
    """

    values: FloatImages
    warnings: tuple[ScanWarning, ...]


def decode_slice(path: Path) -> DecodedSlice:
    """Decodes a single-frame image. Safe to call from several threads.

    CT values below -1024 HU and pixel padding, DICOM PS3.3 C.7.5.1.1.2, become -1024 HU. MONOCHROME1 asks for an
    inverted display (C.7.6.3.1.2) and leaves the values as they are.

    Raises:
        UnreadableFileError: If the file has no usable pixels; `reason` is a code of `REASONS`.
    """
    with silent_pydicom():
        content = read_dicom(path, _KEYWORDS, with_pixels=True)
        stored = _stored_values(path, content)
        if content.text("Modality") != "CT":
            return DecodedSlice(_rescaled(stored, *_rescale_parameters(path, content)), ())
        return _hounsfield_units(path, content, stored)


def _stored_values(path: Path, content: DicomFile) -> npt.NDArray[Any]:
    _check(path, content)
    dataset = content.dataset
    dataset.file_meta.TransferSyntaxUID = content.transfer_syntax  # pydicom needs one, even for plain datasets
    try:
        stored: npt.NDArray[Any] = pixel_array(dataset)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Decoders and their plug-ins raise nearly anything on malformed data; a panic of one in Rust is no Exception.
    except BaseException as error:
        raise UnreadableFileError(
            f"{displayed(path.name)}: its pixel data cannot be decoded ({type(error).__name__}: {error}).",
            reason="undecodable",
        ) from error
    expected = (content.integer("Rows"), content.integer("Columns"))
    if stored.shape != expected:
        message = f"{displayed(path.name)}: its pixels have shape {stored.shape}; expected {expected}."
        raise UnreadableFileError(message, reason="undecodable")
    if stored.dtype.kind == "f" and not np.all(np.abs(stored) <= _LARGEST):  # not "any beyond": nan is none either
        message = f"{displayed(path.name)}: has pixels that are no numbers or beyond {_LARGEST:g}."
        raise UnreadableFileError(message, reason="bad_pixels")
    return stored


def _check(path: Path, content: DicomFile) -> None:
    """Refuses what cannot be decoded, with a reason that tells more than the decoder would."""
    if content.is_truncated:
        raise UnreadableFileError(f"{displayed(path.name)}: ends early: copy the file again.", reason="truncated")
    if content.pixel_keyword is None:
        raise UnreadableFileError(f"{displayed(path.name)}: has no pixel data.", reason="no_pixel_data")
    if content.pixel_keyword not in content.dataset:  # encapsulated data without their end
        raise UnreadableFileError(f"{displayed(path.name)}: ends early: copy the file again.", reason="truncated")
    samples, frames = content.integer("SamplesPerPixel") or 1, content.integer("NumberOfFrames") or 1
    if samples != 1:
        message = f"{displayed(path.name)}: has {samples} samples a pixel; expected grey values, that is 1."
        raise UnreadableFileError(message, reason="not_grayscale")
    if frames != 1:
        raise UnreadableFileError(f"{displayed(path.name)}: has {frames} frames; expected one.", reason="multiframe")
    rows, columns = content.integer("Rows") or 0, content.integer("Columns") or 0
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if content.integer(name) is None]
    if missing:
        raise UnreadableFileError(f"{displayed(path.name)}: has no {', '.join(missing)}.", reason="missing_tag")
    problem = matrix_problem(rows, columns)
    if problem:
        raise UnreadableFileError(f"{displayed(path.name)}: {problem}.", reason="bad_matrix")
    expected = rows * columns * (content.integer("BitsAllocated") or 16) // 8
    if content.is_compressed:
        _check_decoder(path, content.transfer_syntax)
    elif (content.pixel_bytes or 0) < expected:
        raise UnreadableFileError(
            f"{displayed(path.name)}: {content.pixel_bytes} bytes of pixel data; {rows} x {columns} pixels need "
            f"{expected}.",
            reason="truncated",
        )


def _check_decoder(path: Path, syntax: UID) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnreadableFileError(
            f"{displayed(path.name)}: no decoder is installed for its transfer syntax {syntax.name} ({syntax}). "
            "Install one that pydicom finds, as python-gdcm, pylibjpeg with pylibjpeg-openjpeg, or pyjpegls, or store "
            "the images uncompressed.",
            reason="unsupported_transfer_syntax",
        )


def _hounsfield_units(path: Path, content: DicomFile, stored: npt.NDArray[Any]) -> DecodedSlice:
    warnings = []
    padding = _padding(content, stored)
    slope, intercept = _rescale_parameters(path, content)
    if _is_wrapped(content):
        stored, intercept = (stored.astype(np.int32) + 1000) % 4096, -1000.0
        message = "12-bit values without a negative intercept were unwrapped: +1000 mod 4096, intercept -1000."
        warnings.append(ScanWarning("wrapped_12_bit", message))
    if not content.states("RescaleIntercept"):
        message = "Rescale Intercept (0028,1052) is missing: stored values were taken as HU."
        warnings.append(ScanWarning("missing_rescale", message))
    values = _rescaled(stored, slope, intercept)
    if padding is not None:
        values[padding] = AIR_HU
    return DecodedSlice(np.maximum(values, np.float32(AIR_HU), out=values), tuple(warnings))


def _rescale_parameters(path: Path, content: DicomFile) -> tuple[float, float]:
    """Returns Rescale Slope and Intercept, 1 and 0 where they are absent."""
    slope, intercept = (
        content.number(keyword) if content.states(keyword) else default
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope is not None and intercept is not None and 0.0 < abs(slope) < _LARGEST and abs(intercept) < _LARGEST:
        return slope, intercept
    raise UnreadableFileError(
        f"{displayed(path.name)}: Rescale Slope (0028,1053) is '{content.text('RescaleSlope')}' and Rescale Intercept "
        f"(0028,1052) is '{content.text('RescaleIntercept')}'; expected numbers, and a slope that is not 0.",
        reason="bad_rescale",
    )


def _rescaled(stored: npt.NDArray[Any], slope: float, intercept: float) -> FloatImages:
    """Returns slope * stored + intercept in floating point, DICOM PS3.3 C.11.1.1.2."""
    values = stored.astype(np.float32)
    if slope != 1.0:
        values *= np.float32(slope)
    if intercept != 0.0:
        values += np.float32(intercept)
    return values


def _is_wrapped(content: DicomFile) -> bool:
    """Tells the CT images of the RSNA 2019 challenge whose values wrap at 12 bits.

    The repair is that of the challenge's winners, under exactly their conditions.
    """
    intercept = content.number("RescaleIntercept")
    return (
        content.integer("BitsStored") == 12
        and content.integer("PixelRepresentation") == 0
        and intercept is not None
        and intercept > -100.0
    )


def _padding(content: DicomFile, stored: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Returns which pixels are padding, None if the image states no padding."""
    first = content.integer("PixelPaddingValue")
    if first is None or stored.dtype.kind not in "iu":
        return None
    last = content.integer("PixelPaddingRangeLimit")
    # Some writers state the value of signed pixels as unsigned, and the other way round: the bits are what counts.
    bits = 8 * stored.dtype.itemsize
    ends = np.array([first % 2**bits, (first if last is None else last) % 2**bits], dtype=np.uint64)
    low, high = np.sort(ends.astype(stored.dtype))
    padding: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padding
