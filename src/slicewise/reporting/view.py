"""The view model of the report: every text is final, the template only lays it out."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from slicewise.reporting.pictures import PictureSet
from slicewise.reporting.wording import Summary
from slicewise.volume import ScanWarning


@dataclass(frozen=True)
class Cell:
    """A probability of one label."""

    display: str
    text: str
    flagged: bool


@dataclass(frozen=True)
class LabelRow:
    """A label of a study: `percent` and `threshold_percent` place the bar and its mark."""

    display: str
    probability: str
    threshold: str
    percent: str
    threshold_percent: str
    flagged: bool
    slices: str


@dataclass(frozen=True)
class SliceView:
    """One slice: `origin` is its file and frame, `pictures` is None where it is not flagged."""

    index: int
    position: str
    origin: str
    cells: tuple[Cell, ...]
    pictures: PictureSet | None


@dataclass(frozen=True)
class SeriesView:
    """One series."""

    anchor: str
    heading: str
    facts: tuple[tuple[str, str], ...]
    summary: Summary
    profile: Markup
    slices: tuple[SliceView, ...]
    warnings: tuple[ScanWarning, ...]

    @property
    def flagged(self) -> tuple[SliceView, ...]:
        """The slices that are shown as pictures."""
        return tuple(item for item in self.slices if item.pictures is not None)


@dataclass(frozen=True)
class StudyView:
    """One study: `score` is the probability that studies are sorted by, `flagged` the labels at their threshold."""

    anchor: str
    heading: str
    patient_id: str
    study_uid: str
    slices: int
    score: str
    flagged: tuple[str, ...]
    labels: tuple[LabelRow, ...]
    series: tuple[SeriesView, ...]
    warnings: int


@dataclass(frozen=True)
class RejectedRow:
    """A file or series that was not scored, or several with the same reason."""

    count: int
    path: str
    kind: str
    reason: str
    message: str


@dataclass(frozen=True)
class RejectedView:
    """What was not scored: one row each, or one row a reason where there are many."""

    count: int
    grouped: bool
    rows: tuple[RejectedRow, ...]


@dataclass(frozen=True)
class ReportView:
    """The whole page; an `anonymous` one has no places for file names."""

    title: str
    disclaimer: str
    model_name: str
    software: str
    displays: tuple[str, ...]
    score_name: str
    positions_in_mm: bool
    anonymous: bool
    studies: tuple[StudyView, ...]
    rejected: RejectedView
    model_facts: tuple[tuple[str, str], ...]
