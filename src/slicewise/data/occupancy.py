"""Findings on a coarse grid beside every row of the network input: what dense supervision of stage 1 reads.

`series/<name>/masks.npy` of a prepared dataset: uint8, shape (R, L, C, C), for R rows of the network input, L labels of
the task and C = size / OCCUPANCY_STRIDE cells. 255 is a cell that the finding fills. A dataset need not have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.data.arrays import open_array
from slicewise.errors import UsageError
from slicewise.task import OCCUPANCY_STRIDE, Task

MASKS = "masks.npy"

Occupancy = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GridPlace:
    """Where the grid of the network input lies in canonical images: columns count to the left, rows to the back.

    Attributes:
        origin_px: Row and column of the centre of the first grid pixel.
        step_px: Rows and columns from one grid pixel to the next, above 0.
        slab_of_slice: Row of the network input that each slice went into.
    """

    origin_px: tuple[float, float]
    step_px: tuple[float, float]
    slab_of_slice: npt.NDArray[np.int64]


def check_grid(task: Task) -> None:
    """Checks that the grid of a task can hold masks.

    Raises:
        UsageError: If its size is no multiple of OCCUPANCY_STRIDE.
    """
    size = task.preprocessing.size
    if size % OCCUPANCY_STRIDE:
        raise UsageError(
            f"task '{task.name}': preprocessing.size is {size}. Masks need a multiple of {OCCUPANCY_STRIDE}: change "
            "it, or leave masks out"
        )


def coarse_occupancy(findings: Mapping[str, Shares], place: GridPlace, task: Task) -> Occupancy:
    """Averages findings over the cells of the coarse grid and the slices of every row of the network input.

    Args:
        findings: Share of every voxel that a finding fills, shape (slices, rows, columns), for the labels that are
            there. A label that sums up the others has the sum of theirs.
        place: Where the grid lies in them.
        task: Labels and size of the grid.

    Returns:
        Shape (R, L, size / OCCUPANCY_STRIDE, size / OCCUPANCY_STRIDE).

    Raises:
        UsageError: If the size of the task's grid is no multiple of OCCUPANCY_STRIDE.
    """
    check_grid(task)
    cells, counts = task.preprocessing.size // OCCUPANCY_STRIDE, np.bincount(place.slab_of_slice)
    result = np.zeros((len(counts), len(task.label_names), cells, cells), dtype=np.float32)
    for name, shares in findings.items():
        along_rows, along_columns = (
            _cells(origin, step, shares.shape[axis], cells)
            for axis, (origin, step) in enumerate(zip(place.origin_px, place.step_px, strict=True), start=1)
        )
        label = task.label_names.index(name)
        for number in np.flatnonzero(shares.any(axis=(1, 2))).tolist():
            seen = along_columns @ (along_rows @ shares[number]).T
            result[place.slab_of_slice[number], label] += seen.T
    result /= counts[:, None, None, None].astype(np.float32)
    if task.any_index is not None:
        result[:, task.any_index] += np.delete(result, task.any_index, axis=1).sum(axis=1)
    return np.rint(255 * np.clip(result, 0, 1)).astype(np.uint8)


def _cells(origin: float, step: float, pixels: int, cells: int) -> sparse.csr_array:
    """Share of every cell that each original pixel covers, shape (cells, pixels)."""
    edges = origin + step * (OCCUPANCY_STRIDE * np.arange(cells + 1) - 0.5)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(pixels)
    overlap = np.clip(np.minimum(high, place + 0.5) - np.maximum(low, place - 0.5), 0, None)
    return sparse.csr_array((overlap / (OCCUPANCY_STRIDE * step)).astype(np.float32))


def digest_of_masks(masks: Occupancy) -> str:
    """Returns the SHA-256 of the masks of a series in C order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(masks).tobytes()).hexdigest()


def open_masks(folder: Path, rows: int, labels: int, size: int) -> Occupancy:
    """Opens `masks.npy` of a series folder, memory-mapped.

    Args:
        folder: Folder of the series.
        rows: Rows of the network input R.
        labels: Labels of the task L.
        size: Rows and columns of the network input.

    Returns:
        Shape (R, L, size / OCCUPANCY_STRIDE, size / OCCUPANCY_STRIDE).

    Raises:
        DatasetError: If the file is missing, truncated or not of this series.
    """
    cells = size // OCCUPANCY_STRIDE
    return open_array(folder / MASKS, np.uint8, (rows, labels, cells, cells))
