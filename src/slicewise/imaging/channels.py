"""ModelInput -> channels of the network, in batches: training, evaluation and prediction read them here."""

from __future__ import annotations

from collections.abc import Iterator

from slicewise.imaging.preprocess import ModelInput
from slicewise.imaging.windows import apply_channels
from slicewise.task import Task
from slicewise.volume import FloatImages


def channel_count(task: Task) -> int:
    """Returns how many channels the network reads."""
    return len(task.channels)


def channel_batches(model_input: ModelInput, task: Task, batch: int) -> Iterator[FloatImages]:
    """Yields the channels of a series in axial order.

    Args:
        model_input: The series on the grid of the task.
        task: Its channels.
        batch: Largest number of slices at once.

    Yields:
        Channels in [0, 1], shape (up to batch, C, size, size).
    """
    for start in range(0, len(model_input.values), batch):
        yield apply_channels(model_input.values[start : start + batch], task.channels)
