"""What warnings about a scan mean for who reads the results, in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from slicewise.results import StudyResult
from slicewise.volume import ScanWarning

ADVICE = MappingProxyType(
    {
        "tilted": (
            "Tilted slices",
            "They cut the head at an angle, so structures look different from those of an untilted scan.",
        ),
        "uneven_spacing": (
            "Uneven spacing",
            "The model looks at neighbouring slices, too: the farther apart, the less they tell of each other.",
        ),
        "gap": ("A gap between slices", "What lies within the gap was not looked at."),
        "duplicate_positions": (
            "Several slices at one position",
            "They may be repeated because the patient moved: compare them with each other.",
        ),
        "slices_missing": ("Slices are missing", "A finding on them cannot show here. Export the series again."),
        "split_series": ("Images were left aside", "A finding on them cannot show here."),
        "unlike_training": (
            "Unlike the training data",
            "The probabilities are those of a model that has seen nothing like it: do not rely on them.",
        ),
        "thin_slices": (
            "Thin slices",
            "The model sees thick slices, as those it was made for: a finding on a single thin one may not show.",
        ),
        "known_defect": ("A known defect of this scan", ""),
        "contrast_suspected": ("Contrast medium", "What is flagged may be contrast medium: expect false alarms."),
        "sharp_kernel": (
            "Made for bone",
            "Such images are noisier than those for brain, so expect missed findings and false alarms.",
        ),
        "no_orientation": ("No orientation", "If the axes are wrong, so is the order of the slices, and the results."),
        "slice_axis": ("Another slice axis", "Slices here are not those that other viewers count for this file."),
        "intensity_not_scaled": ("Intensity not scaled", "The model saw another brightness than it was trained on."),
        "no_skull_found": ("No skull found", "The scan may not be of a whole head, and the model saw it off centre."),
        "no_body_found": ("No body found", "The scan may be empty, or its values may not be what they should be."),
        "shading_not_corrected": (
            "Shading not corrected",
            "Brain near bone may look brighter to the model than it is.",
        ),
        "wrapped_12_bit": ("Values were repaired", "Look at the pictures: they should show no patches of wrong grey."),
        "missing_rescale": ("No scale in the file", "If the values are no Hounsfield units, the results are wrong."),
    }
)
"""For every code a title, and what it means."""


@dataclass(frozen=True)
class AdviceView:
    """A warning about the scan.

    Attributes:
        title: What is the matter, in a few words.
        message: The message of the warning, with its figures.
        meaning: What it means for the results; "" where that is not known.
        code: The code that the tables have.
        where: The series it is about, "" where there is one series.
    """

    title: str
    message: str
    meaning: str
    code: str
    where: str


def study_advice(study: StudyResult, headings: Iterable[str]) -> tuple[AdviceView, ...]:
    """Returns all warnings of a study, each once.

    Args:
        study: The study.
        headings: Names of its series, in order.
    """
    several = len(study.series) > 1
    found: dict[tuple[str, ScanWarning], None] = {}
    for series, heading in zip(study.series, headings, strict=True):
        found.update(dict.fromkeys((heading if several else "", warning) for warning in series.warnings))
    told = {warning for _, warning in found}
    found.update(dict.fromkeys(("", warning) for warning in study.warnings if warning not in told))
    return tuple(_advice(warning, where) for where, warning in found)


def _advice(warning: ScanWarning, where: str) -> AdviceView:
    title, meaning = ADVICE.get(warning.code, (warning.code.replace("_", " ").capitalize(), ""))
    return AdviceView(title, warning.message, meaning, warning.code, where)
