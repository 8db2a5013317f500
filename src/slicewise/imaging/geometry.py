"""Orders the slices of a series along their common normal (numpy only).

Slices are ordered by Image Position (Patient) projected on the normal, DICOM PS3.3 C.7.6.2.1.1; never by file name,
instance number or z alone: gantries tilt. Tilt, uneven spacing and duplicates are facts to carry, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from slicewise.errors import GeometryError
from slicewise.volume import Orientation, ScanWarning

Floats = npt.NDArray[np.float64]

SAME_POSITION_MM = 0.01
"""Slices closer than this stand at one position."""

FARTHEST_MM = 10_000.0
"""No coordinate of a scan lies farther from its origin: scanners are smaller."""

_ORIENTATION_TOLERANCE = 0.01
"""Largest difference of a direction cosine between parallel slices; scanners write 4 to 6 digits."""

_EVEN_SPACING_MM = 0.1
_TILT_WORTH_TELLING_DEGREES = 1.0
_GAP_FACTOR = 1.5


@dataclass(frozen=True, eq=False)
class AxialGeometry:
    """The slices of a series from feet to head.

    Attributes:
        order: Shape (slices,): index of the given slice that stands at each place.
        positions_mm: Shape (slices,), ascending: position along the normal; equal for duplicates.
        orientation: Image Orientation (Patient) that the slices share.
        tilt_degrees: Angle between the normal and the patient's axis, 0 to 90.
        duplicate_rank: Shape (slices,). 0 for the slice that its neighbours see: of those at one position the one with
            the lowest instance number, then with the lowest SOP Instance UID; 1, 2, ... for the others.
        warnings: uneven_spacing, gap, tilted, duplicate_positions.
    """

    order: npt.NDArray[np.int64]
    positions_mm: Floats
    orientation: Orientation
    tilt_degrees: float
    duplicate_rank: npt.NDArray[np.int64]
    warnings: tuple[ScanWarning, ...]


def order_slices(
    image_positions: npt.ArrayLike,
    image_orientations: npt.ArrayLike,
    instance_numbers: Sequence[int | None],
    sop_uids: Sequence[str],
) -> AxialGeometry:
    """Orders slices along their normal; the order in which they are given does not matter.

    Args:
        image_positions: Image Position (Patient) in mm, shape (slices, 3).
        image_orientations: Image Orientation (Patient), shape (slices, 6).
        instance_numbers: Instance Number of every slice, None where it has none.
        sop_uids: SOP Instance UID of every slice.

    Raises:
        GeometryError: If the orientations differ or are none, or a position lies beyond 10 m (reasons
            mixed_orientation, bad_orientation, bad_position).
    """
    normal = slice_normal(image_orientations)
    projected = _projected(image_positions, normal)
    groups = _group_by_position(projected)

    def rank(index: int) -> tuple[float, str]:
        number = instance_numbers[index]
        return (np.inf if number is None else number), sop_uids[index]

    members = [sorted(group, key=rank) for group in groups]
    distinct = np.array([projected[group[0]] for group in groups])
    counts = [len(group) for group in groups]
    tilt = angle_to_axis(normal)
    return AxialGeometry(
        order=np.concatenate([np.asarray(group, dtype=np.int64) for group in members]),
        positions_mm=np.repeat(distinct, counts),
        orientation=cast("Orientation", tuple(np.median(np.asarray(image_orientations), axis=0).tolist())),
        tilt_degrees=tilt,
        duplicate_rank=np.concatenate([np.arange(count) for count in counts]),
        warnings=(*_tilt_warnings(tilt), *_spacing_warnings(distinct), *_duplicate_warnings(distinct, counts)),
    )


def slice_normal(image_orientations: npt.ArrayLike) -> Floats:
    """Returns the unit normal that parallel slices share, shape (3,), pointing to the head.

    Args:
        image_orientations: Image Orientation (Patient), shape (slices, 6).

    Raises:
        GeometryError: If the orientations differ or are none (reasons mixed_orientation, bad_orientation).
    """
    orientations = np.asarray(image_orientations, dtype=np.float64)
    middle = np.median(orientations, axis=0)
    if not np.all(np.abs(orientations) <= 1.0 + _ORIENTATION_TOLERANCE):  # also nan; beyond, products may overflow
        raise _bad_orientation(middle)
    difference = float(np.abs(orientations - middle).max())
    if difference > _ORIENTATION_TOLERANCE:
        raise GeometryError(
            f"The slices are not parallel: Image Orientation (0020,0037) differs by up to {difference:.3f} between "
            "them. Expected one orientation a series; split the series.",
            reason="mixed_orientation",
        )
    row, column = middle[:3], middle[3:]
    if max(abs(row @ row - 1.0), abs(column @ column - 1.0), abs(row @ column)) > _ORIENTATION_TOLERANCE:
        raise _bad_orientation(middle)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    # Slices along the patient's axis have no side to the head: their largest component decides instead.
    leading = normal[2] if abs(normal[2]) > 1e-6 else normal[np.abs(normal).argmax()]
    return normal if leading > 0 else -normal


def angle_to_axis(normal: Floats) -> float:
    """Returns the angle between a unit normal and the patient's axis (z) in degrees, 0 to 90."""
    return float(np.degrees(np.arctan2(np.hypot(normal[0], normal[1]), abs(normal[2]))))


