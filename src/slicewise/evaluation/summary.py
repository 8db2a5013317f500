"""The metrics of one or several models as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slicewise.evaluation.evidence import Difference, Differences, Estimate, Metrics, OperatingPoint
from slicewise.task import Task
from slicewise.text import aligned

_METRICS = ("slice AUROC", "slice AP", "study AUROC")
NOT_DEFINED = "n/a"


def summarise(task: Task, metrics: Mapping[str, Metrics], differences: Mapping[str, Differences]) -> str:
    """Returns the figures that a reader wants first.

    The first table has one row a model and one a difference, for the label that sums up the others, or the first label
    where there is none. The second one has a row for every label of the first model, the third one a row for every
    operating point of its main label on studies. What was found in common with training data comes first.

    Args:
        task: Names of the labels for people.
        metrics: Metrics by the name of the model, the main model first.
        differences: The main model minus others, by their names.
    """
    name, first = next(iter(metrics.items()))
    main = task.labels[task.main_index]
    models: list[Sequence[str]] = [(main.display, "weighted log loss", *_METRICS)]
    for model, found in metrics.items():
        models.append((model, estimate_text(found.weighted_log_loss), *_estimates(found, main.name)))
    for model, difference in differences.items():
        loss = estimate_text(difference.weighted_log_loss, "+")
        models.append((f"{name} - {model}", loss, *_estimates(difference, main.name, "+")))
    labels: list[Sequence[str]] = [(f"{name}, by label", "positive slices", *_METRICS)]
    for label in task.labels:
        positive = str(first.counts["slice"][label.name].positive)
        labels.append((label.display, positive, *_estimates(first, label.name)))
    return "\n".join(
        (
            *(f"LEAKAGE: {leak}: the figures are too good" for leak in first.leakage),
            f"{first.n_patients} patients, {first.n_studies} studies, {first.n_slices} slices",
            "",
            aligned(models, left=1),
            "",
            aligned(labels, left=1),
            "",
            aligned(_operating_points(first, main.name, main.display), left=1),
            "",
            *_triage(first),
            *_small_parts(first),
            *(f"warning: {warning}" for warning in first.warnings),
            f"In brackets: 95 % interval, patients resampled. {NOT_DEFINED}: not defined.",
            "* chosen on these data, which flatters it.",
        )
    )


def _operating_points(found: Metrics, label: str, display: str) -> list[Sequence[str]]:
    points = found.operating_points.get("study", {}).get(label, {})
    rows: list[Sequence[str]] = [(f"{display}, studies", "threshold", "sensitivity", "specificity", "ppv", "npv")]
    return rows + [(_point_name(name, point), *_point_cells(point)) for name, point in points.items()]


def _point_name(name: str, point: OperatingPoint) -> str:
    return name if point.chosen_on == "other data" else f"{name} *"


def _point_cells(point: OperatingPoint) -> tuple[str, ...]:
    threshold = NOT_DEFINED if point.threshold is None else f"{point.threshold:.4f}"
    return (threshold, *(estimate_text(point.metrics[name]) for name in ("sensitivity", "specificity", "ppv", "npv")))


def _triage(found: Metrics) -> tuple[str, ...]:
    triage = found.triage
    if triage is None:
        return ()
    room = (
        f"{triage.studies_per_hour:.3g} studies an hour ({triage.arrivals}), {triage.minutes_per_study:g} minutes each"
    )
    return (
        f"Flagged studies first, {room}:",
        f"  with the finding {estimate_text(triage.minutes_sooner)} minutes sooner",
        f"  without it {estimate_text(triage.minutes_later)} minutes later",
        f"  {estimate_text(triage.false_alarms_per_100)} false alarms in 100 studies without it",
        f"  share of slices to review for 95 % of the positive ones: {estimate_text(triage.slices_for_95)}",
        "",
    )


def _small_parts(found: Metrics) -> tuple[str, ...]:
    small = [f"{name} {part.group}" for name, parts in found.subgroups.items() for part in parts if part.too_small]
    return (f"Subgroups too small for a figure: {', '.join(small)}.",) if small else ()


def _estimates(found: Metrics | Differences, label: str, sign: str = "") -> tuple[str, str, str]:
    on_slices, on_studies = found.slice[label], found.study[label]
    return (
        estimate_text(on_slices["auroc"], sign),
        estimate_text(on_slices["average_precision"], sign),
        estimate_text(on_studies["auroc"], sign),
    )


def estimate_text(estimate: Estimate | Difference, sign: str = "") -> str:
    """Returns a number with its interval; `sign` is "+" for differences."""
    if estimate.value is None:
        return NOT_DEFINED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.4f} [{NOT_DEFINED}]"
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
