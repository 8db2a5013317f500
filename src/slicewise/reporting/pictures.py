"""Pictures of slices for the report: flagged ones in the first windows of the task, all of them to scroll through."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from slicewise.errors import UnreadableFileError
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.reasons import REASONS
from slicewise.imaging.windows import apply_channels
from slicewise.progress import Progress, no_progress
from slicewise.reporting.overlay import Overlay, overlay
from slicewise.reporting.rereading import ReadSlice, read_slices
from slicewise.reporting.scroll_pictures import ScrollPicture, scroll_picture
from slicewise.results import Results, SeriesResult, SliceResult, StudyResult
from slicewise.source import Source
from slicewise.task import Task, WindowChannel
from slicewise.volume import FloatImages

SHOWN_CHANNELS = 2
"""Channels of the task that are shown side by side: its first ones."""

_JPEG_QUALITY = 85
_FLAGGED_SIZES = ((40, 384), (120, 288))
"""Up to so many flagged slices on a page, so many pixels along the longer side of a picture."""
_SMALLEST_FLAGGED = 208
_SCROLL_SIZES = ((80, 320), (240, 256))
"""Up to so many slices on a page, so many pixels along the longer side of a picture to scroll to."""
_SMALLEST_SCROLL = 192

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
        pictures: One a channel; empty where the slice is not flagged or they cannot be made.
        problem: Why no picture can be made, else "".
        scroll: All windows in one picture, None where it cannot be made.
        overlay: Where the evidence lies, over every one of `pictures`; None where that is not known.
    """

    pictures: tuple[Picture, ...]
    problem: str = ""
    scroll: ScrollPicture | None = None
    overlay: Overlay | None = None


StudyPictures = dict[SliceKey, PictureSet]
"""The pictures of the slices of one study."""


def slice_key(item: SliceResult) -> SliceKey:
    """Returns what tells a slice from the others of its study."""
    return item.sop_uid, item.frame


def slice_pictures(
    results: Results, task: Task, progress: Progress = no_progress, *, one_page: bool = True
) -> Iterator[StudyPictures]:
    """Makes the pictures of every slice, smaller ones where a page shows many.

    Args:
        results: The pixels are read again from the sources of its studies; the thresholds of its model say what is
            flagged. Where it is anonymous, no problem names a file.
        task: The first `SHOWN_CHANNELS` of its windows show flagged slices, all of them can be scrolled through.
        progress: Reports slices.
        one_page: All studies stand on one page; otherwise each has a page of its own.

    Yields:
        One mapping a study, in their order, made when it is asked for: even a UID that two studies share leads to the
        pictures of the right one.
    """
    makers = [
        _PictureMaker(results, task, *_sizes(results, results.studies if one_page else [study]), study)
        for study in results.studies
    ]
    work = ((maker, key, made) for maker in makers for key, made in maker.make())
    total = sum(len(series.slices) for study in results.studies for series in study.series)
    shown = progress(work, description="pictures", total=total)
    for _, group in itertools.groupby(shown, key=lambda item: id(item[0])):
        yield {key: made for _, key, made in group}


def window_caption(channel: WindowChannel, unit: str) -> str:
    """Returns name and values of a window.

    >>> window_caption(WindowChannel("brain", 40.0, 80.0), "HU")
    'Brain window, center 40, width 80 HU'
    """
    return f"{channel.name.capitalize()} window, center {channel.center:g}, width {channel.width:g} {unit}"


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


def _sizes(results: Results, studies: Iterable[StudyResult]) -> tuple[int, int]:
    """Returns the longer side of the pictures of flagged slices and of those to scroll to, on a page of studies."""
    found = [series for study in studies for series in study.series]
    flagged = sum(len(results.model.flagged_slices(series)) for series in found)
    return (
        _size_for(flagged, _FLAGGED_SIZES, _SMALLEST_FLAGGED),
        _size_for(sum(len(series.slices) for series in found), _SCROLL_SIZES, _SMALLEST_SCROLL),
    )


def _size_for(count: int, sizes: Sequence[tuple[int, int]], smallest: int) -> int:
    return next((size for most, size in sizes if count <= most), smallest)


@dataclass(frozen=True)
class _PictureMaker:
    """Makes the pictures of one study."""

    results: Results
    task: Task
    flagged_side: int
    scroll_side: int
    study: StudyResult

    def make(self) -> Iterator[tuple[SliceKey, PictureSet]]:
        for series in self.study.series:
            by_file = itertools.groupby(series.slices, key=lambda item: self.study.sources.get(item.sop_uid))
            for source, group in by_file:
                slices = list(group)
                for item, read in zip(slices, self._read(source, slices), strict=True):
                    yield slice_key(item), self._picture_set(item, read, series)

    def _read(
        self, source: Source | None, slices: Sequence[SliceResult]
    ) -> Iterable[ReadSlice | UnreadableFileError | None]:
        if source is None:
            return [None] * len(slices)
        return read_slices(source, [item.frame for item in slices], self.task.series.modality)

    def _picture_set(
        self, item: SliceResult, read: ReadSlice | UnreadableFileError | None, series: SeriesResult
    ) -> PictureSet:
        if read is None:
            return PictureSet((), "Where this file lies is not known.")
        if isinstance(read, UnreadableFileError):
            return PictureSet((), REASONS.get(read.reason, "") if self.results.anonymous else str(read))
        header, values = read
        values = values * np.float32(series.intensity_scale)
        width, height = _size(header, self.scroll_side)
        return PictureSet(
            pictures=self._windows(header, values) if self.results.model.flagged_on(item, series) else (),
            scroll=scroll_picture(values, self.task.channels, width=width, height=height),
            overlay=None if item.evidence_map is None else overlay(item.evidence_map, header),
        )

    def _windows(self, header: SliceHeader, values: FloatImages) -> tuple[Picture, ...]:
        width, height = _size(header, self.flagged_side)
        channels, unit = self.task.channels[:SHOWN_CHANNELS], self.task.preprocessing.unit
        return tuple(
            Picture(
                caption=window_caption(channel, unit),
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
