"""What goes wrong in a scan beside noise and streaks: cupping, shading, and heads that move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.phantom.fields import Field, smooth_noise

_OUTER_MM = -2.0
"""Cupping reaches this far into the bone, so that the brain beside it is not spared."""


def add_cupping(hu: Field, wall_mm: Field, excess_hu: float, decay_mm: float) -> None:
    """Makes brain near the inner table brighter than the centre, in place.

    Args:
        hu: Image of a head.
        wall_mm: Distance to the inner table, positive in the cranial cavity, in the shape of the image.
        excess_hu: Excess at the inner table.
        decay_mm: Depth over which it falls to 1/e.
    """
    reached = wall_mm > _OUTER_MM
    found = [np.flatnonzero(reached.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(found[0]):
        return
    box = tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in found)
    excess = np.maximum(wall_mm[box], np.float32(0))
    excess *= np.float32(-1 / decay_mm)
    np.exp(excess, out=excess)
    excess *= np.float32(excess_hu)
    excess *= reached[box]
    hu[box] += excess


def shading(rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Field:
    """Draws a smooth drift of SD 1 over the field of view and along the scan."""
    return smooth_noise(rng, shape, spacing_mm, (60.0, 75.0, 75.0))


@dataclass(frozen=True)
class Motion:
    """The head moves while some slices are taken: they show it twice.

    Attributes:
        slices: Which slices.
        degrees: Turn in the plane between the two positions.
        shift_mm: Shift between them along rows and columns of pixels.
        share: Share of the views that saw the second position.
    """

    slices: tuple[int, ...]
    degrees: float
    shift_mm: tuple[float, float]
    share: float

    def blur(self, images: Field, pixel_mm: float, background: float) -> None:
        """Adds the second contour to the slices concerned, in place.

        Args:
            images: Shape (slices, rows, columns).
            pixel_mm: Side of a pixel.
            background: What comes in from outside the image.
        """
        angle = np.deg2rad(self.degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = 0.5 * (np.array(images.shape[1:]) - 1)
        offset = middle - turn @ (middle + np.array(self.shift_mm) / pixel_mm)
        for number in self.slices:
            moved = ndimage.affine_transform(
                images[number], turn, offset, order=1, mode="constant", cval=background, output=np.float32
            )
            images[number] += np.float32(self.share) * (moved - images[number])


def sample_motion(rng: np.random.Generator, slices: int) -> Motion:
    """Draws which slices are doubled, a run of up to a third of them, and by how much."""
    count = int(rng.integers(1, max(2, slices // 3) + 1))
    first = int(rng.integers(0, slices - min(count, slices) + 1))
    shift = rng.normal(0, 2.5, size=2)
    return Motion(
        slices=tuple(range(first, min(first + count, slices))),
        degrees=float(rng.normal(0, 3.0)),
        shift_mm=(float(shift[0]), float(shift[1])),
        share=float(rng.uniform(0.2, 0.5)),
    )


def outside_circle(matrix: int) -> npt.NDArray[np.bool_]:
    """Returns which pixels lie outside the circle of reconstruction, shape (matrix, matrix)."""
    place = np.arange(matrix) - 0.5 * (matrix - 1)
    outside: npt.NDArray[np.bool_] = np.hypot(place[:, None], place[None, :]) > 0.5 * matrix
    return outside
