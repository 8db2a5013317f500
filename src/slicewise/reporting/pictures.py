"""Pictures of slices for the report: the first channels of the task, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from slicewise.errors import SlicewiseError
from slicewise.imaging.decode import decode_slice
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.imaging.windows import apply_channels
from slicewise.progress import Progress, no_progress
from slicewise.results import ModelSummary, Rejection, SliceResult, StudyResult
from slicewise.task import WindowChannel

SHOWN_CHANNELS = 2
"""Channels of the task that are shown side by side: its first ones."""

_JPEG_QUALITY = 85
_SIZES = ((40, 384), (120, 288))
"""Up to so many flagged slices, so many pixels along the longer side of a picture."""
_SMALLEST = 208

SliceKey = tuple[str, str, int]
"""Study, SOP instance and frame: what tells a slice from every other one of a report."""


@dataclass(frozen=True)
class Picture:
    """One slice in one window.

    Attributes:
        caption: Name and values of the window.
        alt: What the picture shows, for those who do not see it.
        data_uri: The picture itself, JPEG.
        width: Width in pixels.
        height: Height in pixels, by the pixel spacing of the slice.
    """

    caption: str
    alt: str
    data_uri: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureSet:
    """The pictures of one slice, or the reason why there are none.

    Attributes:
        pictures: One a channel; empty where they cannot be made.
        problem: Why they cannot be made, else "".
    """

    pictures: tuple[Picture, ...]
    problem: str = ""


def slice_key(study: StudyResult, item: SliceResult) -> SliceKey:
    """Returns what tells a slice from every other one of a report."""
    return study.study_uid, item.sop_uid, item.frame


def flagged_pictures(
    studies: Sequence[StudyResult],
    model: ModelSummary,
    channels: Sequence[WindowChannel],
    progress: Progress = no_progress,
) -> dict[SliceKey, PictureSet]:
    """Makes the pictures of every flagged slice, smaller ones where there are many.

    Args:
        studies: Results; the pixels are read again from `paths`.
        model: Its thresholds say what is flagged.
        channels: Windows of the task; the first `SHOWN_CHANNELS` are shown.
        progress: Reports slices.
    """
    flagged = [
        (study, item)
        for study in studies
        for series in study.series
        for item in series.slices
        if model.flagged(item.probabilities)
    ]
    longest = next((size for count, size in _SIZES if len(flagged) <= count), _SMALLEST)
    return {
        slice_key(study, item): _picture_set(study, item, channels[:SHOWN_CHANNELS], longest)
        for study, item in progress(flagged, description="pictures", total=len(flagged))
    }


def _picture_set(
    study: StudyResult, item: SliceResult, channels: Sequence[WindowChannel], longest_side: int
) -> PictureSet:
    if item.sop_uid not in study.paths:
        return PictureSet((), f"{item.file}: where this file lies is not known.")
    path = Path(study.paths[item.sop_uid])
    try:
        header = next(discover([path]))
        if isinstance(header, Rejection):
            return PictureSet((), header.message)
        return PictureSet(_pictures(header, channels, longest_side))
    except (SlicewiseError, OSError) as error:
        return PictureSet((), str(error).replace(str(path), item.file))  # a report shows no path of this machine


def _pictures(header: SliceHeader, channels: Sequence[WindowChannel], longest_side: int) -> tuple[Picture, ...]:
    shown = apply_channels(decode_slice(header.path).values, channels)
    width, height = _size(header, longest_side)
    return tuple(
        Picture(
            caption=f"{channel.name.capitalize()} window, center {channel.center:g}, width {channel.width:g} HU",
            alt=f"{channel.name.capitalize()} window",
            data_uri=_data_uri(pixels, width, height),
            width=width,
            height=height,
        )
        for channel, pixels in zip(channels, shown, strict=True)
    )


def _size(header: SliceHeader, longest_side: int) -> tuple[int, int]:
    """Returns width and height with the proportions that the slice has in mm; never finer than the longer side."""
    between_rows, between_columns = header.pixel_spacing_mm or (1.0, 1.0)
    width_mm, height_mm = header.columns * between_columns, header.rows * between_rows
    scale = min(longest_side, max(header.rows, header.columns)) / max(width_mm, height_mm)
    return max(round(width_mm * scale), 1), max(round(height_mm * scale), 1)


def _data_uri(pixels: npt.NDArray[np.float32], width: int, height: int) -> str:
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
