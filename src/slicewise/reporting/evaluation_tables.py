"""The tables of the evaluation page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slicewise.evaluation.evidence import Counts, Difference, Differences, Estimate, Metrics
from slicewise.reporting.evaluation_wording import (
    LEVELS,
    METRIC_NAMES,
    NOT_DEFINED,
    attribute_text,
    estimate_text,
    level_of,
    main_label,
    model_name,
    p_value_text,
    point_name,
    threshold_text,
)
from slicewise.reporting.forest_figure import SUBGROUP_METRICS, TOO_SMALL
from slicewise.task import Label, Task

_KEY_METRICS = ("auroc", "average_precision", "log_loss")
_CALIBRATION_METRICS = (
    "calibration_slope",
    "calibration_intercept",
    "ece",
    "brier",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
)
_POINT_METRICS = ("sensitivity", "specificity", "ppv", "npv", "f1")
_RULE_METRICS = ("auroc", "average_precision", "log_loss", "ece")
_RULE_NAMES = {
    "max": "Highest slice (max)",
    "noisy_or": "Noisy or",
    "top_k_mean": "Mean of the highest slices",
    "learned": "Learned from the others, cross-fitted",
}


@dataclass(frozen=True)
class TableView:
    """A table; the first cell of every row is its heading.

    Attributes:
        caption: What it shows.
        head: Headings of the columns.
        rows: Their cells.
        texts: Number of columns, from the first, that hold text; the others hold numbers.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


def key_table(metrics: Metrics, task: Task, level: str) -> TableView:
    """Returns counts and what needs no threshold, one row a label."""
    rows = tuple(
        (
            label.display,
            *_count_texts(metrics.counts.get(level, {}).get(label.name)),
            *_estimates(level_of(metrics, level).get(label.name, {}), _KEY_METRICS),
        )
        for label in task.labels
    )
    head = ("Label", "With finding", "Without", "Unknown", *(METRIC_NAMES[name] for name in _KEY_METRICS))
    return TableView(f"{LEVELS[level].capitalize()}: value and 95 % interval.", head, rows)


def calibration_table(metrics: Metrics, task: Task, level: str) -> TableView:
    """Returns how far probabilities can be taken at their word, one row a label."""
    known = level_of(metrics, level)
    rows = tuple((label.display, *_estimates(known.get(label.name, {}), _CALIBRATION_METRICS)) for label in task.labels)
    head = ("Label", *(METRIC_NAMES[name] for name in _CALIBRATION_METRICS))
    rows_are = LEVELS[level].capitalize()
    caption = f"{rows_are}: calibration line and error; Brier score = reliability - resolution + uncertainty."
    return TableView(caption, head, rows)


def point_table(metrics: Metrics, label: Label, level: str) -> TableView | None:
    """Returns the named operating points of a label; None without any."""
    points = metrics.operating_points.get(level, {}).get(label.name, {})
    if not points:
        return None
    rows = tuple(
        (point_name(name), point.chosen_on, threshold_text(point.threshold), *_estimates(point.metrics, _POINT_METRICS))
        for name, point in points.items()
    )
    head = ("Operating point", "Chosen on", "Threshold", *(METRIC_NAMES[name] for name in _POINT_METRICS))
    return TableView(f"{label.display}, {LEVELS[level]}.", head, rows, texts=2)


def predictive_table(metrics: Metrics, label: Label, level: str) -> TableView | None:
    """Returns predictive values over the prevalence at all operating points of a label; None without any."""
    points = {
        name: point
        for name, point in metrics.operating_points.get(level, {}).get(label.name, {}).items()
        if point.by_prevalence and point.threshold is not None
    }
    if not points:
        return None
    rows = tuple(
        (point_name(name), f"{values.prevalence:.0%}", estimate_text(values.ppv), estimate_text(values.npv))
        for name, point in points.items()
        for values in point.by_prevalence
    )
    head = ("Operating point", "Prevalence", "PPV", "NPV")
    return TableView(f"{label.display}, {LEVELS[level]}: predictive values over the prevalence.", head, rows)


