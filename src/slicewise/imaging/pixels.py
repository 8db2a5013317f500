"""How the pixels of an image are stored and what their numbers mean, as its header says."""

from __future__ import annotations

import struct

from pydicom.uid import ExplicitVRBigEndian

from slicewise.imaging.dicom import DicomFile
from slicewise.imaging.elements import Elements
from slicewise.imaging.header import ModalityLut, PixelDescription

MODALITY_LUT = "ModalityLUTSequence"


def describe_pixels(content: DicomFile) -> PixelDescription:
    """Returns the description of the pixels of an image that has some; absent or malformed numbers are None."""
    elements = content.elements
    assert content.pixel_keyword is not None
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
        frames=max(elements.integer("NumberOfFrames") or 1, 1),
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
    for item in content.elements.items(MODALITY_LUT)[:1]:
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
