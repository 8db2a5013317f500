"""Turns the results of a study into what its part of the page shows."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from slicewise.reporting.overlay import evidence_note, peak_text
from slicewise.reporting.pictures import StudyPictures, slice_key
from slicewise.reporting.profile import Curve, axial_profile_svg
from slicewise.reporting.scan_advice import study_advice
from slicewise.reporting.urgency import display_name
from slicewise.reporting.view import Cell, LabelRow, SeriesView, SliceView, StudyView
from slicewise.reporting.viewer import ViewerData, percent_text, slice_origin, slices_data, viewer_view
from slicewise.reporting.wording import NOT_JUDGED, probability_text, slice_name, summarise
from slicewise.results import ModelSummary, SeriesResult, SliceResult, StudyResult


@dataclass(frozen=True)
class StudyViewBuilder:
    """Turns studies into what the page shows.

    Attributes:
        model: Labels and thresholds.
        in_mm: Whether positions are true millimetres.
    """

    model: ModelSummary
    in_mm: bool

    def study(self, study: StudyResult, pictures: StudyPictures, number: int, heading: str) -> StudyView:
        """Returns a study.

        Args:
            study: What was found.
            pictures: Of its slices.
            number: Unique within the page.
            heading: What it is called.
        """
        anchor, headings = f"study-{number}", _series_headings(study)
        return StudyView(
            anchor=anchor,
            heading=heading,
            patient_id=study.patient_id or "not given",
            study_uid=study.study_uid or "not given",
            advice=study_advice(study, headings),
            labels=tuple(self._label_row(name, study) for name in self.model.labels),
            series=tuple(
                self._series(series, pictures, _series_anchor(number, place), headings[place])
                for place, series in enumerate(study.series)
            ),
        )

    def viewer_data(self, study: StudyResult, pictures: StudyPictures, number: int) -> ViewerData:
        """Returns the slices of every series of a study, by the anchor of the series."""
        return {
            _series_anchor(number, place): slices_data(series, pictures, self.model, positions_in_mm=self.in_mm)
            for place, series in enumerate(study.series)
        }

    def _label_row(self, name: str, study: StudyResult) -> LabelRow:
        probability, threshold = study.probabilities[name], self.model.thresholds_of_studies[name]
        flagged = name in self.model.flagged_of(study)
        not_judged = study.unlike_training and not flagged
        count = sum(name in self.model.flagged_on(item, series) for series in study.series for item in series.slices)
        total = sum(len(series.slices) for series in study.series)
        since = f", from {probability_text(self.model.thresholds[name])}" if self.model.study_thresholds else ""
        return LabelRow(
            display=display_name(name, self.model),
            probability=probability_text(probability),
            threshold=probability_text(threshold),
            percent=percent_text(probability),
            threshold_percent=percent_text(threshold),
            flagged=flagged,
            verdict=NOT_JUDGED if not_judged else "flagged" if flagged else "not flagged",
            slices=NOT_JUDGED if not_judged else f"{count} of {total}{since}",
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
            profile=None if series.unlike_training else self._profile(series, f"{anchor}-profile"),
            slices=tuple(self._slice(item, series, pictures) for item in series.slices),
            viewer=viewer_view(series, self.model),
            evidence=evidence_note(series, self.model),
        )

    def _profile(self, series: SeriesResult, element_id: str) -> Markup:
        svg = axial_profile_svg(
            [item.position_mm if self.in_mm else float(place) for place, item in enumerate(series.slices)],
            [slice_name(item, positions_in_mm=self.in_mm) for item in series.slices],
            [
                Curve(display_name(name, self.model), self.model.thresholds[name], tuple(_values(name, series)))
                for name in self.model.labels
            ],
            element_id=element_id,
            axis_title=f"{'Position along the slice normal (mm)' if self.in_mm else 'Slice'}, feet to head",
            with_cursor=True,
        )
        return Markup(svg)  # noqa: S704  axial_profile_svg escapes every text

    def _slice(self, item: SliceResult, series: SeriesResult, pictures: StudyPictures) -> SliceView:
        flagged = self.model.flagged_on(item, series)
        return SliceView(
            index=item.slice_index,
            position=f"{item.position_mm:.1f}",
            origin=slice_origin(item),
            cells=tuple(
                Cell(
                    display_name(name, self.model), probability_text(item.probabilities[name]), flagged=name in flagged
                )
                for name in self.model.labels
            ),
            pictures=pictures[slice_key(item)] if flagged else None,
            peak=peak_text(item, self.model),
        )


def _series_headings(study: StudyResult) -> tuple[str, ...]:
    count = len(study.series)
    return ("Series",) if count == 1 else tuple(f"Series {place} of {count}" for place in range(1, count + 1))


def _series_anchor(number: int, place: int) -> str:
    return f"study-{number}-series-{place + 1}"


def _values(name: str, series: SeriesResult) -> list[float]:
    return [item.probabilities[name] for item in series.slices]
