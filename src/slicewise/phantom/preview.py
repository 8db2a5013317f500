"""A picture of some phantom studies, to be looked at before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from slicewise.files import write_atomically
from slicewise.phantom.arguments import PhantomArguments
from slicewise.phantom.labels import LABELS, UNKNOWN
from slicewise.phantom.study import PhantomStudy, generate_study

PREVIEW = "preview.png"
STUDIES = 8

COLUMNS = 8
_TILE, _CAPTION = 192, 14
_WINDOW_CENTER, _WINDOW_WIDTH = 40.0, 80.0


def write_preview(output: Path, arguments: PhantomArguments) -> None:
    """Writes a picture of the first studies of a data set beside it."""
    count = min(STUDIES, arguments.studies)
    sheet = draw_preview([generate_study(arguments.seed, index, arguments.parameters) for index in range(count)])
    options: dict[str, Any] = {"format": "PNG", "optimize": True}
    with write_atomically(output / PREVIEW) as temporary:
        sheet.save(temporary, **options)


def draw_preview(studies: Sequence[PhantomStudy]) -> Image.Image:
    """Draws one row a study: slices in the brain window (40/80) with their positive and unknown (?) labels."""
    sheet = Image.new("L", (COLUMNS * _TILE, len(studies) * (_TILE + _CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for row, study in enumerate(studies):
        for column, number in enumerate(_chosen(study)):
            corner = (column * _TILE, row * (_TILE + _CAPTION))
            sheet.paste(_tile(study.volume.values[number]), (corner[0], corner[1] + _CAPTION))
            draw.text((corner[0] + 2, corner[1] + 1), _caption(study, number), fill=255)
    return sheet


def _chosen(study: PhantomStudy) -> list[int]:
    """Slices from base to vertex; where there is blood, the one with most of it in place of the nearest."""
    count = len(study.labels)
    chosen = np.unique(np.linspace(0.15 * count, 0.85 * count, COLUMNS).astype(int)).tolist()
    most = int(study.areas_mm2.sum(axis=1).argmax())
    if study.areas_mm2[most].any():
        chosen[int(np.abs(np.array(chosen) - most).argmin())] = most
    return [int(number) for number in chosen]


def _caption(study: PhantomStudy, number: int) -> str:
    names = [
        f"{name[:13]}{'?' if label == UNKNOWN else ''}"
        for name, label in zip(LABELS[1:], study.labels[number, 1:], strict=True)
        if label
    ]
    return f"{study.index}/{number} {' '.join(names)}"


def _tile(hu: npt.NDArray[np.float32]) -> Image.Image:
    grey = np.clip((hu - (_WINDOW_CENTER - _WINDOW_WIDTH / 2)) / _WINDOW_WIDTH, 0, 1)
    return Image.fromarray((255 * grey).astype(np.uint8)).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
