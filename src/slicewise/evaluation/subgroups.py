"""Parts of the slices by what is known of scan, patient and finding, each with figures of its own or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.bootstrap import Draws
from slicewise.evaluation.evidence import Counts, Estimate, Subgroup
from slicewise.evaluation.measure import Resampled
from slicewise.evaluation.metrics import Floats
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.evaluation.statistics import threshold_statistic
from slicewise.evaluation.sweep import Sweep
from slicewise.evaluation.triage import ARRIVAL
from slicewise.task import Task

LEAST_PATIENTS = 10
"""A figure needs as many patients with a positive and with a negative row in the part."""

MOST_GROUPS = 12
"""Of an attribute with more values, the most frequent ones stand by themselves and the rest is "other"."""

OTHER = "other"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bands:
    """Limits that part a number; a number on a limit belongs to the band above it.

    Attributes:
        limits: Ascending.
        unit: Unit for people.
    """

    limits: tuple[float, ...]
    unit: str

    def names(self) -> tuple[str, ...]:
        """Returns the names of the bands, from the lowest up."""
        inner = (f"{low:g} to {high:g} {self.unit}" for low, high in zip(self.limits, self.limits[1:], strict=False))
        return (f"below {self.limits[0]:g} {self.unit}", *inner, f"{self.limits[-1]:g} {self.unit} and more")


BANDS = {
    "slice_thickness_mm": Bands((1.5, 3.5, 6.0), "mm"),
    "spacing_mm": Bands((1.5, 3.5, 6.0), "mm"),
    "tilt_degrees": Bands((1.0, 10.0, 20.0), "degrees"),
    "age_years": Bands((18.0, 40.0, 60.0, 80.0), "years"),
    "finding_ml": Bands((1.0, 5.0, 30.0), "ml"),
}
"""Attributes that are numbers. The bands are the project's own, round numbers that readers know."""

OF_SLICES = ("axial_place",)
"""Attributes that differ within a study: they say nothing about whole studies."""

OF_FINDING = ("finding_ml", "subtypes")
"""Attributes of the finding: their groups part the positives, and share all negatives."""


def measure_subgroups(
    table: PredictionTable, task: Task, draws: Draws, threshold: float
) -> dict[str, tuple[Subgroup, ...]]:
    """Measures the label that sums up the others, or the first one, in every part.

    Args:
        table: Predictions with attributes.
        task: Says which label that is, and what a study is.
        draws: Shape (patients, resamples).
        threshold: Operating point of slices; nan leaves out sensitivity and specificity.
    """
    label = task.main_index
    slices, studies, groups = table.slices(), table.studies(task), table.study_groups
    found: dict[str, tuple[Subgroup, ...]] = {}
    for name, texts in table.attributes.items():
        if name == ARRIVAL:
            continue
        codes, names = group_codes(name, texts)
        if len(names) == 0:
            continue
        parts = []
        for code, group in enumerate(names):
            rows = codes == code
            if name in OF_FINDING:
                rows = rows | _without_finding(name, slices, studies, groups.study, label)
            # A study counts as a whole or not at all: one with two kernels belongs to neither.
            of_study = np.bincount(groups.study, rows, len(studies.patients))
            members = of_study == np.bincount(groups.study, minlength=len(of_study))
            if name in OF_SLICES:
                members[:] = False
            parts.append(
                _measure(group, _part(slices, rows), _part(studies, members), label, draws=draws, threshold=threshold)
            )
        found[name] = tuple(parts)
    return found


