"""Brings slices to the canonical orientation in the plane: columns count to the patient's left, rows to the back.

Only the eight turns of a square are used, transposition and flips: they move pixels and change none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from slicewise.volume import Orientation

Scalar = TypeVar("Scalar", bound=np.generic)

Pair = tuple[float, float]
"""What belongs to rows, then what belongs to columns."""


@dataclass(frozen=True)
class Turn:
    """How original images become canonical ones: rows and columns are flipped, then they change places.

    Attributes:
        flip_rows: The original rows are taken from the last to the first.
        flip_columns: The original columns are taken from the last to the first.
        transposed: Then rows and columns change places.
    """

    flip_rows: bool
    flip_columns: bool
    transposed: bool

    def apply(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Returns a view of images, shape (slices, rows, columns), in the canonical orientation."""
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in (self.flip_rows, self.flip_columns))
        turned = values[:, rows, columns]
        return turned.swapaxes(1, 2) if self.transposed else turned

    def swap(self, pair: Pair) -> Pair:
        """Exchanges what belongs to rows and to columns where they change places."""
        return (pair[1], pair[0]) if self.transposed else pair

    def grid_in_original(self, origin_px: Pair, step_px: Pair, shape: tuple[int, int]) -> tuple[Pair, Pair]:
        """Maps a grid over canonical images to the original ones.

        Args:
            origin_px: Canonical row and column of the centre of the first grid pixel.
            step_px: Canonical rows and columns from one grid pixel to the next.
            shape: Rows and columns of the original images.

        Returns:
            Origin and step of the grid along the original rows and columns; a step is negative along flipped ones.
        """
        row, column = zip(
            self.swap(origin_px), self.swap(step_px), shape, (self.flip_rows, self.flip_columns), strict=True
        )
        (row_origin, row_step), (column_origin, column_step) = _along_axis(*row), _along_axis(*column)
        return (row_origin, column_origin), (row_step, column_step)


def _along_axis(origin: float, step: float, pixels: int, flip: bool) -> Pair:  # noqa: FBT001 - private, one of a tuple
    return (pixels - 1 - origin, -step) if flip else (origin, step)


def turn_to_canonical(orientation: Orientation) -> Turn:
    """Returns the turn after which columns run as near as possible to +x, the patient's left, and rows to +y, the back.

    Args:
        orientation: Image Orientation (Patient), DICOM PS3.3 C.7.6.2.1.1: direction in which columns count, then rows.
    """
    (column_x, column_y, _), (row_x, row_y, _) = orientation[:3], orientation[3:]
    if abs(column_y) + abs(row_x) > abs(column_x) + abs(row_y):
        return Turn(flip_rows=row_x < 0, flip_columns=column_y < 0, transposed=True)
    return Turn(flip_rows=row_y < 0, flip_columns=column_x < 0, transposed=False)
