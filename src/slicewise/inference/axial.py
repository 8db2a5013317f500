"""Which slices a series shows to axial fusion, and where they stand on the axial unit of the task."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from slicewise.task import Task

Indices = npt.NDArray[np.int64]


def axial_positions(positions_mm: npt.NDArray[np.float64], task: Task) -> npt.NDArray[np.float32]:
    """Returns the positions that stage 2 sees: mm from the first slice, or the index where mm are not known.

    Args:
        positions_mm: Positions of a series without duplicates, ascending, shape (S,).
        task: Its axial unit decides.
    """
    if task.axial_unit == "index":
        return np.arange(len(positions_mm), dtype=np.float32)
    offsets: npt.NDArray[np.float32] = (positions_mm - positions_mm[0]).astype(np.float32)
    return offsets


def primary_rows(duplicate_rank: Indices) -> Indices:
    """Returns the rows that neighbours see: one for every position."""
    return np.flatnonzero(duplicate_rank == 0)


def fusion_passes(duplicate_rank: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yields the sequences that axial fusion reads so that every row is scored among its neighbours.

    The first sequence holds the rows of rank 0. Each further one puts the rows of one higher rank in the place of the
    rows at the same position.

    Args:
        duplicate_rank: Rank of every row among the rows at its position, in axial order, shape (R,).

    Yields:
        Rows of the sequence, one a position, and the steps of the sequence whose output is kept.
    """
    # Rows at one position stand side by side, rank 0 first.
    position = np.cumsum(duplicate_rank == 0) - 1
    rows = primary_rows(duplicate_rank)
    yield rows, np.arange(len(rows))
    for rank in range(1, int(duplicate_rank.max()) + 1):
        of_rank = np.flatnonzero(duplicate_rank == rank)
        sequence = rows.copy()
        sequence[position[of_rank]] = of_rank
        yield sequence, position[of_rank]
