"""One small grey picture a slice that holds every window of the task: what the viewer of the report scrolls through.

A picture a slice and window would be three times as large, and eight bits over the whole range of a CT leave the brain
window some twenty grey levels. So the grey level of a picture is the mean of what all windows show: it rises with the
value, steeply where windows are narrow, and a table of 256 entries a window gives back what that window shows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from slicewise.imaging.windows import apply_channels
from slicewise.task import WindowChannel
from slicewise.volume import FloatImages

LEVELS = 256
MEDIA_TYPE = "image/jpeg"

_JPEG_QUALITY = 92
"""Brain is then off by about 3 of 255 grey levels, half of its noise, at half the bytes of a lossless picture."""


@dataclass(frozen=True)
class ScrollPicture:
    """One slice in all windows.

    Attributes:
        jpeg: The picture, `MEDIA_TYPE` in base64.
        width: Width in pixels.
        height: Height in pixels, by the pixel spacing of the slice.
    """

    jpeg: str
    width: int
    height: int


def scroll_picture(values: FloatImages, channels: Sequence[WindowChannel], *, width: int, height: int) -> ScrollPicture:
    """Makes the picture of a slice.

    Args:
        values: In the unit of the windows, shape (rows, columns).
        channels: The windows of the task.
        width: Width that it is brought to.
        height: Height, likewise.
    """
    # Values are averaged, as a scanner with larger pixels would; a filter that overshoots would darken brain at bone.
    small = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    levels = grey_levels(np.asarray(small), channels)
    content = io.BytesIO()
    Image.fromarray(levels).save(content, "JPEG", quality=_JPEG_QUALITY)
    return ScrollPicture(base64.b64encode(content.getvalue()).decode("ascii"), width, height)


def grey_levels(values: FloatImages, channels: Sequence[WindowChannel]) -> npt.NDArray[np.uint8]:
    """Returns the mean of what all windows show, as eight bits."""
    shown = apply_channels(values, channels).mean(axis=-3)
    levels: npt.NDArray[np.uint8] = np.rint(shown * (LEVELS - 1)).astype(np.uint8)
    return levels


def window_tables(channels: Sequence[WindowChannel]) -> tuple[tuple[int, ...], ...]:
    """Returns for every window what it shows of every grey level of a picture, in 0 to 255.

    >>> brain, bone = WindowChannel("brain", 40.0, 80.0), WindowChannel("bone", 600.0, 2800.0)
    >>> [(table[0], table[255]) for table in window_tables([brain, bone])]
    [(0, 255), (0, 255)]
    """
    edges = np.unique([channel.center + side * channel.width / 2 for channel in channels for side in (-1, 1)])
    at_edges = apply_channels(edges[None, :], channels).mean(axis=-3, dtype=np.float64)[0]
    # Between the edges every window is linear, and so is their mean.
    values = np.interp(np.arange(LEVELS) / (LEVELS - 1), at_edges, edges)
    shown = apply_channels(values[None, :], channels)[:, 0]
    return tuple(tuple(int(level) for level in np.rint(row * (LEVELS - 1))) for row in shown)
