"""Where the evidence lies, to be laid over the picture of a slice, and in words."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from slicewise.imaging.header import SliceHeader
from slicewise.reporting.urgency import display_name
from slicewise.results import Evidence, EvidenceMap, EvidenceMethod, ModelSummary, SeriesResult, SliceResult

SIDE_PX = 192
"""Pixels along the side of an overlay: about what the network read, so that a contour looks round."""

CONTOUR = 0.5
"""The contour holds what has at least this share of the most evidence of the slice."""

_COLOUR = (255, 176, 0)
_FILLED_LEVELS, _STRONGEST_FILL = 14, 110
_OUTLINE = _FILLED_LEVELS + 1


@dataclass(frozen=True)
class Overlay:
    """The evidence for one label in one slice, as a picture over the picture of the slice.

    Attributes:
        data_uri: The picture, a PNG that is transparent where there is little.
        style: Its place over the picture of the slice, in percent of it: declarations of CSS.
    """

    data_uri: str
    style: str


def overlay(found: EvidenceMap, header: SliceHeader) -> Overlay:
    """Makes the overlay of a slice.

    Args:
        found: The evidence.
        header: Rows and columns of the stored image.
    """
    cells = np.frombuffer(zlib.decompress(found.cells), np.uint8).reshape(found.side, found.side)
    top, bottom = ((edge + 0.5) / header.rows for edge in (found.top, found.bottom))
    left, right = ((edge + 0.5) / header.columns for edge in (found.left, found.right))
    places = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    return Overlay(
        data_uri=_data_uri(overlay_levels(cells)),
        style=";".join(f"{name}:{100 * share:.2f}%" for name, share in places.items()),
    )


def overlay_levels(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns how strongly every pixel of an overlay is coloured: 0 not at all, the highest level for the contour.

    Args:
        cells: Evidence on a coarse grid, 255 for the most, shape (C, C).

    Returns:
        Shape (SIDE_PX, SIDE_PX).
    """
    along = _interpolation(len(cells))
    shares = along @ (cells.astype(np.float32) / 255) @ along.T
    shares /= shares.max()
    inside = shares >= CONTOUR
    levels = np.where(inside, np.rint(_FILLED_LEVELS * shares), 0).astype(np.uint8)
    levels[inside & ~_eroded(inside)] = _OUTLINE
    return levels


def evidence_note(series: SeriesResult, model: ModelSummary) -> str:
    """Says what the overlays of a series show and how it was found; "" where there is none."""
    flagged = model.flagged_slices(series)
    shown = [item for item in flagged if item.evidence_map is not None]
    if not shown or shown[0].evidence_map is None:
        return ""
    places = ", ".join(str(item.slice_index) for item in shown)
    known = f" It is known for {len(shown)} of {len(flagged)} flagged slices: index {places}."
    return " ".join(
        [
            _METHODS[shown[0].evidence_map.method] + (known if len(shown) < len(flagged) else ""),
            "It shows where the model looked, not the outline of a finding.",
        ]
    )


def peak_text(item: SliceResult, model: ModelSummary) -> str:
    """Says where the evidence that is laid over a slice is strongest; "" where there is none.

    Rows and columns of the stored image are counted from 0.
    """
    if item.evidence_map is None:
        return ""
    (peak,) = (peak for peak in item.evidence if peak.label == item.evidence_map.label)
    place = f"most at row {peak.row:.0f}, column {peak.column:.0f}"
    return f"Evidence shown: {display_name(peak.label, model)}, {place}{_strength(peak)}"


_METHODS: dict[EvidenceMethod, str] = {
    "map": "The colour lies where the map of the network, which was trained on masks of findings, has at least half of "
    "its highest value in the slice.",
    "occlusion": "The colour lies where the score of the network falls most when the place is covered (occlusion), at "
    "least half as much as anywhere in the slice. It is coarse, and searched in the most probable slices only.",
}


def _strength(peak: Evidence) -> str:
    if peak.method == "occlusion":
        return ""
    share = f"{100 * peak.value:.0f} %" if peak.value >= 0.01 else "less than 1 %"
    return f"; the network takes {share} of that place to be filled"


def _interpolation(cells: int) -> npt.NDArray[np.float32]:
    """Returns the weights of linear interpolation from cells to pixels along one axis, shape (SIDE_PX, cells)."""
    places = np.clip((np.arange(SIDE_PX) + 0.5) * cells / SIDE_PX - 0.5, 0, cells - 1)
    distances = np.abs(places[:, None] - np.arange(cells))
    weights: npt.NDArray[np.float32] = np.maximum(0, 1 - distances).astype(np.float32)
    return weights


def _eroded(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Takes away what touches the outside, or the edge, along rows or columns."""
    padded = np.pad(inside, 1)
    rows, columns = padded[:-2, 1:-1] & padded[2:, 1:-1], padded[1:-1, :-2] & padded[1:-1, 2:]
    eroded: npt.NDArray[np.bool_] = inside & rows & columns
    return eroded


def _data_uri(levels: npt.NDArray[np.uint8]) -> str:
    picture = Image.fromarray(levels).convert("P")
    picture.putpalette(_COLOUR * (_OUTLINE + 1))
    opacities = [_STRONGEST_FILL * level // _FILLED_LEVELS for level in range(_OUTLINE)]
    content = io.BytesIO()
    picture.save(content, "PNG", transparency=bytes([*opacities, 255]), bits=4)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
