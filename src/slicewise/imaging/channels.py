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


def channels_of_rows(
    model_input: ModelInput, task: Task, chosen: npt.NDArray[np.int64], neighbours: int = 0
) -> FloatImages:
    """Returns the channels of a few rows of a series, as `channel_batches` gives them.

    Args:
        model_input: The series on the grid of the task.
        task: Its channels.
        chosen: Rows of the network input, at least one, in any order, shape (K,).
        neighbours: Neighbours on either side that enter as further channels.

    Returns:
        Shape (K, C, size, size).
    """
    return _stack(model_input.values, neighbour_rows(model_input.duplicate_rank, neighbours)[chosen], task)


def _stack(values: npt.NDArray[np.int16], rows: npt.NDArray[np.int64], task: Task) -> FloatImages:
    first, last = int(rows.min()), int(rows.max())
    shown = apply_channels(values[first : last + 1], task.channels)
    if rows.shape[1] == 1 and np.array_equal(rows[:, 0], np.arange(first, last + 1)):
        return shown  # every slice alone and in order: copying them would take longer than the windows
    stacked: FloatImages = shown[rows - first]
    return stacked.reshape(len(rows), -1, *values.shape[1:])
