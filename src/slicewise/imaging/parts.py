"""The stacks that share one Series Instance UID: a localizer among axial slices, two matrices, two orientations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from slicewise.imaging.header import SliceHeader
from slicewise.imaging.words import CAPTURE_TYPE, LOCALIZER_TYPE, RENDERING_TYPE, states_type

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

# Half of what `geometry` and `load` allow between any two slices: two slices that fit a third one fit each other.
_DIRECTION_TOLERANCE = 0.005
_SPACING_TOLERANCE = 5e-4

_LONELY_IMAGES = 3
"""So many images may each lie in a plane of its own; more of them are projections that turn around the head."""


def split_headers(headers: Iterable[SliceHeader]) -> tuple[tuple[SliceHeader, ...], ...]:
    """Splits the images of a series into stacks of one matrix, orientation and pixel spacing.

    Localizers make one stack, captures and renderings others, however they lie; so do many images of which each has a
    plane of its own. Images without orientation go with the largest stack of their matrix: loading it will tell that
    they have no place.

    Args:
        headers: Images of a series; their order does not matter.

    Returns:
        The stacks, the largest first, each in the order in which its images were given.
    """
    found = tuple(headers)
    place = {id(header): index for index, header in enumerate(found)}
    kinds: dict[str, list[SliceHeader]] = {}
    for header in sorted(found, key=lambda item: (item.sop_uid, item.frame, item.file)):
        kinds.setdefault(_kind(header), []).append(header)
    stacks = _stacks(kinds.pop("placed", []))
    stacks.sort(key=len, reverse=True)
    homeless = _add_homeless(kinds.pop("homeless", []), stacks)
    parts = [part for part in (*_with_lonely_joined(stacks), homeless, *kinds.values()) if part]
    parts.sort(key=len, reverse=True)
    return tuple(tuple(sorted(part, key=lambda header: place[id(header)])) for part in parts)


def difference(one: SliceHeader, other: SliceHeader) -> tuple[str, str]:
    """Returns how two stacks of a series differ: a code of `REASONS`, and words."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return "mixed_matrix", f"{one.rows} x {one.columns} pixels, not {other.rows} x {other.columns}"
    if one.pixel_spacing_mm is None:
        return "no_pixel_spacing", "no usable Pixel Spacing (0028,0030)"
    spacing = other.pixel_spacing_mm or (0.0, 0.0)
    if max(abs(a - b) for a, b in zip(one.pixel_spacing_mm, spacing, strict=True)) > _SPACING_TOLERANCE * min(spacing):
        return "mixed_spacing", "pixels of another size"
    return "mixed_orientation", "another Image Orientation (0020,0037)"


def is_localizer(header: SliceHeader) -> bool:
    """Tells a localizer by its Image Type, DICOM PS3.3 C.8.2.1.1.1."""
    return states_type(header.image_type, LOCALIZER_TYPE)


def is_capture(header: SliceHeader) -> bool:
    """Tells a screen capture by its SOP class, Secondary Capture in any of its forms, or by its Image Type."""
    is_secondary = header.sop_class_uid == _SECONDARY_CAPTURE or header.sop_class_uid.startswith(
        f"{_SECONDARY_CAPTURE}."
    )
    return is_secondary or states_type(header.image_type, CAPTURE_TYPE)


def is_rendering(header: SliceHeader) -> bool:
    """Tells a projection or rendering of a scan by its Image Type."""
    return states_type(header.image_type, RENDERING_TYPE)


def _kind(header: SliceHeader) -> str:
    if is_localizer(header):
        return "localizer"
    if is_capture(header):
        return "capture"
    if is_rendering(header):
        return "rendering"
    return "homeless" if header.image_orientation is None else "placed"


class _Planes:
    """The first images of the stacks of one matrix: finds the stack that another image fits, however many there are."""

    def __init__(self) -> None:
        self.stacks: list[list[SliceHeader]] = []
        self._known: dict[object, list[SliceHeader]] = {}
        # One column a stack: direction of a row and of a column, pixel spacing.
        self._first = np.empty((8, 4))
        self._tolerance = np.empty((8, 4))

    def add(self, header: SliceHeader) -> None:
        plane = (header.image_orientation, header.pixel_spacing_mm)
        stack = self._known.get(plane)
        if stack is None:
            stack = self._known[plane] = self._find(header)
        stack.append(header)

    def _find(self, header: SliceHeader) -> list[SliceHeader]:
        """Returns the oldest stack that an image fits, a new one if there is none."""
        spacing = header.pixel_spacing_mm or (0.0, 0.0)
        own = np.array([*(header.image_orientation or ()), *spacing])
        count = len(self.stacks)
        fits = (np.abs(self._first[:, :count] - own[:, None]) <= self._tolerance[:, :count]).all(axis=0)
        if fits.any():
            return self.stacks[int(fits.argmax())]
        if count == self._first.shape[1]:
            self._first, self._tolerance = (np.tile(old, 2) for old in (self._first, self._tolerance))
        self._first[:, count] = own
        self._tolerance[:, count] = [_DIRECTION_TOLERANCE] * 6 + [_SPACING_TOLERANCE * min(spacing)] * 2
        self.stacks.append([])
        return self.stacks[-1]


def _stacks(headers: Iterable[SliceHeader]) -> list[list[SliceHeader]]:
    planes: dict[tuple[int, int, bool], _Planes] = {}
    for header in headers:
        kind = (header.rows, header.columns, header.pixel_spacing_mm is None)
        planes.setdefault(kind, _Planes()).add(header)
    return [stack for items in planes.values() for stack in items.stacks]


def _add_homeless(headers: Iterable[SliceHeader], stacks: Sequence[list[SliceHeader]]) -> list[SliceHeader]:
    """Adds images to the first stack of their matrix; returns those for which there is none."""
    left: list[SliceHeader] = []
    for header in headers:
        stack = next((stack for stack in stacks if _same_matrix(header, stack[0])), left)
        stack.append(header)
    return left


def _with_lonely_joined(stacks: Sequence[list[SliceHeader]]) -> list[list[SliceHeader]]:
    """Makes one stack of many images that are parallel to no other."""
    directions = np.array([stack[0].image_orientation for stack in stacks]).reshape(len(stacks), 6).T.copy()
    singles = [index for index, stack in enumerate(stacks) if len(stack) == 1]
    lonely = {index for index in singles if _parallel(directions, directions[:, index]) == 1}
    if len(lonely) <= _LONELY_IMAGES:
        return list(stacks)
    others = [stack for index, stack in enumerate(stacks) if index not in lonely]
    return [*others, [stacks[index][0] for index in sorted(lonely)]]


def _parallel(directions: npt.NDArray[np.float64], direction: npt.NDArray[np.float64]) -> int:
    """Counts the directions, shape (6, stacks), that are near to one, shape (6,)."""
    return int(np.count_nonzero((np.abs(directions - direction[:, None]) <= _DIRECTION_TOLERANCE).all(axis=0)))


def _same_matrix(one: SliceHeader, other: SliceHeader) -> bool:
    return (one.rows, one.columns) == (other.rows, other.columns)
