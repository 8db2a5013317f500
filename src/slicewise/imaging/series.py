"""Groups slices by study and series, and chooses the series that a task reads, with the reason."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from statistics import median

from slicewise.errors import GeometryError, InputError
from slicewise.imaging.geometry import FARTHEST_MM, Floats, distinct_positions
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.overrides import override_of
from slicewise.imaging.parts import difference, split_headers
from slicewise.imaging.rules import PREFERENCES, RULES, preference_key, warnings_of
from slicewise.results import Rejection, RejectionKind
from slicewise.task import SeriesParameters
from slicewise.volume import ScanWarning

_MISSED = frozenset(("mixed_matrix", "mixed_orientation", "mixed_spacing", "no_pixel_spacing"))
"""Why slices of a series that is read are not read with it."""

_COULD_BE_READ = frozenset(("other_series_preferred", "too_few_slices"))
"""Why a stack is left out that is none of the things that a task does not want."""


@dataclass(frozen=True)
class Series:
    """Images that share a Series Instance UID within a study and form one stack, in the order they were found.

    Attributes:
        headers: The images, at least one.
        unreadable: Files that name this series and could not be read.
        warnings: What its choice has to tell.
    """

    headers: tuple[SliceHeader, ...]
    unreadable: tuple[Rejection, ...] = ()
    warnings: tuple[ScanWarning, ...] = ()

    @property
    def patient_id(self) -> str:
        """Patient ID of the first image."""
        return self.headers[0].patient_id

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.headers[0].study_uid

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self.headers[0].series_uid

    @property
    def modality(self) -> str:
        """Modality of the first image."""
        return self.headers[0].modality

    @property
    def number(self) -> int | None:
        """Series Number of the first image."""
        return self.headers[0].series_number

    @property
    def description(self) -> str:
        """Series Description of the first image."""
        return self.headers[0].series_description

    @property
    def convolution_kernel(self) -> str:
        """Convolution Kernel of the first image."""
        return self.headers[0].convolution_kernel

    @property
    def slice_thickness_mm(self) -> float | None:
        """Median Slice Thickness, None where no image states it."""
        known = [header.slice_thickness_mm for header in self.headers if header.slice_thickness_mm is not None]
        return median(known) if known else None

    @cached_property
    def positions_mm(self) -> Floats | None:
        """Where slices stand along their normal, each position once, ascending; None where this cannot be known."""
        placed = [
            (header.image_position, header.image_orientation)
            for header in self.headers
            if header.image_position is not None and header.image_orientation is not None
        ]
        usable = [(place, direction) for place, direction in placed if max(map(abs, place)) <= FARTHEST_MM]
        if not usable:
            return None
        try:
            return distinct_positions(*zip(*usable, strict=True))
        except GeometryError:
            return None

    @property
    def folder(self) -> str:
        """The folder that the files share, relative to the input; "." for the input itself."""
        return posixpath.commonpath([PurePosixPath("x", header.file).parent for header in self.headers])[2:] or "."


@dataclass(frozen=True)
class Study:
    """The series of a study, in the order they were found; the stacks of one series stand side by side."""

    patient_id: str
    study_uid: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class SeriesDecision:
    """Whether a series is read, and why.

    Attributes:
        series: The series.
        chosen: It is read.
        reason: A code of `REASONS` if it is not, else "chosen" or "requested".
        message: One sentence.
    """

    series: Series
    chosen: bool
    reason: str
    message: str

    @property
    def kind(self) -> RejectionKind:
        """Kind of rejection of a series that is not read: slices of a series that is read are missed."""
        return "unreadable" if self.reason in _MISSED else "not_chosen"


def group_studies(headers: Iterable[SliceHeader]) -> tuple[Study, ...]:
    """Groups images by Study and Series Instance UID, in the order they were found.

    File names and folders play no part: a series split over two folders comes together. (NIfTI has no UIDs: there every
    file is a study.) Images of different patients under one Series Instance UID stay one series, which `load_volume`
    refuses (mixed_patients); series of different patients under one Study Instance UID, as careless anonymisation
    leaves them, are two studies. A series of several stacks is split into them.
    """
    by_uid: dict[tuple[str, str, str], list[SliceHeader]] = {}
    for header in headers:
        file = header.file if header.pixels is None else ""
        by_uid.setdefault((header.study_uid, header.series_uid, file), []).append(header)
    studies: dict[tuple[str, str, str], list[Series]] = {}
    for (study_uid, _, file), items in by_uid.items():
        parts = [Series(part) for part in split_headers(items)]
        studies.setdefault((items[0].patient_id, study_uid, file), []).extend(parts)
    return tuple(Study(patient_id, study_uid, tuple(items)) for (patient_id, study_uid, _), items in studies.items())


def choose_series(
    study: Study, parameters: SeriesParameters, requested: Collection[str] = ()
) -> tuple[SeriesDecision, ...]:
    """Decides for every series of a study whether it is read.

    Without a request one series a study is read: of those that no rule refuses the one that the preferences put first.
    Of a series that holds several stacks one is read; the others are refused by a rule, or reported as missed.

    Args:
        study: The study.
        parameters: What the task reads.
        requested: Series Instance UIDs to read instead, whatever rules and known defects say.

    Returns:
        One decision a series, in the order of the study.
    """
    override = override_of(study.patient_id)
    refusals = [_refusal(series, parameters) for series in study.series]
    if requested:
        decisions = _decide_by_request(study.series, refusals, requested)
    elif override is not None and override.action == "refuse":
        message = f"{override.message}. Ask for a series by its UID to read it all the same"
        pairs = zip(study.series, refusals, strict=True)
        decisions = [refusal or _refused(series, "known_defect", message) for series, refusal in pairs]
    else:
        decisions = _decide_by_preference(study.series, refusals)
    known = () if override is None else (ScanWarning("known_defect", f"{_capitalised(override.message)}."),)
    return tuple(_with_warnings(decision, known) for decision in _miss_parts(decisions))


def rejection_of(decision: SeriesDecision) -> Rejection:
    """Returns the row of `rejected.csv` for a series that was not chosen."""
    series = decision.series
    return Rejection(series.folder, decision.kind, decision.reason, decision.message, series.series_uid)


def rejection_of_failure(study: Study, error: Exception) -> Rejection:
    """Returns the rejection of a study whose scoring failed in an unforeseen way.

    It holds no more of the error than its name: the rest may quote what a header says of a patient.
    """
    first = study.series[0]
    message = f"{first.folder}: scoring failed ({type(error).__name__}). Run again; if it fails again, report it."
    return Rejection(first.folder, "unreadable", "not_scored", message, first.series_uid)


def rejection_of_error(series: Series, error: InputError) -> Rejection:
    """Returns the row of `rejected.csv` for a series that was chosen and could not be read."""
    return Rejection(series.folder, "unreadable", error.reason, str(error), series.series_uid)


def series_warnings(series: Series) -> tuple[ScanWarning, ...]:
    """Returns what a reader of the results should know about the choice of a series."""
    return (*series.warnings, *warnings_of(series))


def _refusal(series: Series, parameters: SeriesParameters) -> SeriesDecision | None:
    for rule in RULES:
        why = rule.applies(series, parameters)
        if why:
            return _refused(series, rule.reason, why)
    return None


def _refused(series: Series, reason: str, why: str) -> SeriesDecision:
    return SeriesDecision(series, chosen=False, reason=reason, message=f"{_name(series)}: {why}.")


def _order(series: Series) -> tuple[object, ...]:
    """Returns what orders series; at the end what tells equal ones apart, whatever the names of their files."""
    number = math.inf if series.number is None else series.number
    return preference_key(series), number, series.series_uid, min(header.sop_uid for header in series.headers)


def _decide_by_preference(
    candidates: Sequence[Series], refusals: Sequence[SeriesDecision | None]
) -> list[SeriesDecision]:
    usable = [series for series, refusal in zip(candidates, refusals, strict=True) if refusal is None]
    best = min(usable, key=_order) if usable else None
    return [refusal or _compared(series, best) for series, refusal in zip(candidates, refusals, strict=True)]


def _compared(series: Series, best: Series | None) -> SeriesDecision:
    if best is None or series is best:
        return SeriesDecision(series, chosen=True, reason="chosen", message=f"{_name(series)}: fits the task best.")
    because = next(
        (item.because for item in PREFERENCES if item.key(best) < item.key(series)),
        "has the lower number of equal ones",
    )
    return _refused(series, "other_series_preferred", f"{_name(best)} was preferred because it {because}")


def _decide_by_request(
    candidates: Sequence[Series], refusals: Sequence[SeriesDecision | None], requested: Collection[str]
) -> list[SeriesDecision]:
    """Chooses one stack of every requested series: the best that no rule refuses, else the largest."""
    best: dict[str, Series] = {}

    def rank(pair: tuple[Series, SeriesDecision | None]) -> tuple[object, ...]:
        series, refusal = pair
        return refusal is not None, -len(series.headers) if refusal else 0, _order(series)

    for series, _ in sorted(zip(candidates, refusals, strict=True), key=rank):
        if series.series_uid in requested:
            best.setdefault(series.series_uid, series)
    decisions = []
    for series, refusal in zip(candidates, refusals, strict=True):
        if best.get(series.series_uid) is series:
            message = f"{_name(series)}: was asked for."
            decisions.append(SeriesDecision(series, chosen=True, reason="requested", message=message))
        elif series.series_uid in best:
            decisions.append(refusal or _compared(series, best[series.series_uid]))
        else:
            decisions.append(_refused(series, "not_requested", "other series were asked for"))
    return decisions


def _miss_parts(decisions: Sequence[SeriesDecision]) -> list[SeriesDecision]:
    """Marks the stacks of a chosen series that could be read as well, and tells the chosen one of all others."""
    chosen = {decision.series.series_uid: decision.series for decision in decisions if decision.chosen}
    found, left_aside = [], dict.fromkeys(chosen, 0)
    for decision in decisions:
        best = chosen.get(decision.series.series_uid)
        if best is None or decision.chosen:
            found.append(decision)
            continue
        left_aside[best.series_uid] += len(decision.series.headers)
        found.append(_missed(decision.series, best) if decision.reason in _COULD_BE_READ else decision)
    return [
        _with_warnings(item, _split_warning(left_aside[item.series.series_uid])) if item.chosen else item
        for item in found
    ]


def _missed(part: Series, best: Series) -> SeriesDecision:
    reason, words = difference(part.headers[0], best.headers[0])
    why = f"not scored with the other {len(best.headers)} images of the series, for they have {words}"
    return _refused(part, reason, f"{why}. Export them as a series of their own")


def _split_warning(left_aside: int) -> tuple[ScanWarning, ...]:
    if not left_aside:
        return ()
    images = "1 image" if left_aside == 1 else f"{left_aside} images"
    return (ScanWarning("split_series", f"Left aside: {images} of the series that form no stack with the others."),)


def _with_warnings(decision: SeriesDecision, warnings: tuple[ScanWarning, ...]) -> SeriesDecision:
    if not warnings or not decision.chosen:
        return decision
    series = replace(decision.series, warnings=(*decision.series.warnings, *warnings))
    return replace(decision, series=series)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(series: Series) -> str:
    number = "Series" if series.number is None else f"Series {series.number}"
    details: Sequence[str] = [f"'{series.description}'"] if series.description else []
    count = len(series.headers)
    return " ".join([number, *details, f"({count} {'slice' if count == 1 else 'slices'})"])
