"""The report: one self-contained HTML page that needs no network, or a worklist and such a page for every study."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slicewise.files import write_bytes_atomically
from slicewise.progress import Progress, no_progress
from slicewise.reporting.pictures import StudyPictures, slice_pictures
from slicewise.reporting.rejected import rejected_view
from slicewise.reporting.rendering import render
from slicewise.reporting.scroll_pictures import MEDIA_TYPE
from slicewise.reporting.study_view import StudyViewBuilder
from slicewise.reporting.urgency import by_urgency, score_name
from slicewise.reporting.view import Link, PageView
from slicewise.reporting.viewer import windows_data
from slicewise.reporting.wording import UNLIKE, trust
from slicewise.reporting.worklist import worklist_row
from slicewise.results import Results, StudyResult
from slicewise.task import Task

MOST_STUDIES, MOST_SLICES = 20, 600
"""Several studies with more than this have a page each, so that a page opens quickly and memory stays small."""

_HASHED = "Patient IDs and UIDs are keyed hashes of those of the scans; file names are left out."
_PAGE_NAME = re.compile(r"[1-9][0-9]*\.html")
_GENERATOR = b'<meta name="generator" content="slicewise">'
_HEAD_BYTES = 1024


def write_report(path: Path, results: Results, task: Task, progress: Progress = no_progress) -> None:
    """Writes `report.html`, with all slices to scroll through and a picture of every flagged one.

    Many studies have pages of their own, `report/1.html` and so on by urgency, and `report.html` is their worklist.
    Pages that an earlier report left there are removed.

    The pixels are read again from the files of every study. A picture that cannot be made is replaced by a sentence
    that says why.

    Args:
        path: The file to write; it is whole or not there.
        results: What was found.
        task: Its title, channels and axial unit.
        progress: Reports the slices.
    """
    studies = by_urgency(results.studies, results.model)
    report = _Report(msgspec.structs.replace(results, studies=studies), task, path)
    slices = sum(len(series.slices) for study in studies for series in study.series)
    if len(studies) > 1 and (len(studies) > MOST_STUDIES or slices > MOST_SLICES):
        pictures = slice_pictures(report.results, task, progress, one_page=False)
        for number, page in enumerate(report.study_pages(pictures), start=1):
            write_bytes_atomically(report.folder / f"{number}.html", _rendered(page))
        _remove_pages(report.folder, after=len(studies))
        write_bytes_atomically(path, _rendered(report.worklist_page()))
    else:
        page = report.single_page(tuple(slice_pictures(report.results, task, progress)))
        write_bytes_atomically(path, _rendered(page))
        _remove_pages(report.folder, after=0)


def _rendered(page: PageView) -> bytes:
    return render("report.html.j2", "report_viewer.js", report=page)


def _remove_pages(folder: Path, *, after: int) -> None:
    """Removes pages of an earlier report: they would look like pages of this one, and may name patients."""
    if not folder.is_dir():
        return
    for page in folder.iterdir():
        if _PAGE_NAME.fullmatch(page.name) and int(page.stem) > after and _is_ours(page):
            page.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as stream:
        return _GENERATOR in stream.read(_HEAD_BYTES)


@dataclass(frozen=True)
class _Shown:
    """A study on a page: `number` is its place in the worklist."""

    study: StudyResult
    pictures: StudyPictures
    number: int
    heading: str


@dataclass(frozen=True)
class _Report:
    """The pages of a report.

    Attributes:
        results: What was found, the most urgent study first.
        task: Its title, channels and axial unit.
        path: The page that people open.
    """

    results: Results
    task: Task
    path: Path

    @property
    def folder(self) -> Path:
        """Where the pages of the studies lie."""
        return self.path.with_suffix("")

    def single_page(self, pictures: Sequence[StudyPictures]) -> PageView:
        """Returns the page of a report that has no other one."""
        count = len(self.results.studies)
        shown = [
            _Shown(study, made, number, "Result" if count == 1 else f"Study {number}")
            for number, (study, made) in enumerate(zip(self.results.studies, pictures, strict=True), start=1)
        ]
        hrefs = [f"#study-{item.number}" for item in shown] if count > 1 else []
        return self._page(shown=shown, hrefs=hrefs)

    def worklist_page(self) -> PageView:
        """Returns the worklist that links to the pages of the studies."""
        numbers = range(1, len(self.results.studies) + 1)
        return self._page(part="Worklist", hrefs=[f"{self.folder.name}/{number}.html" for number in numbers])

    def study_pages(self, pictures: Iterator[StudyPictures]) -> Iterator[PageView]:
        """Yields the page of one study after the other, so that the pictures of one study are held at a time."""
        count = len(self.results.studies)
        for number, (study, made) in enumerate(zip(self.results.studies, pictures, strict=True), start=1):
            links = [Link(f"../{self.path.name}", "Worklist")]
            links += [Link(f"{number - 1}.html", "More urgent study")] if number > 1 else []
            links += [Link(f"{number + 1}.html", "Less urgent study")] if number < count else []
            shown = [_Shown(study, made, number, "Result")]
            yield self._page(part=f"Study {number} of {count}", links=links, shown=shown)

    def _page(
        self,
        *,
        part: str = "",
        links: Sequence[Link] = (),
        hrefs: Sequence[str] = (),
        shown: Sequence[_Shown] = (),
    ) -> PageView:
        """Returns a page with a row of the worklist for every one of `hrefs`, and with the studies that are `shown`."""
        results, model = self.results, self.results.model
        builder = StudyViewBuilder(model, in_mm=self.task.axial_unit == "mm")
        return PageView(
            title=self.task.title,
            part=part,
            disclaimer=results.disclaimer,
            model_name=f"{model.name} {model.version}",
            software=f"slicewise {results.software_version}",
            displays=model.displays,
            score_name=score_name(model),
            positions_in_mm=builder.in_mm,
            anonymous=results.anonymous,
            links=tuple(links),
            worklist=tuple(
                worklist_row(study, number, href, model)
                for number, (study, href) in enumerate(zip(results.studies, hrefs, strict=False), start=1)
            ),
            studies=tuple(builder.study(item.study, item.pictures, item.number, item.heading) for item in shown),
            windows=tuple(channel.name.capitalize() for channel in self.task.channels),
            viewer_data={
                "mediaType": MEDIA_TYPE,
                "windows": windows_data(self.task),
                "series": {
                    anchor: slices
                    for item in shown
                    for anchor, slices in builder.viewer_data(item.study, item.pictures, item.number).items()
                },
            },
            limitations=model.limitations,
            unlike=UNLIKE,
            trust=trust(model),
            rejected=None if links else rejected_view(results),
            model_facts=_model_facts(results),
        )


def _model_facts(results: Results) -> tuple[tuple[str, str], ...]:
    model = results.model
    facts = (
        ("Model", f"{model.name}, version {model.version}"),
        ("Digest", model.digest),
        ("Trained on", model.trained_on),
        ("Intended use", model.intended_use),
        ("Thresholds", model.threshold_rule),
        ("Thresholds of studies", model.study_threshold_rule or "those of slices"),
        ("Series and study", f"{model.study_rule} over the slices, for each label"),
        ("Software", f"slicewise {results.software_version}"),
    )
    return (*facts, ("Identity", _HASHED)) if results.anonymous else facts
