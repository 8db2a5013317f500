"""Where the head lies in the plane: one centre for a whole series (numpy and scipy only).

The body is easy to find in any image. But face, neck, headrest and cushions come and go with the range of a scan; the
brain does not, and what its skull encloses keeps its centre.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.imaging.geometry import median_spacing_mm
from slicewise.imaging.skull import find_skull
from slicewise.volume import Volume

_SEARCH_MM = 4.0
"""The head is looked for on a grid of about this size: fine enough for a centre, coarse enough to be quick."""


def body_centre(volume: Volume, threshold: float, opening_mm: float) -> tuple[float, float] | None:
    """Finds the centre of the body's bounding box in the plane.

    The body is the largest connected one after an opening in the plane, which parts it from headrest and cushions.

    Args:
        volume: A series in canonical orientation.
        threshold: Value above which a pixel belongs to a body.
        opening_mm: Radius of the opening.

    Returns:
        Row and column in pixels, whole numbers at pixel centres; None where there is no body.
    """
    spacing = median_spacing_mm(volume.positions_mm) or _SEARCH_MM
    strides = [max(1, round(_SEARCH_MM / step)) for step in (spacing, *volume.pixel_spacing_mm)]
    coarse = volume.values[:: strides[0], :: strides[1], :: strides[2]]
    radii = [opening_mm / (step * stride) for step, stride in zip(volume.pixel_spacing_mm, strides[1:], strict=True)]
    body = ndimage.binary_opening(coarse > threshold, structure=_disc(radii[0], radii[1])[None])
    labels, count = ndimage.label(body)
    if count == 0:
        return None
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    box = ndimage.find_objects(labels, max_label=largest)[largest - 1]
    row, column = ((side.start + side.stop - 1) / 2 * stride for side, stride in zip(box[1:], strides[1:], strict=True))
    return row, column


def skull_centre(volume: Volume) -> tuple[float, float] | None:
    """Finds the centre of the brain in the plane: that of what the skull encloses, in the middle slices of the brain.

    Over many slices the centre of gravity is steadier than that of a box, whose sides one row of nodes decides.

    Args:
        volume: A head CT in canonical orientation.

    Returns:
        Row and column in pixels, whole numbers at pixel centres; None where no skull with a brain is found.
    """
    spacing = median_spacing_mm(volume.positions_mm) or _SEARCH_MM
    stride = max(1, round(_SEARCH_MM / spacing))
    skull = find_skull(volume.values[::stride], volume.positions_mm[::stride], volume.pixel_spacing_mm, _SEARCH_MM)
    _, rows, columns = np.nonzero(skull.inside[skull.brain_slices])
    if not len(rows):
        return None
    row, column = (
        (float(nodes.mean()) + 0.5) * step - 0.5
        for nodes, step in zip((rows, columns), skull.pixels_a_node, strict=True)
    )
    return row, column


def _disc(row_radius: float, column_radius: float) -> npt.NDArray[np.bool_]:
    rows = np.arange(-int(row_radius), int(row_radius) + 1) / max(row_radius, 1e-6)
    columns = np.arange(-int(column_radius), int(column_radius) + 1) / max(column_radius, 1e-6)
    disc: npt.NDArray[np.bool_] = rows[:, None] ** 2 + columns[None, :] ** 2 <= 1.0
    return disc
