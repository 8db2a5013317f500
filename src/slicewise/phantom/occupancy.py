"""Blood on a coarse grid beside every row of the network input: what dense supervision of stage 1 reads.

`series/<name>/masks.npy` of a prepared dataset: uint8, shape (R, L, size / STRIDE, size / STRIDE), for R rows of the
network input and L labels of the task. 255 is a cell that blood fills; a label that sums up the others has the sum of
theirs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.errors import UsageError
from slicewise.imaging.preprocess import ModelInput
from slicewise.phantom.fields import Field
from slicewise.task import Task

MASKS = "masks.npy"
STRIDE = 8


def coarse_occupancy(occupancy: dict[str, Field], model_input: ModelInput, task: Task) -> npt.NDArray[np.uint8]:
    """Averages occupancies over the cells of the coarse grid and the slices of every row.

    Args:
        occupancy: Share of every voxel of the scan that is blood of a label, shape (slices, rows, columns), for the
            labels that are there; upright, as a phantom is.
        model_input: The scan on the grid of the task.
        task: Labels and size of the grid.

    Returns:
        Shape (R, L, size / STRIDE, size / STRIDE).

    Raises:
        UsageError: If the size of the task's grid is no multiple of STRIDE.
    """
    size = task.preprocessing.size
    if size % STRIDE:
        raise UsageError(f"preprocessing.size of task '{task.name}': {size} is no multiple of {STRIDE}")
    cells, rows = size // STRIDE, len(model_input.positions_mm)
    result = np.zeros((rows, len(task.label_names), cells, cells), dtype=np.float32)
    counts = np.bincount(model_input.slab_of_slice, minlength=rows).astype(np.float32)
    for name, field in occupancy.items():
        along_rows, along_columns = (
            _cells(origin, step, field.shape[axis], cells)
            for axis, (origin, step) in enumerate(zip(model_input.origin_px, model_input.step_px, strict=True), start=1)
        )
        place = task.label_names.index(name)
        for number in np.flatnonzero(field.any(axis=(1, 2))).tolist():
            seen = along_columns @ (along_rows @ field[number]).T
            result[model_input.slab_of_slice[number], place] += seen.T
    result /= counts[:, None, None, None]
    if task.any_index is not None:
        result[:, task.any_index] = result.sum(axis=1)
    return np.rint(255 * np.clip(result, 0, 1)).astype(np.uint8)


def _cells(origin: float, step: float, pixels: int, cells: int) -> sparse.csr_array:
    """Share of every cell that each original pixel covers, shape (cells, pixels)."""
    edges = origin + step * (STRIDE * np.arange(cells + 1) - 0.5)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(pixels)
    overlap = np.clip(np.minimum(high, place + 0.5) - np.maximum(low, place - 0.5), 0, None)
    return sparse.csr_array((overlap / (STRIDE * step)).astype(np.float32))
