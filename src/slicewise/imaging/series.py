"""Groups slices by study and series, and chooses the series that a task reads, with the reason."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import median

from slicewise.errors import GeometryError, InputError
from slicewise.imaging.discover import SliceHeader
from slicewise.imaging.geometry import angle_to_axis, slice_normal
from slicewise.results import Rejection
from slicewise.task import SeriesParameters

PREFERRED_THICKNESS_MM = 5.0
"""Of several reconstructions the one nearest to this is read: routine head CT is reported at about 5 mm."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SHARP = re.compile(r"\b(bone|osseous|knochen)|sharp|edge|lung|^[bhjtuq][a-z]?[5-9]\d|^fc(3|5|8)\d", re.IGNORECASE)
"""Descriptions and kernels for bone: GE BONE and EDGE, Siemens from 50 on, Canon FC3x, FC5x and FC8x."""
_CONTRAST = re.compile(r"\b(post|contrast|c\+|\+c|ce|cta|angio\w*|enhanced|venous|arterial)(?!\w)", re.IGNORECASE)
_NO_CONTRAST = re.compile(r"\b(non|no|without|w/o|pre)\b.{0,3}(contrast|enhanced|ce\b|c\+)", re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """The images that share a Series Instance UID within a study, at least one, in the order they were found."""

    headers: tuple[SliceHeader, ...]

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

    @property
    def folder(self) -> str:
        """The folder that the files share, relative to the input; "." for the input itself."""
        return posixpath.commonpath([PurePosixPath("x", header.file).parent for header in self.headers])[2:] or "."


@dataclass(frozen=True)
class Study:
    """The series of a study, in the order they were found."""

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


def group_studies(headers: Iterable[SliceHeader]) -> tuple[Study, ...]:
    """Groups images by Study and Series Instance UID, in the order they were found.

    File names and folders play no part: a series split over two folders comes together. Images of different patients
    under one Series Instance UID stay one series, which `load_volume` refuses (mixed_patients); series of different
    patients under one Study Instance UID, as careless anonymisation leaves them, are two studies.
    """
    by_uid: dict[tuple[str, str], list[SliceHeader]] = {}
    for header in headers:
        by_uid.setdefault((header.study_uid, header.series_uid), []).append(header)
    studies: dict[tuple[str, str], list[Series]] = {}
    for series in (Series(tuple(items)) for items in by_uid.values()):
        studies.setdefault((series.patient_id, series.study_uid), []).append(series)
    return tuple(Study(patient_id, study_uid, tuple(items)) for (patient_id, study_uid), items in studies.items())


def choose_series(
    study: Study, parameters: SeriesParameters, requested: Collection[str] = ()
) -> tuple[SeriesDecision, ...]:
    """Decides for every series of a study whether it is read.

    Without a request one series a study is read: of those that no rule refuses the one that the preferences put first.

    Args:
        study: The study.
        parameters: What the task reads.
        requested: Series Instance UIDs to read instead, whatever the rules say.

    Returns:
        One decision a series, in the order of the study.
    """
    if requested:
        return tuple(_decide_by_request(series, requested) for series in study.series)
    refused = {series.series_uid: _refusal(series, parameters) for series in study.series}
    usable = [series for series in study.series if refused[series.series_uid] is None]
    best = min(usable, key=_preference_key) if usable else None
    return tuple(refused[series.series_uid] or _decide_by_preference(series, best) for series in study.series)


def rejection_of(decision: SeriesDecision) -> Rejection:
    """Returns the row of `rejected.csv` for a series that was not chosen."""
    series = decision.series
    return Rejection(series.folder, "not_chosen", decision.reason, decision.message, series.series_uid)


def rejection_of_error(series: Series, error: InputError) -> Rejection:
    """Returns the row of `rejected.csv` for a series that was chosen and could not be read."""
    return Rejection(series.folder, "unreadable", error.reason, str(error), series.series_uid)


@dataclass(frozen=True)
class _Rule:
    """Refuses a series: `reason` is the code, `applies` returns why it applies, or nothing."""

    reason: str
    applies: Callable[[Series, SeriesParameters], str]


@dataclass(frozen=True)
class _Preference:
    """Orders usable series: the lower `key` is read; `because` completes "it was preferred because it ..."."""

    because: str
    key: Callable[[Series], float]


def _localizer(series: Series, _: SeriesParameters) -> str:
    is_localizer = all("LOCALIZER" in header.image_type for header in series.headers)
    return "its Image Type says that it is a localizer" if is_localizer else ""


def _secondary_capture(series: Series, _: SeriesParameters) -> str:
    captures = all(header.sop_class_uid.startswith(_SECONDARY_CAPTURE) for header in series.headers)
    return "it holds screen captures (SOP class Secondary Capture), not a scan" if captures else ""


def _wrong_modality(series: Series, parameters: SeriesParameters) -> str:
    if series.modality == parameters.modality:
        return ""
    return f"its modality is {series.modality or 'not stated'}, and the task reads {parameters.modality}"


def _not_axial(series: Series, parameters: SeriesParameters) -> str:
    orientations = [header.image_orientation for header in series.headers if header.image_orientation is not None]
    if not orientations:
        return ""  # nothing to judge by: load_volume tells that the geometry is missing
    try:
        angle = angle_to_axis(slice_normal(orientations))
    except GeometryError:
        return ""  # load_volume tells
    if angle <= parameters.maximum_angle_degrees:
        return ""
    limit = parameters.maximum_angle_degrees
    return f"its slices stand {angle:.0f} degrees off the axial plane, and the task reads up to {limit:.0f}"


def _too_few_slices(series: Series, parameters: SeriesParameters) -> str:
    if len(series.headers) >= parameters.minimum_slices:
        return ""
    return f"the task needs {parameters.minimum_slices} slices"


_RULES = (
    _Rule("localizer", _localizer),
    _Rule("secondary_capture", _secondary_capture),
    _Rule("wrong_modality", _wrong_modality),
    _Rule("not_axial", _not_axial),
    _Rule("too_few_slices", _too_few_slices),
)


def _lacks_geometry(series: Series) -> bool:
    return all(header.image_position is None or header.image_orientation is None for header in series.headers)


def _is_sharp(series: Series) -> bool:
    return any(_SHARP.search(text) is not None for text in (series.description, series.convolution_kernel))


def _has_contrast(series: Series) -> bool:
    described = _NO_CONTRAST.sub("", series.description.replace("_", " "))
    return _CONTRAST.search(described) is not None


def _thickness_distance(series: Series) -> float:
    thickness = series.slice_thickness_mm
    return float("inf") if thickness is None else abs(thickness - PREFERRED_THICKNESS_MM)


_PREFERENCES = (
    _Preference("states slice positions", _lacks_geometry),
    _Preference("is not reconstructed for bone", _is_sharp),
    _Preference("is not described as contrast-enhanced", _has_contrast),
    _Preference(f"has a slice thickness nearer to {PREFERRED_THICKNESS_MM:g} mm", _thickness_distance),
    _Preference("has more slices", lambda series: -len(series.headers)),
)


def _preference_key(series: Series) -> tuple[float, ...]:
    return tuple(float(preference.key(series)) for preference in _PREFERENCES)


def _refusal(series: Series, parameters: SeriesParameters) -> SeriesDecision | None:
    for rule in _RULES:
        why = rule.applies(series, parameters)
        if why:
            return SeriesDecision(series, chosen=False, reason=rule.reason, message=f"{_name(series)}: {why}.")
    return None


def _decide_by_preference(series: Series, best: Series | None) -> SeriesDecision:
    if best is None or series is best:
        return SeriesDecision(series, chosen=True, reason="chosen", message=f"{_name(series)}: fits the task best.")
    because = next(
        (item.because for item in _PREFERENCES if item.key(best) < item.key(series)), "was found first of equal ones"
    )
    message = f"{_name(series)}: {_name(best)} was preferred because it {because}."
    return SeriesDecision(series, chosen=False, reason="other_series_preferred", message=message)


def _decide_by_request(series: Series, requested: Collection[str]) -> SeriesDecision:
    if series.series_uid in requested:
        return SeriesDecision(series, chosen=True, reason="requested", message=f"{_name(series)}: was asked for.")
    message = f"{_name(series)}: other series were asked for."
    return SeriesDecision(series, chosen=False, reason="not_requested", message=message)


def _name(series: Series) -> str:
    number = "Series" if series.number is None else f"Series {series.number}"
    details: Sequence[str] = [f"'{series.description}'"] if series.description else []
    count = len(series.headers)
    return " ".join([number, *details, f"({count} {'slice' if count == 1 else 'slices'})"])
