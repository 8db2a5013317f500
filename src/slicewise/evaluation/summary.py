"""The metrics of one or several models as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slicewise.evaluation.protocol import Differences, Estimate, Metrics
from slicewise.task import Task
from slicewise.text import aligned

_METRICS = ("slice AUROC", "slice AP", "study AUROC")
NOT_DEFINED = "n/a"


def summarise(task: Task, metrics: Mapping[str, Metrics], differences: Mapping[str, Differences]) -> str:
    """Returns the figures that a reader wants first.

    The first table has one row a model and one a difference, for the label that sums up the others, or the first label
    where there is none. The second one has a row for every label of the first model.

    Args:
        task: Names of the labels for people.
        metrics: Metrics by the name of the model, the main model first.
        differences: The main model minus others, by their names.
    """
    name, first = next(iter(metrics.items()))
    main = task.labels[task.any_index or 0]
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
            f"{first.n_patients} patients, {first.n_studies} studies, {first.n_slices} slices",
            "",
            aligned(models, left=1),
            "",
            aligned(labels, left=1),
            "",
            *(f"warning: {warning}" for warning in first.warnings),
            f"In brackets: 95 % interval, patients resampled. {NOT_DEFINED}: not defined.",
        )
    )


def _estimates(found: Metrics | Differences, label: str, sign: str = "") -> tuple[str, str, str]:
    on_slices, on_studies = found.slice[label], found.study[label]
    return (
        estimate_text(on_slices["auroc"], sign),
        estimate_text(on_slices["average_precision"], sign),
        estimate_text(on_studies["auroc"], sign),
    )


def estimate_text(estimate: Estimate, sign: str = "") -> str:
    """Returns a number with its interval; `sign` is "+" for differences."""
    if estimate.value is None:
        return NOT_DEFINED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.4f} [{NOT_DEFINED}]"
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
