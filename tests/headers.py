"""Headers of slices for tests of what reads headers alone."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from slicewise.imaging.header import PixelDescription, SliceHeader
from slicewise.imaging.series import Series
from slicewise.source import Source

PIXELS = PixelDescription(
    transfer_syntax=ExplicitVRLittleEndian,
    keyword="PixelData",
    offset=1000,
    length=2 * 512 * 512,
    frames=1,
    samples=1,
    photometric="MONOCHROME2",
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    signed=True,
    padding=None,
    states_intercept=True,
    intercept=-1024.0,
    slope=1.0,
)


PLAIN = SliceHeader(
    source=Source("/scans/a/1.dcm", "a/1.dcm"),
    frame=1,
    pixels=PIXELS,
    patient_id="P1",
    study_uid="1",
    series_uid="1.1",
    sop_uid="1.1.1",
    modality="CT",
    sop_class_uid=CTImageStorage,
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    rows=512,
    columns=512,
    series_number=2,
    instance_number=1,
    series_description="",
    convolution_kernel="",
    slice_thickness_mm=5.0,
    image_position=(0.0, 0.0, 0.0),
    image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing_mm=(0.5, 0.5),
)


def make_header(*, file: str = "a/1.dcm", **changes: Any) -> SliceHeader:
    """Returns the header of an axial slice of a plain head CT; `changes` replace fields."""
    return replace(PLAIN, source=Source(f"/scans/{file}", file), **changes)


def make_series(uid: str, slices: int = 30, spacing_mm: float = 5.0, **changes: Any) -> Series:
    """Returns a series of slices from feet to head; `changes` replace fields of every header."""
    headers = []
    for index in range(slices):
        own: dict[str, Any] = {
            "file": f"{uid}/{index}.dcm",
            "series_uid": uid,
            "sop_uid": f"{uid}.{index}",
            "instance_number": index + 1,
            "image_position": (0.0, 0.0, spacing_mm * index),
        }
        headers.append(make_header(**(own | changes)))
    return Series(tuple(headers))