def group_codes(name: str, texts: Sequence[str]) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Parts slices by an attribute.

    Args:
        name: Name of the attribute.
        texts: Its value for every slice, "" where it is not known.

    Returns:
        The index of the group of every slice, -1 for none, shape (slices,), and the names of the groups.
    """
    counts = Counter(texts)
    counts.pop("", None)
    if name in BANDS:
        bands = BANDS[name]
        code_of = {text: _band(text, bands) for text in counts}
        if name in OF_FINDING:
            code_of = {text: -1 if _number(text) == 0 else code for text, code in code_of.items()}
        names = bands.names()
    else:
        values = [text for text in counts if not (name in OF_FINDING and text == "none")]
        kept = sorted(sorted(values, key=lambda text: (-counts[text], text))[:MOST_GROUPS])
        names = (*kept, OTHER) if len(values) > len(kept) else tuple(kept)
        code_of = {text: kept.index(text) if text in kept else len(kept) for text in values}
    codes = np.fromiter((code_of.get(text, -1) for text in texts), dtype=np.intp, count=len(texts))
    return _without_empty(codes, names)


def _without_empty(codes: npt.NDArray[np.intp], names: tuple[str, ...]) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    used = sorted({int(code) for code in np.unique(codes) if code >= 0})
    renumbered = np.full(len(names) + 1, -1, dtype=np.intp)  # the last entry stands for code -1
    renumbered[used] = np.arange(len(used))
    return renumbered[codes], tuple(names[code] for code in used)


def _band(text: str, bands: Bands) -> int:
    number = _number(text)
    return -1 if np.isnan(number) else int(np.searchsorted(bands.limits, number, side="right"))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _without_finding(
    name: str, slices: ScoredRows, studies: ScoredRows, study: npt.NDArray[np.intp], label: int
) -> Mask:
    of_study = studies.targets[:, label][study]
    if name != "subtypes":
        return np.equal(of_study, 0)
    # Of slices, where they are labelled; else of the study.
    of_slices = slices.targets[:, label]
    return np.equal(np.where(of_slices < 0, of_study, of_slices), 0)


def _part(rows: ScoredRows, chosen: Mask) -> ScoredRows:
    return ScoredRows(rows.probabilities[chosen], rows.targets[chosen], rows.patients[chosen])


def _measure(
    group: str, slices: ScoredRows, studies: ScoredRows, label: int, *, draws: Draws, threshold: float
) -> Subgroup:
    positive, negative = (_patients(slices, label, target) for target in (1, 0))
    few = min(positive, negative) < LEAST_PATIENTS
    metrics: dict[str, Estimate] = {}
    if not few:
        metrics |= _figures("slice", slices, label, draws, threshold)
    if min(_patients(studies, label, target) for target in (1, 0)) >= LEAST_PATIENTS:
        metrics |= _figures("study", studies, label, draws, float("nan"))
        few = False
    return Subgroup(
        group=group,
        n_patients=len(np.unique(slices.patients)),
        positive_patients=positive,
        negative_patients=negative,
        slice=count_rows(slices, label),
        study=count_rows(studies, label),
        too_small=few,
        metrics=metrics,
    )


def _patients(rows: ScoredRows, label: int, target: int) -> int:
    return len(np.unique(rows.patients[rows.targets[:, label] == target]))


def _figures(level: str, rows: ScoredRows, label: int, draws: Draws, threshold: float) -> dict[str, Estimate]:
    known = rows.targets[:, label] >= 0
    # Only the patients of the part: the others would make empty rows of large matrices.
    names, owners = np.unique(rows.patients[known], return_inverse=True)
    values = rows.probabilities[known, label].astype(np.float64)
    truth: Floats = rows.targets[known, label].astype(np.float64)
    drawn, whole = draws[names], np.ones((len(names), 1), dtype=np.float32)
    sweep = Sweep.of(values, truth, owners, len(names), with_points=False)
    once, often = sweep.run(whole), sweep.run(drawn)
    found = Resampled({"auroc": float(once.auroc[0])}, {"auroc": often.auroc}).estimates()
    if not np.isnan(threshold):
        statistic = threshold_statistic(values, truth, owners, len(names), threshold)
        at = {name: float(value[0]) for name, value in statistic.resample(whole).items()}
        wanted = {name: at[name] for name in ("sensitivity", "specificity")}
        found |= Resampled(wanted, statistic.resample(drawn)).estimates()
    return {f"{level}_{name}": value for name, value in found.items()}


def count_rows(rows: ScoredRows, index: int) -> Counts:
    """Counts the rows of a label by their target."""
    return Counts(*(int((rows.targets[:, index] == target).sum()) for target in (1, 0, -1)))
