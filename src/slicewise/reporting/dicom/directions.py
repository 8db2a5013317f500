"""Which way the patient lies in an image."""

from __future__ import annotations

from slicewise.volume import Orientation

_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Ends of the axes of the patient: towards higher coordinates, then lower ones, DICOM PS3.3 C.7.6.2.1.1."""

_SMALLEST_PART = 0.1
"""A direction that lies closer than 6 degrees to a plane is not said to leave it."""


def direction_letters(direction: tuple[float, float, float]) -> str:
    """Returns where a direction points to, as the letters of Patient Orientation, DICOM PS3.3 C.7.6.1.1.1.

    >>> direction_letters((1.0, 0.0, 0.0)), direction_letters((0.0, -0.9, 0.44))
    ('L', 'AH')
    """
    parts = sorted(zip(direction, _LETTERS, strict=True), key=lambda part: -abs(part[0]))
    return "".join(ends[0] if value > 0 else ends[1] for value, ends in parts if abs(value) > _SMALLEST_PART)


def patient_orientation(orientation: Orientation) -> tuple[str, str]:
    """Returns where the rows of an image point to, and where its columns do, (0020,0020)."""
    return direction_letters(orientation[:3]), direction_letters(orientation[3:])


def edge_letters(orientation: Orientation) -> dict[str, str]:
    """Returns what lies at every edge of an image: "left", "right", "top" and "bottom"."""
    row, column = orientation[:3], orientation[3:]
    return {
        "left": direction_letters((-row[0], -row[1], -row[2])),
        "right": direction_letters(row),
        "top": direction_letters((-column[0], -column[1], -column[2])),
        "bottom": direction_letters(column),
    }
