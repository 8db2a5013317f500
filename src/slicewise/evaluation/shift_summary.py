"""What `shift.json` holds, and how it is shown on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from slicewise.evaluation.evidence import Estimate
from slicewise.evaluation.local_calibration import LocalCalibration
from slicewise.evaluation.shift import RULES, Grade, Shift
from slicewise.evaluation.summary import estimate_text
from slicewise.inference.reference import Reference
from slicewise.results import DISCLAIMER
from slicewise.task import Task
from slicewise.text import aligned

SHIFT_SCHEMA_VERSION = 1
"""Counts the changes of `ShiftReport` after which a reader of the older form fails; a new key is none."""

VERDICTS: dict[Grade, str] = {
    "alike": (
        "ALIKE: scores and descriptors lie where those of the reference do. That does not show that the model is as "
        "good here: only labelled patients of this site do."
    ),
    "moderate": (
        "MODERATE SHIFT: part of the scores or images differs from the reference. Look at the series named as most "
        "unlike, and measure and calibrate the model on labelled patients of this site before its numbers are used."
    ),
    "large": (
        "LARGE SHIFT: these are not the data that the model was calibrated on. Its probabilities and thresholds do not "
        "hold here until labelled patients of this site have shown and set what they are."
    ),
}
SHOWN_UNLIKE, FEW_PATIENTS = 5, 30


class ReferenceSummary(msgspec.Struct, frozen=True):
    """What a site was compared with.

    Attributes:
        source: Whose distributions these are, in words.
        patients: Number of patients.
        studies: Number of studies.
        series: Number of series.
        slices: Number of slices of the network input.
    """

    source: str
    patients: int
    studies: int
    series: int
    slices: int


def summarise_reference(reference: Reference) -> ReferenceSummary:
    """Returns whose distributions a reference holds, and how many."""
    return ReferenceSummary(
        source=reference.source,
        patients=reference.patients,
        studies=reference.scores["study"].rows,
        series=reference.scores["series"].rows,
        slices=reference.scores["slice"].rows,
    )


def size_warnings(reference: Reference, patients: int) -> tuple[str, ...]:
    """Returns what a reader of a comparison of few patients should know.

    Args:
        reference: The reference.
        patients: Patients of the site.
    """
    sizes = {"the reference": reference.patients, "the site": patients}
    return tuple(
        f"{name} holds {count} patients, fewer than {FEW_PATIENTS}: they tell large differences alone, if any"
        for name, count in sizes.items()
        if count < FEW_PATIENTS
    )


class ShiftReport(msgspec.Struct, frozen=True):
    """What `shift.json` holds.

    Attributes:
        model: Name, version and digest of the model.
        reference: What the site was compared with.
        n_patients: Patients of the site.
        n_studies: Studies of the site.
        n_series: Series of the site.
        n_slices: Slices of the network input; thin ones are averaged there.
        shift: All that was compared.
        verdict: The worst of all grades.
        explanation: The verdict in words.
        rules: How grades come about.
        local_calibration: What calibrating on the labels of the site would change; None without enough labels.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples and of the folds.
        warnings: What a reader should know.
        disclaimer: What these figures are not.
        schema_version: `SHIFT_SCHEMA_VERSION`.
    """

    model: dict[str, str]
    reference: ReferenceSummary
    n_patients: int
    n_studies: int
    n_series: int
    n_slices: int
    shift: Shift
    verdict: Grade
    explanation: str
    local_calibration: LocalCalibration | None
    resamples: int
    seed: int
    warnings: tuple[str, ...] = ()
    rules: tuple[str, ...] = RULES
    disclaimer: str = DISCLAIMER
    schema_version: int = SHIFT_SCHEMA_VERSION


def shift_schema() -> dict[str, Any]:
    """Returns the JSON schema of `shift.json`."""
    return msgspec.json.schema(ShiftReport)


def summarise_shift(report: ShiftReport, task: Task) -> str:
    """Returns the verdict and the tables behind it.

    Args:
        report: The report.
        task: Names of the labels for people.
    """
    reference = report.reference
    here = (
        f"{report.n_patients} patients, {report.n_studies} studies, {report.n_series} series, compared with "
        f"{reference.patients} patients: {reference.source}"
    )
    parts = [
        here,
        _scores(report, task),
        _descriptors(report),
        report.explanation,
    ]
    if report.local_calibration is not None:
        parts.append(_local(report.local_calibration, task))
    warnings = [*report.warnings, *(report.local_calibration.warnings if report.local_calibration else ())]
    parts += ["\n".join(f"warning: {warning}" for warning in warnings)] if warnings else []
    parts.append(
        "In brackets: 95 % interval, patients resampled. Chance: what equal sites stay below, 999 of 1000 times."
    )
    return "\n\n".join(parts)


def _scores(report: ShiftReport, task: Task) -> str:
    displays = dict(zip(task.label_names, (label.display for label in task.labels), strict=True))
    rows: list[Sequence[str]] = [("scores", "level", "stability index", "chance", "KS distance", "chance", "grade")]
    rows += [
        (
            displays[item.label],
            item.level,
            estimate_text(item.psi),
            _number(item.psi_by_chance),
            estimate_text(item.ks),
            _number(item.ks_by_chance),
            item.grade,
        )
        for item in report.shift.scores
    ]
    return aligned(rows, left=2)


def _descriptors(report: ShiftReport) -> str:
    rows: list[Sequence[str]] = [("descriptors", "expected", "share of series", "grade")]
    for item in report.shift.descriptors:
        grade = report.shift.descriptor_grade if item.percentile == 95 else ""
        rows.append((f"beyond percentile {item.percentile}", f"{item.expected:.0%}", _share(item.share), grade))
    unlike: list[Sequence[str]] = [("most unlike series", "distance", "percentile")]
    unlike += [
        (item.series_uid, f"{item.distance:.2f}", str(item.percentile))
        for item in report.shift.most_unlike[:SHOWN_UNLIKE]
    ]
    return f"{aligned(rows, left=1)}\n\n{aligned(unlike, left=1)}"


def _local(found: LocalCalibration, task: Task) -> str:
    rows: list[Sequence[str]] = [
        ("calibrated locally", "positive studies", "log loss", "ECE", "threshold", "sensitivity", "specificity")
    ]
    for label in task.labels:
        item = found.labels[label.name]
        for when, threshold, levels in (
            ("before", item.threshold_before, item.before),
            ("after", item.threshold, item.after),
        ):
            rows.append(
                (
                    f"{label.display}, {when}",
                    str(item.positive_studies),
                    _number(levels["slice"]["log_loss"].value),
                    _number(levels["slice"]["ece"].value),
                    f"{threshold:.3f}",
                    _share(levels["study"]["sensitivity"]),
                    _share(levels["study"]["specificity"]),
                )
            )
    change = estimate_text(
        Estimate(*(getattr(found.weighted_log_loss_change, key) for key in ("value", "low", "high"))), "+"
    )
    return (
        f"{aligned(rows, left=1)}\n"
        f"Goal {found.goal}; {found.patients} patients with labels, each measured by what the others set. Log loss and "
        f"ECE are of slices, the rest of studies.\nWeighted log loss, after - before: {change}"
    )


def _share(found: Estimate) -> str:
    if found.value is None:
        return "n/a"
    if found.low is None or found.high is None:
        return f"{found.value:.1%} [n/a]"
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
