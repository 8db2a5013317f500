"""ModelInput -> channels of the network, in batches: training, evaluation and prediction read them here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from slicewise.imaging.neighbours import neighbour_rows
from slicewise.imaging.preprocess import ModelInput
from slicewise.imaging.windows import apply_channels
from slicewise.task import Task
from slicewise.volume import FloatImages


def channel_count(task: Task, neighbours: int = 0) -> int:
    """Returns how many channels the network reads: those of the task for a slice and its neighbours on either side."""
    return len(task.channels) * (2 * neighbours + 1)


def channel_batches(model_input: ModelInput, task: Task, batch: int, neighbours: int = 0) -> Iterator[FloatImages]:
    """Yields the channels of a series in axial order.

    Args:
        model_input: The series on the grid of the task.
        task: Its channels.
        batch: Largest number of slices at once.
        neighbours: Neighbours on either side that enter as further channels.

    Yields:
        Channels in [0, 1], shape (up to batch, C, size, size).
    """
    rows = neighbour_rows(model_input.duplicate_rank, neighbours)
    for start in range(0, len(rows), batch):
        yield _stack(model_input.values, rows[start : start + batch], task)


def _stack(values: npt.NDArray[np.int16], rows: npt.NDArray[np.int64], task: Task) -> FloatImages:
    needed, place = np.unique(rows, return_inverse=True)
    shown = apply_channels(values[needed[0] : needed[-1] + 1], task.channels)
    stacked: FloatImages = shown[needed - needed[0]][place.reshape(rows.shape)]
    return stacked.reshape(len(rows), -1, *values.shape[1:])