def rule_table(metrics: Metrics, task: Task, label: Label) -> TableView | None:
    """Returns how well each study rule scores studies; None where no rule was measured."""
    if not metrics.study_rules:
        return None
    rows = tuple(
        (
            _RULE_NAMES.get(rule, rule.replace("_", " ").capitalize())
            + (", of the task" if rule == task.study_rule else ""),
            *_estimates(level.get(label.name, {}), _RULE_METRICS),
        )
        for rule, level in metrics.study_rules.items()
    )
    head = ("Study rule", *(METRIC_NAMES[name] for name in _RULE_METRICS))
    return TableView(f"{label.display}, studies.", head, rows)


def subgroup_table(metrics: Metrics, task: Task) -> TableView | None:
    """Returns all subgroups; None without any."""
    rows = []
    for attribute, groups in metrics.subgroups.items():
        for group in groups:
            small = (TOO_SMALL,) + ("",) * (len(SUBGROUP_METRICS) - 1)
            shown = small if group.too_small else _estimates(group.metrics, tuple(SUBGROUP_METRICS))
            numbers = (group.n_patients, group.positive_patients, group.slice.positive, group.slice.negative)
            rows.append((attribute_text(attribute), group.group, *(f"{number:,}" for number in numbers), *shown))
    head = ("Attribute", "Group", "Patients", "With finding", "Positive slices", "Negative slices")
    caption = f"{main_label(task).display}, by subgroup."
    return TableView(caption, (*head, *SUBGROUP_METRICS.values()), tuple(rows), texts=2) if rows else None


def comparison_table(metrics: Metrics, other: Metrics, differences: Differences, task: Task, name: str) -> TableView:
    """Returns both models and their difference, the log loss over all labels first."""
    rows = [
        _comparison_row(
            "All labels, slices",
            "Weighted log loss",
            metrics.weighted_log_loss,
            other.weighted_log_loss,
            difference=differences.weighted_log_loss,
        )
    ]
    for level, of_level in (("slice", differences.slice), ("study", differences.study)):
        for label in task.labels:
            for metric, found in of_level.get(label.name, {}).items():
                if metric in _KEY_METRICS:
                    rows.append(
                        _comparison_row(
                            f"{label.display}, {LEVELS[level]}",
                            METRIC_NAMES[metric],
                            level_of(metrics, level).get(label.name, {}).get(metric),
                            level_of(other, level).get(label.name, {}).get(metric),
                            difference=found,
                        )
                    )
    head = ("Label", "Metric", model_name(metrics), name, "Difference", "p")
    caption = f"{model_name(metrics)} minus {name}, paired on the same slices and the same resamples."
    return TableView(caption, head, tuple(rows), texts=2)


def delong_table(differences: Differences, task: Task) -> TableView | None:
    """Returns the differences of the AUROC of studies by DeLong's method; None without any."""
    rows = tuple(
        (label.display, estimate_text(found.difference, "+"), p_value_text(found.p_value))
        for label in task.labels
        if (found := differences.delong.get(label.name)) is not None
    )
    caption = "Studies, difference of AUROC by DeLong's method: a cross-check without resampling."
    return TableView(caption, ("Label", "Difference", "p"), rows) if rows else None


def _comparison_row(
    label: str, metric: str, one: Estimate | None, other: Estimate | None, *, difference: Difference
) -> tuple[str, ...]:
    return (
        label,
        metric,
        estimate_text(one),
        estimate_text(other),
        estimate_text(difference, "+"),
        p_value_text(difference.p_value),
    )


def _count_texts(counts: Counts | None) -> tuple[str, ...]:
    if counts is None:
        return ("",) * 3
    return tuple(f"{number:,}" for number in (counts.positive, counts.negative, counts.unknown))


def _estimates(found: Mapping[str, Estimate], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(estimate_text(found[name]) if name in found else NOT_DEFINED for name in names)
