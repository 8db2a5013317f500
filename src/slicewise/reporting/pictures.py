"""Pictures of slices for the report: the first channels of the task, as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from slicewise.errors import UnreadableFileError
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.load import load_slice
from slicewise.imaging.reasons import REASONS
from slicewise.imaging.windows import apply_channels
from slicewise.progress import Progress, no_progress
from slicewise.results import Results, SliceResult
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import FloatImages

SHOWN_CHANNELS = 2
"""Channels of the task that are shown side by side: its first ones."""

_JPEG_QUALITY = 85
_SIZES = ((40, 384), (120, 288))
"""Up to so many flagged slices, so many pixels along the longer side of a picture."""
_SMALLEST = 208

SliceKey = tuple[str, int]
"""SOP Instance UID and frame: what tells a slice from the others of its study."""


@dataclass(frozen=True)
class Picture:
    """One slice in one window.

    Attributes:
        caption: Name and values of the window, with their unit.
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


StudyPictures = dict[SliceKey, PictureSet]
"""The pictures of the flagged slices of one study."""


def slice_key(item: SliceResult) -> SliceKey:
    """Returns what tells a slice from the others of its study."""
    return item.sop_uid, item.frame


def flagged_pictures(results: Results, task: Task, progress: Progress = no_progress) -> tuple[StudyPictures, ...]:
    """Makes the pictures of every flagged slice, smaller ones where there are many.

    Args:
        results: The pixels are read again from the sources of its studies; the thresholds of its model say what is
            flagged. Where it is anonymous, no problem names a file.
        task: The first `SHOWN_CHANNELS` of its windows are shown.
        progress: Reports slices.

    Returns:
        One mapping a study, in their order: even a UID that two studies share leads to the pictures of the right one.
    """
    flagged = [
        (place, series.intensity_scale, item)
        for place, study in enumerate(results.studies)
        for series in study.series
        for item in series.slices
        if results.model.flagged(item.probabilities)
    ]
    longest = next((size for count, size in _SIZES if len(flagged) <= count), _SMALLEST)
    pictures: tuple[StudyPictures, ...] = tuple({} for _ in results.studies)
    for place, scale, item in progress(flagged, description="pictures", total=len(flagged)):
        source = results.studies[place].sources.get(item.sop_uid)
        pictures[place][slice_key(item)] = _picture_set(
            source, item, task, longest, scale=scale, anonymous=results.anonymous
        )
    return pictures


def jpeg_data_uri(pixels: npt.NDArray[np.float32], width: int, height: int) -> str:
    """Returns a picture as a data URI.

    Args:
        pixels: Grey levels in [0, 1], shape (rows, columns).
        width: Width that it is brought to.
        height: Height, likewise.
    """
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _picture_set(
    source: Source | None, item: SliceResult, task: Task, longest_side: int, *, scale: float, anonymous: bool
) -> PictureSet:
    if source is None:
        return PictureSet((), "Where this file lies is not known.")
    try:
        header, image = load_slice(source, item.frame, task.series.modality)
    except UnreadableFileError as error:
        return PictureSet((), REASONS.get(error.reason, "") if anonymous else str(error))
    return PictureSet(_pictures(header, image.values * np.float32(scale), task, longest_side))


def _pictures(header: SliceHeader, values: FloatImages, task: Task, longest_side: int) -> tuple[Picture, ...]:
    width, height = _size(header, longest_side)
    channels, unit = task.channels[:SHOWN_CHANNELS], task.preprocessing.unit
    return tuple(
        Picture(
            caption=f"{channel.name.capitalize()} window, center {channel.center:g}, width {channel.width:g} {unit}",
            alt=f"{channel.name.capitalize()} window",
            data_uri=jpeg_data_uri(pixels, width, height),
            width=width,
            height=height,
        )
        for channel, pixels in zip(channels, apply_channels(values, channels), strict=True)
    )


def _size(header: SliceHeader, longest_side: int) -> tuple[int, int]:
    """Returns width and height with the proportions that the slice has in mm; never finer than the longer side."""
    between_rows, between_columns = header.pixel_spacing_mm or (1.0, 1.0)
    width_mm, height_mm = header.columns * between_columns, header.rows * between_rows
    scale = min(longest_side, max(header.rows, header.columns)) / max(width_mm, height_mm)
    return max(round(width_mm * scale), 1), max(round(height_mm * scale), 1)
