"""The scale of images that have no absolute one, as those of MR (numpy only)."""

from __future__ import annotations

import numpy as np

from slicewise.volume import FloatImages

RELATIVE_UNIT = 1000.0
"""What the reference of a series is brought to: values are then in thousandths of it."""

_FAINTEST = 1e-9
"""No real series is fainter; float32 could not hold what a hostile one is scaled to."""


def relative_scale(values: FloatImages) -> float | None:
    """Finds the factor that brings a series to thousandths of its reference.

    The reference is the median of the foreground, and foreground is what is brighter than the mean of the series, as
    in TorchIO's `ZNormalization.mean`. In a FLAIR image of the head that is close to grey matter; a tumour or the
    bright skin move a median little. Zero, which is no signal in MR, stays zero.

    Args:
        values: A series, shape (slices, rows, columns).

    Returns:
        The factor; None where nothing is brighter than the mean, or the reference is not clearly above 0.

    >>> relative_scale(np.array([[[0.0, 0.0, 0.0, 50.0]]], dtype=np.float32))
    20.0
    """
    foreground = values[values > values.mean(dtype=np.float64)]
    if foreground.size == 0:
        return None
    reference = float(np.median(foreground))
    return RELATIVE_UNIT / reference if reference > _FAINTEST else None
