"""What the viewer of the report needs: all slices of a series to scroll through, with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slicewise.reporting.pictures import PictureSet, StudyPictures, slice_key, window_caption
from slicewise.reporting.scroll_pictures import window_tables
from slicewise.reporting.urgency import score
from slicewise.reporting.wording import probability_text, readable_text
from slicewise.results import ModelSummary, SeriesResult, SliceResult
from slicewise.task import Task

ViewerData = dict[str, Any]
"""What the script reads, as JSON."""


@dataclass(frozen=True)
class ViewerLabel:
    """A label beside the picture: `threshold_percent` places the mark of its bar."""

    display: str
    threshold: str
    threshold_percent: str


@dataclass(frozen=True)
class ViewerView:
    """The parts of a viewer that stand in the page before its script runs.

    Attributes:
        last: The last place of the slider; the first one is 0.
        start: The place that is shown at first, where the findings are most probable.
        marks: Where along the slider the flagged slices are, in percent.
        labels: The labels, in order.
    """

    last: int
    start: int
    marks: tuple[str, ...]
    labels: tuple[ViewerLabel, ...]


def viewer_view(series: SeriesResult, model: ModelSummary) -> ViewerView:
    """Returns what the page needs of a series."""
    last = len(series.slices) - 1
    flagged = [place for place, item in enumerate(series.slices) if model.flagged_on(item, series)]
    return ViewerView(
        last=last,
        start=max(range(last + 1), key=lambda place: score(series.slices[place].probabilities, model)),
        marks=tuple(f"{100 * place / max(last, 1):.2f}" for place in flagged),
        labels=tuple(
            ViewerLabel(display, probability_text(model.thresholds[name]), percent_text(model.thresholds[name]))
            for name, display in zip(model.labels, model.displays, strict=True)
        ),
    )


def windows_data(task: Task) -> list[dict[str, Any]]:
    """Returns the windows, each with what it shows of every grey level of a picture."""
    tables = window_tables(task.channels)
    return [
        {"caption": window_caption(channel, task.preprocessing.unit), "table": table}
        for channel, table in zip(task.channels, tables, strict=True)
    ]


def slices_data(
    series: SeriesResult, pictures: StudyPictures, model: ModelSummary, *, positions_in_mm: bool
) -> list[dict[str, Any]]:
    """Returns the slices of a series, in axial order."""
    return [
        {
            "name": f"Slice index {item.slice_index}",
            "position": f"{item.position_mm:.1f} mm" if positions_in_mm else "",
            "origin": readable_text(slice_origin(item)),
            **_values(item, series, model),
            **_picture(pictures[slice_key(item)]),
        }
        for item in series.slices
    ]


def slice_origin(item: SliceResult) -> str:
    """Returns the file, where it is shown, and the frame, where the file may hold several."""
    frame = "" if item.frame == 1 else f"frame {item.frame}"
    return ", ".join(filter(None, (item.file, frame)))


def percent_text(probability: float) -> str:
    """Returns a probability as a place along a bar.

    >>> percent_text(0.5), percent_text(1.5)
    ('50.0', '100.0')
    """
    return f"{100 * min(max(probability, 0.0), 1.0):.1f}"


def _values(item: SliceResult, series: SeriesResult, model: ModelSummary) -> dict[str, Sequence[Any]]:
    flagged = model.flagged_on(item, series)
    return {
        "probabilities": [probability_text(item.probabilities[name]) for name in model.labels],
        "percents": [percent_text(item.probabilities[name]) for name in model.labels],
        "flagged": [name in flagged for name in model.labels],
    }


def _picture(made: PictureSet) -> dict[str, str]:
    if made.scroll is None:
        return {"jpeg": "", "problem": readable_text(made.problem)}
    return {"jpeg": made.scroll.jpeg, "problem": ""}
