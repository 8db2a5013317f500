"""Which series a task does not read, and which of several it reads first: two tables.

`RULES` refuse a series. `PREFERENCES` order those that are left, and lead to a warning where the best of them still
has what is not wished for: a study whose only series is contrast-enhanced is read, and says so. The words that both
look for stand in `words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slicewise.errors import GeometryError
from slicewise.imaging import words
from slicewise.imaging.geometry import angle_to_axis, median_spacing_mm, slice_normal
from slicewise.imaging.nifti_header import NO_ORIENTATION, OTHER_SLICE_AXIS
from slicewise.imaging.parts import is_capture, is_localizer, is_rendering
from slicewise.imaging.words import folded, states_type
from slicewise.task import SeriesParameters
from slicewise.volume import ScanWarning

if TYPE_CHECKING:
    from slicewise.imaging.series import Series

PREFERRED_THICKNESS_MM = 5.0
"""Of several reconstructions the one nearest to this is read: routine head CT is reported at about 5 mm."""

WHOLE_SCAN_MM = 100.0
"""A series that covers less is a part of a scan, as a few slices that were repeated: heads are 130 to 180 mm high."""

_GREYS = frozenset(("MONOCHROME1", "MONOCHROME2", ""))


@dataclass(frozen=True)
class Rule:
    """Refuses a series.

    Attributes:
        reason: A code of `REASONS`.
        applies: Returns why the rule applies, "" if it does not.
    """

    reason: str
    applies: Callable[[Series, SeriesParameters], str]


@dataclass(frozen=True)
class Preference:
    """Orders series that no rule refuses: the lower `key` is read.

    Attributes:
        because: Completes "it was preferred because it ...".
        key: What counts.
        warning: Told of a series that is read although its key is not 0; None if that is nothing to tell.
    """

    because: str
    key: Callable[[Series], float]
    warning: ScanWarning | None = None


def _localizer(series: Series, parameters: SeriesParameters) -> str:
    if all(is_localizer(header) for header in series.headers):
        return "its Image Type says that it is a localizer"
    is_short = _slices(series) < parameters.minimum_slices
    return "it is described as a localizer" if is_short and words.LOCALIZER.search(_described(series)) else ""


def _secondary_capture(series: Series, parameters: SeriesParameters) -> str:
    if all(is_capture(header) for header in series.headers):
        return "it holds screen captures or reports (SOP class Secondary Capture, or Image Type), not a scan"
    if all(header.pixels is not None and header.pixels.photometric not in _GREYS for header in series.headers):
        return "its images are in colour, as captures and maps are, not a scan"
    is_short = _slices(series) < parameters.minimum_slices
    described = is_short and words.CAPTURE.search(_described(series))
    return "it is described as screen captures or reports" if described else ""


def _wrong_modality(series: Series, parameters: SeriesParameters) -> str:
    if series.modality == parameters.modality:
        return ""
    return f"its modality is {series.modality or 'not stated'}, and the task reads {parameters.modality}"


def _rendering(series: Series, _: SeriesParameters) -> str:
    described = _described(series)
    if all(is_rendering(header) for header in series.headers):
        return "its Image Type says that it holds projections or renderings, not slices"
    if words.MAP.search(described):
        return "it is described as maps that were computed from a scan"
    derived = all("DERIVED" in header.image_type for header in series.headers)
    return "it is described as projections or renderings" if derived and words.RENDERING.search(described) else ""


def _not_axial(series: Series, parameters: SeriesParameters) -> str:
    orientations = [header.image_orientation for header in series.headers if header.image_orientation is not None]
    if not orientations:
        return ""  # nothing to judge by: load_volume tells that the geometry is missing
    try:
        angle = angle_to_axis(slice_normal(orientations))
    except GeometryError as error:
        turning = error.reason == "mixed_orientation"
        return "its images are not parallel, as projections that turn around the head" if turning else ""
    if angle <= parameters.maximum_angle_degrees:
        return ""
    limit = parameters.maximum_angle_degrees
    return f"its slices stand {angle:.0f} degrees off the axial plane, and the task reads up to {limit:.0f}"


def _other_body_part(series: Series, parameters: SeriesParameters) -> str:
    """The description comes first: one protocol for head and neck gives all its series one Body Part Examined."""
    if not parameters.body_parts:
        return ""
    stated, described = folded(series.headers[0].body_part), _described(series)
    read = [folded(part) for part in parameters.body_parts]
    if any(re.search(rf"\b(ct)?{re.escape(part)}", described) for part in read):
        return ""
    found = words.OTHER_PART.search(described)
    if found:
        return f"its description names another part of the body ('{found[0]}')"
    if words.OTHER_PART.search(stated) and not any(part in stated for part in read):
        return f"its Body Part Examined is {series.headers[0].body_part}, and the task reads {parameters.body_parts[0]}"
    return ""


def _other_sequence(series: Series, parameters: SeriesParameters) -> str:
    described = _described(series).strip()
    other = next((word for word in parameters.other_sequences if _has_word(described, word)), None)
    if other is not None:
        return f"its description names another sequence than the task reads: {other}"
    if not described or not parameters.sequences or any(folded(word) in described for word in parameters.sequences):
        return ""
    return f"its description names no sequence that the task reads: {', '.join(parameters.sequences)}"


def _has_word(described: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(folded(word))}\b", described) is not None


def _too_few_slices(series: Series, parameters: SeriesParameters) -> str:
    needed, there = parameters.minimum_slices, _slices(series)
    if there >= needed:
        return ""
    if there == len(series.headers):
        return f"the task needs {needed} slices"
    return f"the task needs {needed} slices, and these stand at {there} {'place' if there == 1 else 'places'}"


RULES = (
    Rule("localizer", _localizer),
    Rule("secondary_capture", _secondary_capture),
    Rule("wrong_modality", _wrong_modality),
    Rule("rendering", _rendering),
    Rule("not_axial", _not_axial),
    Rule("other_body_part", _other_body_part),
    Rule("other_sequence", _other_sequence),
    Rule("too_few_slices", _too_few_slices),
)


def _lacks_geometry(series: Series) -> bool:
    return all(
        header.image_position is None or header.image_orientation is None or header.pixel_spacing_mm is None
        for header in series.headers
    )


def _contrast_signs(series: Series) -> int:
    """Counts the tag and the description: in a study with contrast the tag may also stand in the plain series."""
    if series.modality != "CT":
        return 0
    given = any(not words.NO_AGENT.fullmatch(folded(header.contrast_agent)) for header in series.headers)
    described = words.CONTRAST.search(words.NO_CONTRAST.sub("", _described(series))) is not None
    return given + described


def _is_sharp(series: Series) -> bool:
    kernel = words.SHARP_KERNEL.search(folded(series.convolution_kernel))
    return series.modality == "CT" and bool(kernel or words.SHARP_DESCRIPTION.search(_described(series)))


def _is_detailed(series: Series) -> bool:
    kernel = words.DETAIL_KERNEL.search(folded(series.convolution_kernel))
    return series.modality == "CT" and bool(kernel or words.DETAIL.search(_described(series)))


def _is_reformatted(series: Series) -> bool:
    return all(states_type(header.image_type, words.REFORMATTED_TYPE) for header in series.headers)


def _covers_a_part(series: Series) -> bool:
    return series.positions_mm is not None and float(np.ptp(series.positions_mm)) < WHOLE_SCAN_MM


def _thickness_distance(series: Series) -> float:
    spacing = None if series.positions_mm is None else median_spacing_mm(series.positions_mm)
    thickness = series.slice_thickness_mm or spacing
    return float("inf") if thickness is None else abs(thickness - PREFERRED_THICKNESS_MM)


PREFERENCES = (
    Preference("states where its slices lie", _lacks_geometry),
    Preference(
        "shows less sign of contrast medium",
        _contrast_signs,
        ScanWarning(
            "contrast_suspected", "Contrast medium was given, as tags or description say; it can look like blood."
        ),
    ),
    Preference(
        "is not reconstructed for bone",
        _is_sharp,
        ScanWarning(
            "sharp_kernel",
            "The images are reconstructed for bone, not for brain, as kernel or description say; no others are there.",
        ),
    ),
    Preference(f"covers {WHOLE_SCAN_MM:g} mm or more", _covers_a_part),
    Preference("is not reconstructed for fine detail", _is_detailed),
    Preference("is not reformatted from other images", _is_reformatted),
    Preference(f"has a slice thickness nearer to {PREFERRED_THICKNESS_MM:g} mm", _thickness_distance),
    Preference("has more slices", lambda series: -_slices(series)),
)

_NIFTI_WARNINGS = {
    NO_ORIENTATION: ScanWarning(
        "no_orientation",
        "The file states no orientation: its axes are taken to run to the left, the back and the head, which may be "
        "wrong.",
    ),
    OTHER_SLICE_AXIS: ScanWarning(
        "slice_axis",
        "The axial slices do not lie along the third axis that the file stores: slice_index counts along the axis that "
        "they lie along.",
    ),
}


def preference_key(series: Series) -> tuple[float, ...]:
    """Returns what orders series: of two the lower one is read."""
    return tuple(float(preference.key(series)) for preference in PREFERENCES)


def warnings_of(series: Series) -> tuple[ScanWarning, ...]:
    """Returns what is not wished for in a series that is read all the same."""
    found = [item.warning for item in PREFERENCES if item.warning is not None and item.key(series)]
    found += [warning for word, warning in _NIFTI_WARNINGS.items() if word in series.headers[0].image_type]
    return tuple(found)


def _described(series: Series) -> str:
    return folded(series.description)


def _slices(series: Series) -> int:
    """Counts positions: forty images of one place, as a bolus is watched, are no forty slices."""
    return len(series.headers) if series.positions_mm is None else len(series.positions_mm)
