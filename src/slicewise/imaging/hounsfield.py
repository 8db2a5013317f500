"""Stored pixel values -> Hounsfield units, with the known defects of real files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace
from pydicom.uid import RLELossless

from slicewise.errors import UnreadableFileError
from slicewise.imaging.decompress import Stored
from slicewise.imaging.dicom import is_compressed
from slicewise.imaging.header import ModalityLut, PixelDescription, SliceHeader
from slicewise.volume import FloatImages, ScanWarning

AIR_HU = -1024.0
"""Floor of CT values; what lies outside the image counts as this."""

_LARGEST = 1e9
"""No pixel, rescale slope or intercept of a real scanner comes near this, nor a slope near its inverse."""


@dataclass(frozen=True, eq=False)
class DecodedSlice:
    """The pixels of one image.

    Attributes:
        values: HU for CT, else the rescaled values, shape (rows, columns).
        warnings: Repairs that a reader of the results should know.
    """

    values: FloatImages
    warnings: tuple[ScanWarning, ...]


def convert(header: SliceHeader, raw: Stored) -> DecodedSlice:
    """Converts the stored values of an image.

    CT values below -1024 HU and pixel padding, DICOM PS3.3 C.7.5.1.1.2, become -1024 HU. MONOCHROME1 asks for an
    inverted display (C.7.6.3.1.2) and leaves the values as they are.

    Args:
        header: Its header.
        raw: Its numbers with all allocated bits, shape (rows, columns).

    Raises:
        UnreadableFileError: If its numbers or its rescale are of no use (reasons bad_pixels, bad_rescale).
    """
    pixels = header.pixels
    assert pixels is not None  # None is for NIfTI
    if raw.dtype.kind == "f" and not np.all(np.abs(raw) <= _LARGEST):  # not "any beyond": nan is none either
        message = f"{header.file}: has pixels that are no numbers or beyond {_LARGEST:g}."
        raise UnreadableFileError(message, reason="bad_pixels")
    stored = _within_stored_bits(pixels, raw)
    if header.modality != "CT":
        return DecodedSlice(_output_units(header, pixels, stored), ())
    return _hounsfield_units(header, pixels, stored, _padding(pixels, raw, stored))


def _stored_bits(pixels: PixelDescription, allocated: int) -> tuple[int, int]:
    """Returns how many bits of those allocated belong to a pixel, and how many lie above them, DICOM PS3.5 8.1.1."""
    bits = pixels.bits_stored or allocated
    high_bit = bits - 1 if pixels.high_bit is None else pixels.high_bit
    return (bits, allocated - 1 - high_bit) if 0 < bits <= high_bit + 1 <= allocated else (allocated, 0)


def _within_stored_bits(pixels: PixelDescription, raw: Stored) -> Stored:
    """Keeps the bits that belong to the pixel: those above may hold overlays, DICOM PS3.3 C.9.2."""
    allocated = 8 * raw.dtype.itemsize
    bits, above = _stored_bits(pixels, allocated)
    if raw.dtype.kind == "f" or bits == allocated:
        return raw
    if is_compressed(pixels.transfer_syntax) and pixels.transfer_syntax != RLELossless:
        return raw  # codestreams hold no other bits
    kept: Stored = (raw << raw.dtype.type(above)) >> raw.dtype.type(allocated - bits)  # brings the sign along
    return kept


def _padding(pixels: PixelDescription, raw: Stored, stored: Stored) -> npt.NDArray[np.bool_] | None:
    """Returns which pixels are padding; None if the image states no padding, or one that becomes air by itself.

    Some writers state signed values as unsigned, and the other way round; some pad with values that do not fit into
    Bits Stored, and fill all allocated bits with them.

    Args:
        pixels: The description of the image.
        raw: Its numbers with all allocated bits.
        stored: The same within the stored bits.
    """
    if pixels.padding is None or raw.dtype.kind == "f" or _is_air(pixels, raw):
        return None
    allocated = 8 * raw.dtype.itemsize
    bits, _ = _stored_bits(pixels, allocated)
    whole = [_integer(value, allocated, signed=pixels.signed) for value in pixels.padding]
    within = [_integer(value, bits, signed=pixels.signed) for value in whole]
    fits = all(one == other or 0 <= one < 1 << bits for one, other in zip(whole, within, strict=True))
    low, high = sorted(within if fits else whole)
    values = stored if fits else raw
    padding: npt.NDArray[np.bool_] = (values >= low) & (values <= high)
    return padding


def _integer(value: int, bits: int, *, signed: bool) -> int:
    """Returns the number that the lowest bits of another one make."""
    number = value % (1 << bits)
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def _is_air(pixels: PixelDescription, raw: Stored) -> bool:
    """True if the stated padding lies at or below the floor of CT values in HU, which all values are raised to."""
    assert pixels.padding is not None
    plain = pixels.lut is None and raw.dtype.kind == "i" and pixels.bits_stored == 8 * raw.dtype.itemsize
    if not plain or pixels.slope is None or pixels.intercept is None or pixels.slope <= 0:
        return False
    low, high = sorted(pixels.padding)
    return np.iinfo(raw.dtype).min <= low and high * pixels.slope + pixels.intercept <= AIR_HU


def _hounsfield_units(
    header: SliceHeader, pixels: PixelDescription, stored: Stored, padding: npt.NDArray[np.bool_] | None
) -> DecodedSlice:
    warnings = []
    if _is_wrapped(pixels, stored):
        message = "12-bit values without a negative intercept were unwrapped: +1000 mod 4096, intercept -1000."
        warnings.append(ScanWarning("wrapped_12_bit", message))
        pixels = replace(pixels, intercept=-1000.0)
        stored = (stored.astype(np.int32) + 1000) % 4096
    values = _output_units(header, pixels, stored)
    if not pixels.states_intercept and pixels.lut is None:
        message = "Rescale Intercept (0028,1052) is missing: stored values were taken as HU."
        warnings.append(ScanWarning("missing_rescale", message))
    if padding is not None:
        values[padding] = AIR_HU
    return DecodedSlice(np.maximum(values, np.float32(AIR_HU), out=values), tuple(warnings))


def _is_wrapped(pixels: PixelDescription, stored: Stored) -> bool:
    """Tells the CT images of the RSNA 2019 challenge whose values wrap at 12 bits.

    The repair is that of the challenge's winners, under exactly their conditions.
    """
    return (
        pixels.bits_stored == 12
        and stored.dtype.kind == "u"
        and pixels.lut is None
        and pixels.states_intercept
        and pixels.intercept is not None
        and -100.0 < pixels.intercept < _LARGEST
    )


def _output_units(header: SliceHeader, pixels: PixelDescription, stored: Stored) -> FloatImages:
    """Applies the Modality LUT or the rescale, DICOM PS3.3 C.11.1.1.2."""
    if pixels.lut is not None and stored.dtype.kind != "f":
        return _looked_up(pixels.lut, stored)
    slope, intercept = pixels.slope, pixels.intercept
    if slope is None or intercept is None or not 1 / _LARGEST < abs(slope) < _LARGEST or abs(intercept) >= _LARGEST:
        raise UnreadableFileError(
            f"{header.file}: Rescale Slope (0028,1053) or Rescale Intercept (0028,1052) is no usable number; expected "
            "numbers, and a slope that is not 0.",
            reason="bad_rescale",
        )
    return _linear(stored, slope, intercept)


def _linear(stored: Stored, slope: float, intercept: float) -> FloatImages:
    # float32 holds all numbers of 16 bits, not all of 32.
    values: npt.NDArray[np.floating] = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    if slope != 1.0:
        values *= slope
    if intercept != 0.0:
        values += intercept
    return values.astype(np.float32, copy=False)


def _looked_up(lut: ModalityLut, stored: Stored) -> FloatImages:
    # Some writers state the first value of signed pixels, a number of 16 bits, as unsigned, and the other way round.
    first = _integer(lut.first, 16, signed=stored.dtype.kind == "i")
    index = np.clip(stored.astype(np.int64) - first, 0, len(lut.values) - 1)
    table = np.array(lut.values, dtype=np.float32)
    return table[index]
