"""Values -> channels in [0, 1], elementwise (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.task import WindowChannel


def apply_channels(values: npt.NDArray[Any], channels: Sequence[WindowChannel]) -> npt.NDArray[np.float32]:
    """Shows values through the windows of a task.

    A window maps [center - width / 2, center + width / 2] to [0, 1], DICOM PS3.3 C.11.2.1.3.2 (linear exact). The
    windows are absolute: a value gives the same grey level in every slice of every scan.

    Args:
        values: In the unit of the windows, shape (..., rows, columns), any numeric type.
        channels: The windows, in order.

    Returns:
        Shape (..., channels, rows, columns).

    >>> brain = WindowChannel(name="brain", center=40.0, width=80.0)
    >>> apply_channels(np.array([[-1000, 0, 20, 80, 1000]]), [brain]).tolist()
    [[[0.0, 0.0, 0.25, 1.0, 1.0]]]
    """
    result = np.empty((*values.shape[:-2], len(channels), *values.shape[-2:]), dtype=np.float32)
    for index, channel in enumerate(channels):
        shown = result[..., index, :, :]
        np.subtract(values, channel.center - channel.width / 2, out=shown, casting="unsafe")
        shown *= 1.0 / channel.width
        np.clip(shown, 0.0, 1.0, out=shown)
    return result