def distinct_positions(image_positions: npt.ArrayLike, image_orientations: npt.ArrayLike) -> Floats:
    """Returns where parallel slices stand along their normal, each position once, ascending.

    Args:
        image_positions: Image Position (Patient) in mm, shape (slices, 3).
        image_orientations: Image Orientation (Patient), shape (slices, 6).

    Raises:
        GeometryError: As `order_slices`.
    """
    projected = _projected(image_positions, slice_normal(image_orientations))
    return np.array([projected[group[0]] for group in _group_by_position(projected)])


def median_spacing_mm(positions_mm: npt.ArrayLike) -> float | None:
    """Returns the median distance of neighbouring positions, None if all slices stand at one position.

    Args:
        positions_mm: Positions along the normal, ascending, duplicates at equal positions.

    >>> median_spacing_mm([0.0, 5.0, 5.0, 10.0])
    5.0
    """
    distances = np.diff(np.asarray(positions_mm, dtype=np.float64))
    distances = distances[distances > SAME_POSITION_MM]
    return float(np.median(distances)) if len(distances) else None


def _projected(image_positions: npt.ArrayLike, normal: Floats) -> Floats:
    points = np.asarray(image_positions, dtype=np.float64)
    if not np.all(np.abs(points) <= FARTHEST_MM):  # not "any beyond": nan is none either
        raise GeometryError(
            f"Image Position (0020,0032) must lie within {FARTHEST_MM / 1000:g} m of the origin. Export the series "
            "again with its geometry.",
            reason="bad_position",
        )
    return points @ normal


def _bad_orientation(found: Floats) -> GeometryError:
    return GeometryError(
        "Image Orientation (0020,0037) must be two perpendicular unit vectors, "
        f"not {', '.join(f'{value:.4g}' for value in found)}.",
        reason="bad_orientation",
    )


def _group_by_position(projected: Floats) -> list[list[int]]:
    groups: list[list[int]] = []
    for index in np.argsort(projected, kind="stable").tolist():
        if groups and projected[index] - projected[groups[-1][0]] <= SAME_POSITION_MM:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _tilt_warnings(tilt: float) -> list[ScanWarning]:
    if tilt < _TILT_WORTH_TELLING_DEGREES:
        return []
    return [ScanWarning("tilted", f"The slices are tilted by {tilt:.1f} degrees against the patient's axis.")]


def _spacing_warnings(distinct: Floats) -> list[ScanWarning]:
    distances = np.diff(distinct)
    if len(distances) < 2:
        return []
    low, middle, high = float(distances.min()), float(np.median(distances)), float(distances.max())
    if high - low <= _EVEN_SPACING_MM:
        return []
    message = f"The distance between slices varies from {low:.1f} to {high:.1f} mm (median {middle:.1f} mm)."
    warnings = [ScanWarning("uneven_spacing", message)]
    # A gap is wide against both neighbouring distances: a scan that changes its spacing has none.
    around = np.concatenate([[0.0], distances, [0.0]])
    gaps = distances > _GAP_FACTOR * np.maximum(around[:-2], around[2:])
    if gaps.any():
        places = ", ".join(f"{distances[index]:.1f} mm at {distinct[index]:.1f} mm" for index in np.flatnonzero(gaps))
        warnings.append(ScanWarning("gap", f"Slices seem to be missing: the distance to the next one is {places}."))
    return warnings


def _duplicate_warnings(distinct: Floats, counts: Sequence[int]) -> list[ScanWarning]:
    places = [f"{position:.1f} mm" for position, count in zip(distinct, counts, strict=True) if count > 1]
    if not places:
        return []
    message = f"More than one slice stands at {', '.join(places)}; the one with the lowest instance number is seen by "
    return [ScanWarning("duplicate_positions", message + "its neighbours, all are scored.")]
