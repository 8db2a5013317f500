"""The evaluation protocol: which patients, which numbers, which intervals, and how two models are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np

from slicewise.errors import InputError
from slicewise.evaluation.bootstrap import (
    Draws,
    binary_statistics,
    patient_multiplicities,
    percentile_interval,
    resample,
    weighted_log_loss_statistic,
)
from slicewise.evaluation.metrics import Floats, binary_metrics, weighted_log_loss
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.progress import Progress, no_progress
from slicewise.task import Task

RESAMPLES = 1000
"""Default number of resamples of the patients."""


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval from resampled patients; None, JSON's null, where it is not defined.

    Attributes:
        value: The number itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float | None
    low: float | None
    high: float | None


class Counts(msgspec.Struct, frozen=True):
    """How many rows carry the metrics of one label.

    Attributes:
        positive: Rows with the finding.
        negative: Rows without it.
        unknown: Rows that enter no metric of this label.
    """

    positive: int
    negative: int
    unknown: int


Level = dict[str, dict[str, Estimate]]
"""Estimates by label and metric."""


class Metrics(msgspec.Struct, frozen=True):
    """What `metrics.json` holds. Dotted names of docs/cli.md are paths: `slice.any.auroc` is slice -> any -> auroc.

    Attributes:
        n_patients: Number of patients.
        n_studies: Number of studies.
        n_slices: Number of scored slices.
        weighted_log_loss: The score of the RSNA 2019 challenge with the loss weights of the task.
        slice: Metrics of slices.
        study: Metrics of studies; a study is scored by the study rule of the task.
        counts: Rows behind the metrics, by level and label.
        thresholds: Operating points of sensitivity, specificity, ppv and npv; the same for slices and studies. Empty
            where none is known.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.
        model: Name, version and digest of the model, as far as known.
        warnings: What a reader should know about how predictions and labels came together.
    """

    n_patients: int
    n_studies: int
    n_slices: int
    weighted_log_loss: Estimate
    slice: Level
    study: Level
    counts: dict[str, dict[str, Counts]]
    thresholds: dict[str, float]
    resamples: int
    seed: int
    model: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class Differences(msgspec.Struct, frozen=True):
    """One model minus another, on the same slices and the same resamples.

    Attributes:
        weighted_log_loss: Below 0 if the first model is better.
        slice: Differences of the metrics of slices that need no operating point.
        study: Likewise of studies.
    """

    weighted_log_loss: Estimate
    slice: Level
    study: Level


def evaluate(
    table: PredictionTable,
    task: Task,
    *,
    thresholds: Mapping[str, float] | None = None,
    model: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Metrics:
    """Measures predictions against their labels, on slices and on studies.

    Args:
        table: Predictions and labels.
        task: Gives the loss weights and the study rule; its labels are those of the table.
        thresholds: Operating points by label; without them the metrics that need one are left out.
        model: What made the predictions, kept in the result.
        resamples: Number of resamples of the patients; 0 leaves out the intervals.
        seed: Seed of the resamples.
        progress: Reports on labels.

    Raises:
        InputError: If the table has no slice or other labels than the task.
    """
    _check_labels(table, task)
    operating_points = dict(thresholds or {})
    slices, studies = table.slices(), table.studies(task)
    draws = patient_multiplicities(len(table.patients), resamples, seed)
    levels: dict[str, Level] = {"slice": {}, "study": {}}
    work = [(level, rows, index) for level, rows in (("slice", slices), ("study", studies)) for index in _labels(task)]
    for level, rows, index in progress(work, description="Resampling", total=len(work), unit="metric"):
        name = task.label_names[index]
        threshold = operating_points.get(name)
        values = binary_metrics(rows.probabilities[:, index], rows.targets[:, index], threshold)
        resampled = _resample_label(rows, index, draws, threshold)
        levels[level][name] = {metric: estimate(value, resampled[metric]) for metric, value in values.items()}
    return Metrics(
        n_patients=len(table.patients),
        n_studies=len(studies.patients),
        n_slices=len(table),
        weighted_log_loss=estimate(
            weighted_log_loss(slices.probabilities, slices.targets, task.loss_weights),
            _resample_log_loss(slices, task, draws),
        ),
        slice=levels["slice"],
        study=levels["study"],
        counts={"slice": _counts(slices, task), "study": _counts(studies, task)},
        thresholds=operating_points,
        resamples=resamples,
        seed=seed,
        model=dict(model or {}),
        warnings=table.warnings,
    )


def compare(
    first: PredictionTable,
    second: PredictionTable,
    task: Task,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Differences:
    """Measures how much two models differ: the first minus the second, with paired intervals.

    Args:
        first: Predictions of one model.
        second: Predictions of another one for the same slices, in any order.
        task: As in `evaluate`.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.
        progress: Reports on labels.

    Raises:
        InputError: If the tables do not hold the same slices with the same labels.
    """
    _check_labels(first, task)
    _check_labels(second, task)
    second = _in_order_of(second, first)
    draws = patient_multiplicities(len(first.patients), resamples, seed)
    slices, studies = (first.slices(), second.slices()), (first.studies(task), second.studies(task))
    levels: dict[str, Level] = {"slice": {}, "study": {}}
    work = [(level, rows, index) for level, rows in (("slice", slices), ("study", studies)) for index in _labels(task)]
    for level, (a, b), index in progress(work, description="Comparing", total=len(work), unit="metric"):
        values_a, values_b = (binary_metrics(rows.probabilities[:, index], rows.targets[:, index]) for rows in (a, b))
        draws_a, draws_b = _resample_label(a, index, draws, None), _resample_label(b, index, draws, None)
        levels[level][task.label_names[index]] = {
            metric: estimate(values_a[metric] - values_b[metric], draws_a[metric] - draws_b[metric])
            for metric in values_a
        }
    losses = [weighted_log_loss(rows.probabilities, rows.targets, task.loss_weights) for rows in slices]
    resampled = [_resample_log_loss(rows, task, draws) for rows in slices]
    return Differences(
        weighted_log_loss=estimate(losses[0] - losses[1], resampled[0] - resampled[1]),
        slice=levels["slice"],
        study=levels["study"],
    )


def _labels(task: Task) -> range:
    return range(len(task.labels))


def _check_labels(table: PredictionTable, task: Task) -> None:
    if table.label_names != task.label_names:
        raise InputError(
            f"the predictions have the labels {', '.join(table.label_names)}; expected those of the task "
            f"'{task.name}': {', '.join(task.label_names)}",
            reason="bad_predictions",
        )
    if len(table) == 0:
        raise InputError("there is not one predicted slice to evaluate", reason="bad_predictions")


def check_same_slices(table: PredictionTable, other: PredictionTable) -> None:
    """Checks that two tables hold the same slices with the same labels in the same order.

    Raises:
        InputError: If they do not.
    """
    same = table.label_names == other.label_names and table.slice_keys() == other.slice_keys()
    if not same or not np.array_equal(table.targets, other.targets):
        raise InputError(_OTHER_SLICES, reason="bad_predictions")


_OTHER_SLICES = "two models can only be compared on the same slices with the same labels; predict both on one dataset"


def _in_order_of(table: PredictionTable, other: PredictionTable) -> PredictionTable:
    row_of = {key: row for row, key in enumerate(table.slice_keys())}
    rows = [row_of.get(key, -1) for key in other.slice_keys()]
    if len(table) != len(other) or -1 in rows or not np.array_equal(table.targets[rows], other.targets):
        raise InputError(_OTHER_SLICES, reason="bad_predictions")
    return replace(other, probabilities=table.probabilities[rows])


def _resample_label(rows: ScoredRows, index: int, draws: Draws, threshold: float | None) -> dict[str, Floats]:
    column, targets = rows.probabilities[:, index], rows.targets[:, index]
    return resample(binary_statistics(column, targets, rows.patients, len(draws), threshold), draws)


def _resample_log_loss(rows: ScoredRows, task: Task, draws: Draws) -> Floats:
    statistic = weighted_log_loss_statistic(
        rows.probabilities, rows.targets, task.loss_weights, rows.patients, len(draws)
    )
    return resample([statistic], draws)["weighted_log_loss"]


def estimate(value: float, resampled: Floats) -> Estimate:
    """Returns a number with its interval from its values in the resamples."""
    low, high = percentile_interval(resampled) if math.isfinite(value) else (math.nan, math.nan)
    return Estimate(*(float(number) if math.isfinite(number) else None for number in (value, low, high)))


def _counts(rows: ScoredRows, task: Task) -> dict[str, Counts]:
    return {
        name: Counts(*(int((rows.targets[:, index] == target).sum()) for target in (1, 0, -1)))
        for index, name in enumerate(task.label_names)
    }
