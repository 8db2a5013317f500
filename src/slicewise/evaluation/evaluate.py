"""An evaluation: which patients, which numbers, which intervals, and how two models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from slicewise.errors import InputError
from slicewise.evaluation.bootstrap import Draws, patient_multiplicities
from slicewise.evaluation.delong import compare_auroc
from slicewise.evaluation.evidence import (
    DeLong,
    Difference,
    Differences,
    Estimate,
    Level,
    Metrics,
    difference,
    estimate,
    or_none,
)
from slicewise.evaluation.measure import LabelMeasure, measure_label, measure_metrics, operating_point
from slicewise.evaluation.metrics import Floats, weighted_log_loss
from slicewise.evaluation.operating_points import MODEL, YOUDEN
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.evaluation.statistics import weighted_log_loss_statistic
from slicewise.evaluation.study_rules import score_studies
from slicewise.evaluation.subgroups import count_rows, measure_subgroups
from slicewise.evaluation.triage import ReadingRoom, measure_triage
from slicewise.progress import Progress, no_progress
from slicewise.results import DISCLAIMER
from slicewise.task import Task

RESAMPLES = 1000
"""Default number of resamples of the patients."""


def evaluate(
    table: PredictionTable,
    task: Task,
    *,
    thresholds: Mapping[str, float] | None = None,
    study_thresholds: Mapping[str, float] | None = None,
    model: Mapping[str, str] | None = None,
    dataset: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    room: ReadingRoom | None = None,
    leakage: Sequence[str] = (),
    leakage_search: str = "",
    progress: Progress = no_progress,
) -> Metrics:
    """Measures predictions against their labels, on slices and on studies.

    Args:
        table: Predictions and labels.
        task: Gives the loss weights and the study rule; its labels are those of the table.
        thresholds: Operating points of the model for slices by label, chosen on other data.
        study_thresholds: Likewise for studies; None or empty where `thresholds` are for both.
        model: What made the predictions, kept in the result.
        dataset: Where the slices come from, likewise.
        resamples: Number of resamples of the patients; 0 leaves out the intervals.
        seed: Seed of the resamples.
        room: For whom triage is worked out; None for the usual one.
        leakage: What predictions and training data are known to share, kept in the result.
        leakage_search: What was compared to find it, likewise; "" where nothing was.
        progress: Reports on labels.

    Raises:
        InputError: If the table has no slice or other labels than the task.
    """
    _check_labels(table, task)
    of_model = {"slice": dict(thresholds or {}), "study": dict(study_thresholds or thresholds or {})}
    levels = {"slice": table.slices(), "study": table.studies(task)}
    draws = patient_multiplicities(len(table.patients), resamples, seed)
    work = [(level, index) for level in levels for index in range(len(task.labels))]
    measured: dict[str, dict[str, LabelMeasure]] = {level: {} for level in levels}
    for level, index in progress(work, description="Resampling", total=len(work), unit="metric"):
        rows, name = levels[level], task.label_names[index]
        measured[level][name] = measure_label(
            rows.probabilities[:, index], rows.targets[:, index], rows.patients, draws, of_model[level].get(name)
        )
    main = task.label_names[task.main_index]
    return Metrics(
        n_patients=len(table.patients),
        n_studies=len(levels["study"].patients),
        n_slices=len(table),
        weighted_log_loss=estimate(
            weighted_log_loss(levels["slice"].probabilities, levels["slice"].targets, task.loss_weights),
            _resample_log_loss(levels["slice"], task, draws),
        ),
        slice=_level(measured["slice"]),
        study=_level(measured["study"]),
        counts={
            level: {name: count_rows(rows, index) for index, name in enumerate(task.label_names)}
            for level, rows in levels.items()
        },
        thresholds=of_model["slice"],
        study_thresholds=dict(study_thresholds or {}),
        resamples=resamples,
        seed=seed,
        operating_points={
            level: {name: {point: operating_point(point, of) for point in of.points} for name, of in labels.items()}
            for level, labels in measured.items()
        },
        study_rules=_study_rules(table, task, draws, measured["study"]),
        subgroups=measure_subgroups(table, task, draws, _threshold(measured["slice"][main])),
        triage=measure_triage(
            table, task, measured["slice"][main], measured["study"][main], draws=draws, room=room or ReadingRoom()
        ),
        model=dict(model or {}),
        dataset=dict(dataset or {}),
        warnings=table.warnings,
        leakage=tuple(leakage),
        leakage_search=leakage_search,
        disclaimer=DISCLAIMER,
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
    """Measures how much two models differ: the first minus the second, with paired intervals and p values.

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
    levels: dict[str, dict[str, dict[str, Difference]]] = {"slice": {}, "study": {}}
    work = [
        (level, rows, index)
        for level, rows in (("slice", slices), ("study", studies))
        for index in range(len(task.labels))
    ]
    for level, pair, index in progress(work, description="Comparing", total=len(work), unit="metric"):
        a, b = (measure_metrics(rows, index, draws) for rows in pair)
        levels[level][task.label_names[index]] = {
            metric: difference(value - b.values[metric], a.resampled[metric] - b.resampled[metric])
            for metric, value in a.values.items()
        }
    losses = [weighted_log_loss(rows.probabilities, rows.targets, task.loss_weights) for rows in slices]
    resampled = [_resample_log_loss(rows, task, draws) for rows in slices]
    return Differences(
        weighted_log_loss=difference(losses[0] - losses[1], resampled[0] - resampled[1]),
        slice=levels["slice"],
        study=levels["study"],
        delong={name: _delong(*studies, index) for index, name in enumerate(task.label_names)},
    )


def _level(measured: Mapping[str, LabelMeasure]) -> Level:
    """Returns the metrics of every label; those at the operating point of the model, where it has one, among them."""
    return {
        name: {**label.metrics.estimates(), **(label.points[MODEL].estimates() if MODEL in label.points else {})}
        for name, label in measured.items()
    }


def _threshold(measured: LabelMeasure) -> float:
    return measured.thresholds.get(MODEL, measured.thresholds[YOUDEN])


def _study_rules(
    table: PredictionTable, task: Task, draws: Draws, of_task: Mapping[str, LabelMeasure]
) -> dict[str, Level]:
    found: dict[str, Level] = {}
    for rule, rows in score_studies(table, task).items():
        if rule == task.study_rule:
            found[rule] = {name: label.metrics.estimates() for name, label in of_task.items()}
            continue
        found[rule] = {
            name: measure_metrics(rows, index, draws).estimates() for index, name in enumerate(task.label_names)
        }
    return found


def _delong(first: ScoredRows, second: ScoredRows, index: int) -> DeLong:
    found = compare_auroc(
        first.probabilities[:, index], second.probabilities[:, index], first.targets[:, index], first.patients
    )
    low, high = found.interval
    return DeLong(Estimate(or_none(found.value), or_none(low), or_none(high)), or_none(found.p_value))


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


def _resample_log_loss(rows: ScoredRows, task: Task, draws: Draws) -> Floats:
    statistic = weighted_log_loss_statistic(
        rows.probabilities, rows.targets, task.loss_weights, rows.patients, len(draws)
    )
    return statistic.resample(draws)["weighted_log_loss"]
