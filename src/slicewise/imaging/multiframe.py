"""The frames of an enhanced multi-frame image, DICOM PS3.3 C.7.6.16: one header a frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from msgspec.structs import replace

from slicewise.imaging.elements import Elements
from slicewise.imaging.header import PixelDescription, SliceHeader
from slicewise.volume import Orientation

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_Numbers = tuple[float, ...] | None
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence")


def functional_groups_problem(elements: Elements, frames: int) -> str:
    """Returns why the frames of an image cannot be told apart, "" if they can."""
    described = len(elements.items(PER_FRAME))
    if frames == 1 and not described:
        return ""
    if not described:
        return f"has {frames} frames and no Per-Frame Functional Groups (5200,9230) that say where they lie"
    if described != frames:
        return f"has {frames} frames, and Per-Frame Functional Groups (5200,9230) for {described}"
    return ""


def frame_headers(elements: Elements, image: SliceHeader) -> Iterator[SliceHeader]:
    """Yields the header of every frame.

    Args:
        elements: The elements of the image.
        image: What holds for all frames.
    """
    shared = elements.items(SHARED)[:1]
    for number, own in enumerate(elements.items(PER_FRAME), start=1):
        yield _frame_header(image, number, _Groups((own, *shared)))


class _Groups:
    """The functional groups of one frame: its own come before the shared ones."""

    def __init__(self, groups: tuple[Elements, ...]) -> None:
        self._groups = groups

    def find(self, sequence: str, keyword: str) -> Elements | None:
        """Returns the first item of a group that states an element."""
        items = (item for group in self._groups for item in group.items(sequence))
        return next((item for item in items if item.states(keyword)), None)

    def text(self, sequence: str, keyword: str) -> str:
        item = self.find(sequence, keyword)
        return "" if item is None else item.text(keyword)

    def numbers(self, sequence: str, keyword: str, count: int, absent: _Numbers) -> _Numbers:
        """Returns what `absent` says where no group states an element, None where it is malformed."""
        item = self.find(sequence, keyword)
        return absent if item is None else item.numbers(keyword, count)


def _frame_header(image: SliceHeader, number: int, groups: _Groups) -> SliceHeader:
    assert image.pixels is not None  # it is read from DICOM
    thickness = groups.find("PixelMeasuresSequence", "SliceThickness")
    spacing = groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2, image.pixel_spacing_mm)
    position = groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3, image.image_position)
    orientation = groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6, image.image_orientation)
    frame_types = (groups.find(sequence, "FrameType") for sequence in _FRAME_TYPES)
    frame_type = next((item for item in frame_types if item is not None), None)
    return replace(
        image,
        frame=number,
        pixels=_frame_pixels(image.pixels, groups),
        image_type=image.image_type if frame_type is None else frame_type.texts("FrameType"),
        convolution_kernel=groups.text("CTReconstructionSequence", "ConvolutionKernel") or image.convolution_kernel,
        slice_thickness_mm=image.slice_thickness_mm if thickness is None else thickness.number("SliceThickness"),
        image_position=cast("tuple[float, float, float] | None", position),
        image_orientation=cast("Orientation | None", orientation),
        pixel_spacing_mm=usable_spacing(spacing),
    )


def _frame_pixels(pixels: PixelDescription, groups: _Groups) -> PixelDescription:
    """Applies the Pixel Value Transformation of a frame, DICOM PS3.3 C.7.6.16.2.9."""
    sequence = "PixelValueTransformationSequence"
    intercept = groups.find(sequence, "RescaleIntercept")
    slope = groups.find(sequence, "RescaleSlope")
    return replace(
        pixels,
        states_intercept=pixels.states_intercept or intercept is not None,
        intercept=pixels.intercept if intercept is None else intercept.number("RescaleIntercept"),
        slope=pixels.slope if slope is None else slope.number("RescaleSlope"),
    )


def usable_spacing(numbers: tuple[float, ...] | None) -> tuple[float, float] | None:
    """Returns a Pixel Spacing, None unless both numbers are above 0."""
    return (numbers[0], numbers[1]) if numbers and min(numbers) > 0 else None
