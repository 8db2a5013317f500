"""The rule that turns blood in a slice into a label.

A slice is labelled by the mean cross-section of the blood within its thickness: the occupancy that the scan leaves of
it, summed over the pixels. That is what a reader sees: a 5 mm slice that just touches a bleed shows a faint one. The
rule is the same from 0.6 to 7.5 mm. A bleed of 20 mm2 that fills the slices is positive in each of them whatever their
thickness; a dot of 5 mm that lies in one 5 mm slice is positive there, is spread below the line by 7.5 mm slices, and
is positive in seven or eight slices of 0.6 mm. Blood that fills less than `VISIBLE_OCCUPANCY` of a pixel changes it by
less than the noise and does not count, so that a wide faint smear is no positive slice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.phantom.fields import Field
from slicewise.phantom.hemorrhages.model import ANY, SUBTYPES

LABELS = (ANY, *SUBTYPES)
UNKNOWN = -1
POSITIVE_MM2, BORDERLINE_MM2 = 15.0, 4.0
VISIBLE_OCCUPANCY = 0.15
"""About 4 HU: somewhat more than one standard deviation of the noise of a 5 mm slice."""


def blood_areas_mm2(occupancy: dict[str, Field], pixel_mm: float) -> npt.NDArray[np.float64]:
    """Returns the visible area of blood of every slice and subtype.

    Args:
        occupancy: Share of every voxel of the scan that is blood of a subtype, shape (slices, rows, columns), for the
            subtypes that are there: at least one.
        pixel_mm: Side of a pixel.

    Returns:
        Shape (slices, subtypes), in the order of `SUBTYPES`.
    """
    count = len(next(iter(occupancy.values())))
    areas = np.zeros((count, len(SUBTYPES)))
    for name, field in occupancy.items():
        visible = np.where(field >= VISIBLE_OCCUPANCY, field, np.float32(0))
        areas[:, SUBTYPES.index(name)] = visible.sum(axis=(1, 2), dtype=np.float64) * pixel_mm**2
    return areas


def labels_from_areas(areas_mm2: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Labels slices by the area of blood: positive from 15 mm2, unknown from 4 mm2, negative below.

    `any` is positive where a subtype is, else unknown where a subtype is, else negative.

    Args:
        areas_mm2: Shape (slices, subtypes).

    Returns:
        1, 0 or -1 (unknown), shape (slices, 1 + subtypes), `any` first.
    """
    subtypes = np.where(areas_mm2 >= POSITIVE_MM2, 1, np.where(areas_mm2 >= BORDERLINE_MM2, UNKNOWN, 0))
    positive, unknown = (subtypes == 1).any(axis=1), (subtypes == UNKNOWN).any(axis=1)
    summary = np.where(positive, 1, np.where(unknown, UNKNOWN, 0))
    labels: npt.NDArray[np.int8] = np.column_stack([summary, subtypes]).astype(np.int8)
    return labels
