"""The pages of the secondary captures, as pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from slicewise.imaging.header import SliceHeader
from slicewise.imaging.windows import apply_channels
from slicewise.reporting.dicom.directions import edge_letters
from slicewise.task import WindowChannel
from slicewise.volume import FloatImages

Page = npt.NDArray[np.uint8]
"""RGB, shape (rows, columns, 3)."""

NOTICE = "Research use, not for diagnosis"
"""Is burned into every page."""

PAGE_WIDTH = 640
IMAGE_SIDE = 512
"""Pixels along the longer side of a slice that is stored smaller; larger ones are shown as they are."""

_LINE, _MARGIN, _SIZE = 24, 12, 17
_NOTICE_COLOR, _TEXT_COLOR, _MARK_COLOR = (255, 190, 60), (230, 230, 230), (120, 220, 255)


def text_page(lines: Sequence[str]) -> Page:
    """Returns a page of text under the notice."""
    page = Image.new("RGB", (PAGE_WIDTH, _height(len(lines) + 1)))
    _write(ImageDraw.Draw(page), 0, [NOTICE], _NOTICE_COLOR)
    _write(ImageDraw.Draw(page), _LINE, lines, _TEXT_COLOR)
    return np.asarray(page)


def slice_page(
    values: FloatImages, header: SliceHeader, channel: WindowChannel, above: Sequence[str], below: Sequence[str]
) -> Page:
    """Returns a slice in one window between lines of text, with marks for the sides of the patient.

    The slice is neither turned nor mirrored: its rows and columns run as the image stores them.

    Args:
        values: In the unit of the window, shape (rows, columns).
        header: Its geometry.
        channel: The window.
        above: Lines above it, under the notice.
        below: Lines below it.
    """
    width, height = picture_size(header)
    top, page_width = _height(len(above) + 1), max(PAGE_WIDTH, width)
    page = Image.new("RGB", (page_width, top + height + _height(len(below))))
    draw = ImageDraw.Draw(page)
    _write(draw, 0, [NOTICE], _NOTICE_COLOR)
    _write(draw, _LINE, above, _TEXT_COLOR)
    left = (page_width - width) // 2
    grey = np.rint(apply_channels(values, [channel])[0] * 255).astype(np.uint8)
    page.paste(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR), (left, top))
    if header.image_orientation is not None:
        _mark(draw, edge_letters(header.image_orientation), (left, top, left + width, top + height))
    _write(draw, top + height, below, _TEXT_COLOR)
    return np.asarray(page)


def picture_size(header: SliceHeader) -> tuple[int, int]:
    """Returns width and height of a slice on its page, with the proportions that it has in mm."""
    between_rows, between_columns = header.pixel_spacing_mm or (1.0, 1.0)
    width_mm, height_mm = header.columns * between_columns, header.rows * between_rows
    scale = max(IMAGE_SIDE, header.rows, header.columns) / max(width_mm, height_mm)
    return max(round(width_mm * scale), 1), max(round(height_mm * scale), 1)


def picture_origin(width: int, lines_above: int) -> tuple[int, int]:
    """Returns column and row of the first pixel of a slice on its page, by its width and the lines above it."""
    return (max(PAGE_WIDTH, width) - width) // 2, _height(lines_above + 1)


def _height(lines: int) -> int:
    return _LINE * lines + _MARGIN


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_SIZE)


def _write(draw: ImageDraw.ImageDraw, top: int, lines: Sequence[str], color: tuple[int, int, int]) -> None:
    for number, line in enumerate(lines):
        draw.text((_MARGIN, top + _MARGIN // 2 + _LINE * number), line, fill=color, font=_font())


def _mark(draw: ImageDraw.ImageDraw, letters: dict[str, str], box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    middle, center = (left + right) // 2, (top + bottom) // 2
    places = {
        "left": (left + _MARGIN, center, "lm"),
        "right": (right - _MARGIN, center, "rm"),
        "top": (middle, top + _MARGIN, "mt"),
        "bottom": (middle, bottom - _MARGIN, "mb"),
    }
    for side, (column, row, anchor) in places.items():
        draw.text(
            (column, row),
            letters[side],
            fill=_MARK_COLOR,
            font=_font(),
            anchor=anchor,
            stroke_width=2,
            stroke_fill="black",
        )
