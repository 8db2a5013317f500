"""What the threshold explorer of the evaluation page computes with: counts at some hundred thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from slicewise.evaluation.curves import ThresholdTable, threshold_table
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.reporting.evaluation_wording import LEVELS, point_name
from slicewise.reporting.figures import chosen_point
from slicewise.task import Task

STUDIES_A_DAY = 100
"""What the page starts with."""


def explorer_data(table: PredictionTable, task: Task, metrics: Metrics) -> dict[str, Any] | None:
    """Returns the data of the explorer, ready for JSON: for every label and level the counts at its thresholds.

    Only labels with both classes are in it, the one that sums up the others first; None where there is none.

    Args:
        table: Predictions and labels.
        task: Names of the labels.
        metrics: Its operating points are among the thresholds.
    """
    scored = {"slice": table.slices(), "study": table.studies(task)}
    order = sorted(range(len(task.labels)), key=lambda index: index != (task.main_index))
    labels = []
    for index in order:
        levels = {level: _level(rows, index, level, task, metrics) for level, rows in scored.items()}
        known = {level: found for level, found in levels.items() if found is not None}
        if known:
            labels.append({"display": task.labels[index].display, "levels": known})
    if not labels:
        return None
    return {
        "labels": labels,
        "levels": {level: rows.capitalize() for level, rows in LEVELS.items()},
        "rowsAStudy": {"slice": len(table) / len(scored["study"].patients), "study": 1.0},
    }


def _level(rows: ScoredRows, index: int, level: str, task: Task, metrics: Metrics) -> dict[str, Any] | None:
    name = task.label_names[index]
    points = metrics.operating_points.get(level, {}).get(name, {})
    named = {key: point.threshold for key, point in points.items() if point.threshold is not None}
    counts = threshold_table(rows.probabilities[:, index], rows.targets[:, index], include=named.values())
    if len(counts.thresholds) == 0:
        return None
    positives, negatives = int(counts.true_positives[0]), int(counts.false_positives[0])
    chosen = chosen_point(metrics, level, name)
    start = _youden(counts) if chosen is None else _place(counts, chosen[1].threshold)
    return {
        "positives": positives,
        "negatives": negatives,
        "thresholds": counts.thresholds.tolist(),
        "truePositives": counts.true_positives.tolist(),
        "falsePositives": counts.false_positives.tolist(),
        "names": {str(_place(counts, threshold)): point_name(key) for key, threshold in reversed(named.items())},
        "start": start,
    }


def _place(counts: ThresholdTable, threshold: float | None) -> int:
    return int(np.searchsorted(counts.thresholds, np.nan if threshold is None else threshold))


def _youden(counts: ThresholdTable) -> int:
    sensitivity = counts.true_positives / counts.true_positives[0]
    return int(np.argmax(sensitivity - counts.false_positives / counts.false_positives[0]))
