"""The view model of the report: every text is final, the template only lays it out."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from slicewise.reporting.pictures import PictureSet
from slicewise.reporting.scan_advice import AdviceView
from slicewise.reporting.viewer import ViewerData, ViewerView
from slicewise.reporting.wording import Summary


@dataclass(frozen=True)
class Cell:
    """A probability of one label."""

    display: str
    text: str
    flagged: bool


@dataclass(frozen=True)
class LabelRow:
    """A label of a study: `percent` and `threshold_percent` place the bar and its mark; `verdict` is for people.

    `slices` counts those at the threshold for slices, and states it where it is another than that of the study.
    """

    display: str
    probability: str
    threshold: str
    percent: str
    threshold_percent: str
    flagged: bool
    verdict: str
    slices: str


@dataclass(frozen=True)
class SliceView:
    """One slice: `origin` is its file and frame, `pictures` is None where it is not flagged.

    `peak` says where the evidence that lies over its pictures is strongest, "" where there is none.
    """

    index: int
    position: str
    origin: str
    cells: tuple[Cell, ...]
    pictures: PictureSet | None
    peak: str


@dataclass(frozen=True)
class SeriesView:
    """One series, without a `profile` where nothing of it is judged.

    `evidence` says what lies over the pictures of flagged slices, "" where there is nothing.
    """

    anchor: str
    heading: str
    facts: tuple[tuple[str, str], ...]
    summary: Summary
    profile: Markup | None
    slices: tuple[SliceView, ...]
    viewer: ViewerView
    evidence: str

    @property
    def flagged(self) -> tuple[SliceView, ...]:
        """The slices that are shown as pictures."""
        return tuple(item for item in self.slices if item.pictures is not None)


@dataclass(frozen=True)
class StudyView:
    """One study."""

    anchor: str
    heading: str
    patient_id: str
    study_uid: str
    advice: tuple[AdviceView, ...]
    labels: tuple[LabelRow, ...]
    series: tuple[SeriesView, ...]


@dataclass(frozen=True)
class WorklistRow:
    """One study of the worklist.

    `score` is what it is sorted by within its group; `flagged` are the labels at their threshold, none where all of it
    is `unlike` the training data.
    """

    href: str
    heading: str
    patient_id: str
    study_uid: str
    score: str
    flagged: tuple[str, ...]
    unlike: bool
    slices: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """A link to another page of the report."""

    href: str
    text: str


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
class PageView:
    """One page: the whole report, the worklist of a report of many pages, or one study of it.

    Attributes:
        title: Title of the task.
        part: What tells the page from the other pages of the report, "" where there is one.
        disclaimer: What the results must not be used for.
        model_name: Name and version of the model.
        software: Name and version of slicewise.
        displays: Names of the labels.
        score_name: What the worklist is sorted by.
        positions_in_mm: Whether positions are true millimetres.
        anonymous: There are no places for file names.
        links: To the pages before and after this one.
        worklist: One row a study; empty where the page shows one study.
        studies: The studies that the page shows.
        windows: Names of the windows of the viewer, the first one shown at first.
        viewer_data: What the script of the viewer needs.
        limitations: What the model is not for, one sentence each.
        unlike: What stands in the place of a result that the model cannot give.
        trust: How far the results can be trusted, in plain words.
        rejected: What was not scored, None where another page says so.
        model_facts: Terms and facts about the model.
    """

    title: str
    part: str
    disclaimer: str
    model_name: str
    software: str
    displays: tuple[str, ...]
    score_name: str
    positions_in_mm: bool
    anonymous: bool
    links: tuple[Link, ...]
    worklist: tuple[WorklistRow, ...]
    studies: tuple[StudyView, ...]
    windows: tuple[str, ...]
    viewer_data: ViewerData
    limitations: tuple[str, ...]
    unlike: str
    trust: tuple[tuple[str, str], ...]
    rejected: RejectedView | None
    model_facts: tuple[tuple[str, str], ...]
