"""The report: one self-contained HTML page that needs no network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from slicewise.files import write_bytes_atomically
from slicewise.progress import Progress, no_progress
from slicewise.reporting.pictures import StudyPictures, flagged_pictures, slice_key
from slicewise.reporting.profile import Curve, axial_profile_svg
from slicewise.reporting.view import (
    Cell,
    LabelRow,
    RejectedRow,
    RejectedView,
    ReportView,
    SeriesView,
    SliceView,
    StudyView,
)
from slicewise.reporting.wording import probability_text, slice_name, summarise
from slicewise.results import ModelSummary, Rejection, Results, SeriesResult, SliceResult, StudyResult
from slicewise.task import Task

LONGEST_REJECTED_TABLE = 50
"""Beyond this many rows, what was not scored is shown by kind and reason; so it always is without file names."""

_HASHED = "Patient IDs and UIDs are keyed hashes of those of the scans; file names are left out."


def write_report(path: Path, results: Results, task: Task, progress: Progress = no_progress) -> None:
    """Writes `report.html` with a picture of every flagged slice.

    The pixels are read again from the files of every study. A picture that cannot be made is replaced by a sentence
    that says why.

    Args:
        path: The file to write; it is whole or not there.
        results: What was found.
        task: Its title, channels and axial unit.
        progress: Reports the flagged slices.
    """
    pictures = flagged_pictures(results, task, progress)
    builder = _ViewBuilder(results.model, in_mm=task.axial_unit == "mm")
    page = _render(builder.report(results, pictures, task.title))
    # file names may hold bytes that are no valid text; they are written as \udcXX
    write_bytes_atomically(path, page.encode("utf-8", errors="backslashreplace"))


def _render(report: ReportView) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slicewise.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(report=report)


@dataclass(frozen=True)
class _ViewBuilder:
    """Turns results into what the page shows.

    Attributes:
        model: Labels and thresholds.
        in_mm: Whether positions are true millimetres.
    """

    model: ModelSummary
    in_mm: bool

    def report(self, results: Results, pictures: Sequence[StudyPictures], title: str) -> ReportView:
        """Returns the whole page; studies are sorted by score, the highest first."""
        model = self.model
        illustrated = zip(results.studies, pictures, strict=True)
        studies = sorted(illustrated, key=lambda pair: self._score(pair[0]), reverse=True)
        return ReportView(
            title=title,
            disclaimer=results.disclaimer,
            model_name=f"{model.name} {model.version}",
            software=f"slicewise {results.software_version}",
            displays=model.displays,
            score_name="Highest of all labels" if model.any_label is None else self._display(model.any_label),
            positions_in_mm=self.in_mm,
            anonymous=results.anonymous,
            studies=tuple(
                self._study(study, shown, number, len(studies))
                for number, (study, shown) in enumerate(studies, start=1)
            ),
            rejected=_rejected(
                results.rejected, grouped=results.anonymous or len(results.rejected) > LONGEST_REJECTED_TABLE
            ),
            model_facts=_model_facts(results),
        )

    def _score(self, study: StudyResult) -> float:
        """Returns the probability of the label that sums up the others, else the highest one."""
        if self.model.any_label is None:
            return max(study.probabilities.values())
        return study.probabilities[self.model.any_label]

    def _display(self, name: str) -> str:
        return self.model.displays[self.model.labels.index(name)]

    def _study(self, study: StudyResult, pictures: StudyPictures, number: int, studies: int) -> StudyView:
        slices = [item for series in study.series for item in series.slices]
        anchor = f"study-{number}"
        return StudyView(
            anchor=anchor,
            heading="Result" if studies == 1 else f"Study {number}",
            patient_id=study.patient_id or "not given",
            study_uid=study.study_uid or "not given",
            slices=len(slices),
            score=probability_text(self._score(study)),
            flagged=tuple(self._display(name) for name in self.model.flagged(study.probabilities)),
            labels=tuple(self._label_row(name, study, slices) for name in self.model.labels),
            series=tuple(
                self._series(series, pictures, f"{anchor}-series-{place}", _series_heading(place, len(study.series)))
                for place, series in enumerate(study.series, start=1)
            ),
            warnings=sum(len(series.warnings) for series in study.series),
        )

    def _label_row(self, name: str, study: StudyResult, slices: Sequence[SliceResult]) -> LabelRow:
        probability, threshold = study.probabilities[name], self.model.thresholds[name]
        count = sum(item.probabilities[name] >= threshold for item in slices)
        return LabelRow(
            display=self._display(name),
            probability=probability_text(probability),
            threshold=probability_text(threshold),
            percent=_percent(probability),
            threshold_percent=_percent(threshold),
            flagged=probability >= threshold,
            slices=f"{count} of {len(slices)}",
        )

    def _series(self, series: SeriesResult, pictures: StudyPictures, anchor: str, heading: str) -> SeriesView:
        facts = [("Series UID", series.series_uid or "not given"), ("Slices", str(len(series.slices)))]
        if self.in_mm:
            extent = series.slices[-1].position_mm - series.slices[0].position_mm
            facts.append(("First to last slice", f"{extent:.1f} mm"))
        facts.append(("Gantry tilt", f"{series.tilt_degrees:.1f}°"))
        return SeriesView(
            anchor=anchor,
            heading=heading,
            facts=tuple(facts),
            summary=summarise(series, self.model, positions_in_mm=self.in_mm),
            profile=self._profile(series, f"{anchor}-profile"),
            slices=tuple(self._slice(item, pictures) for item in series.slices),
            warnings=series.warnings,
        )

    def _profile(self, series: SeriesResult, element_id: str) -> Markup:
        svg = axial_profile_svg(
            [item.position_mm if self.in_mm else float(place) for place, item in enumerate(series.slices)],
            [slice_name(item, positions_in_mm=self.in_mm) for item in series.slices],
            [
                Curve(self._display(name), self.model.thresholds[name], tuple(_values(name, series)))
                for name in self.model.labels
            ],
            element_id=element_id,
            axis_title=f"{'Position along the slice normal (mm)' if self.in_mm else 'Slice'}, feet to head",
        )
        return Markup(svg)  # noqa: S704  axial_profile_svg escapes every text

    def _slice(self, item: SliceResult, pictures: StudyPictures) -> SliceView:
        flagged = self.model.flagged(item.probabilities)
        return SliceView(
            index=item.slice_index,
            position=f"{item.position_mm:.1f}",
            origin=_origin(item),
            cells=tuple(
                Cell(self._display(name), probability_text(item.probabilities[name]), flagged=name in flagged)
                for name in self.model.labels
            ),
            pictures=pictures[slice_key(item)] if flagged else None,
        )


def _series_heading(number: int, count: int) -> str:
    return "Series" if count == 1 else f"Series {number} of {count}"


def _origin(item: SliceResult) -> str:
    """Returns the file, where it is shown, and the frame, where the file may hold several."""
    frame = "" if item.frame == 1 else f"frame {item.frame}"
    return ", ".join(filter(None, (item.file, frame)))


def _values(name: str, series: SeriesResult) -> list[float]:
    return [item.probabilities[name] for item in series.slices]


def _rejected(rejected: Sequence[Rejection], *, grouped: bool) -> RejectedView:
    if not grouped:
        rows = [RejectedRow(1, item.path, _kind(item), item.reason, item.message) for item in rejected]
        return RejectedView(count=len(rejected), grouped=False, rows=tuple(rows))
    groups: defaultdict[tuple[str, str], list[Rejection]] = defaultdict(list)
    for item in rejected:
        groups[item.kind, item.reason].append(item)
    rows = [
        RejectedRow(len(items), items[0].path, _kind(items[0]), items[0].reason, items[0].message)
        for items in sorted(groups.values(), key=len, reverse=True)
    ]
    return RejectedView(count=len(rejected), grouped=True, rows=tuple(rows))


def _kind(item: Rejection) -> str:
    return item.kind.replace("_", " ")


def _model_facts(results: Results) -> tuple[tuple[str, str], ...]:
    model = results.model
    facts = (
        ("Model", f"{model.name}, version {model.version}"),
        ("Digest", model.digest),
        ("Trained on", model.trained_on),
        ("Intended use", model.intended_use),
        ("Thresholds", model.threshold_rule),
        ("Series and study", f"{model.study_rule} over the slices, for each label"),
        ("Software", f"slicewise {results.software_version}"),
    )
    return (*facts, ("Identity", _HASHED)) if results.anonymous else facts


def _percent(probability: float) -> str:
    return f"{100 * min(max(probability, 0.0), 1.0):.1f}"
