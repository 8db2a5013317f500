"""Which slices a slice brings along as further channels (2.5D)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def neighbour_rows(duplicate_rank: npt.NDArray[np.int64], neighbours: int) -> npt.NDArray[np.int64]:
    """Returns the rows that enter the network for every row: its neighbours below, itself, its neighbours above.

    Of several rows at one position the neighbours see the one of rank 0. At the ends of a series the last row repeats:
    there is never a row of zeros.

    Args:
        duplicate_rank: Rank of every row among the rows at its position, in axial order, shape (R,).
        neighbours: Neighbours on either side.

    Returns:
        Shape (R, 2 neighbours + 1).

    >>> neighbour_rows(np.array([0, 0, 1, 0]), 1).tolist()
    [[0, 0, 1], [0, 1, 3], [0, 2, 3], [1, 3, 3]]
    """
    primary = np.flatnonzero(duplicate_rank == 0)
    position = np.cumsum(duplicate_rank == 0) - 1
    offsets = np.arange(-neighbours, neighbours + 1)
    rows = primary[np.clip(position[:, None] + offsets, 0, len(primary) - 1)]
    rows[:, neighbours] = np.arange(len(duplicate_rank))
    return rows
