"""The figures of an evaluation: which there are, what they show, and their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slicewise.errors import MissingExtraError
from slicewise.evaluation.curves import precision_recall_points, reliability_bins, roc_points
from slicewise.evaluation.evidence import Estimate, Metrics, OperatingPoint
from slicewise.evaluation.operating_points import MODEL, YOUDEN
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.files import write_bytes_atomically
from slicewise.progress import Progress, no_progress
from slicewise.reporting.curve_figures import (
    NamedCurve,
    precision_recall_figure,
    predictive_values_figure,
    roc_figure,
)
from slicewise.reporting.drawing import Illustration, drawing
from slicewise.reporting.evaluation_wording import LEVELS, inside_sentence, level_of, main_label, model_name, point_name
from slicewise.reporting.forest_figure import forest_figure
from slicewise.reporting.reliability_figure import LabelReliability, reliability_figure
from slicewise.task import Task

FOLDER = "figures"
"""Where the files of the figures are, beside the page."""

FIGURE_NAMES = (
    *(f"{kind}_{level}" for kind in ("roc", "precision_recall", "reliability", "roc_compared") for level in LEVELS),
    "predictive_values",
    "subgroups",
)
"""Names of all figures that an evaluation may have."""

FORMATS = ("png", "svg")

Illustrations = dict[str, Illustration]
"""Figures by name."""


def evaluation_figures(
    table: PredictionTable,
    task: Task,
    metrics: Metrics,
    compared: Mapping[str, tuple[PredictionTable, Metrics]] | None = None,
    progress: Progress = no_progress,
) -> Illustrations:
    """Draws every figure for which there is something to draw.

    Args:
        table: Predictions and labels.
        task: Names of the labels; the one that sums up the others stands for all where one label is shown.
        metrics: What was measured on the table.
        compared: Predictions of other models for the same slices, and their metrics, by the name of the model.
        progress: Reports levels.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        with drawing():
            found: list[Illustration | None] = []
            scored = {"slice": table.slices(), "study": table.studies(task)}
            for level, rows in progress(scored.items(), description="Drawing", total=len(scored), unit="level"):
                found += _level_figures(level, rows, task, metrics)
                found.append(_compared_figure(level, rows, task, metrics, compared or {}))
            found += [_predictive_values(task, metrics), _subgroups(task, metrics)]
    except ModuleNotFoundError as error:
        raise MissingExtraError("The evaluation report", "plots") from error
    return {figure.name: figure for figure in found if figure is not None}


def write_figures(folder: Path, figures: Iterable[Illustration]) -> None:
    """Writes every figure as PNG and SVG, and takes away those that an earlier call has left and this one lacks."""
    kept = set()
    for figure in figures:
        for ending, content in zip(FORMATS, (figure.png, figure.svg), strict=True):
            write_bytes_atomically(folder / f"{figure.name}.{ending}", content)
        kept.add(figure.name)
    for name in FIGURE_NAMES:
        if name not in kept:
            for ending in FORMATS:
                (folder / f"{name}.{ending}").unlink(missing_ok=True)


def chosen_point(metrics: Metrics, level: str, label: str) -> tuple[str, OperatingPoint] | None:
    """Returns the operating point that figures show, with its name: that of the model, else that of Youden's index."""
    points = metrics.operating_points.get(level, {}).get(label, {})
    name = next((name for name in (MODEL, YOUDEN) if name in points and points[name].threshold is not None), None)
    return None if name is None else (name, points[name])


def _level_figures(level: str, rows: ScoredRows, task: Task, metrics: Metrics) -> list[Illustration | None]:
    title = LEVELS[level].capitalize()
    roc, precision, reliability = [], [], []
    for index, label in enumerate(task.labels):
        values, targets = rows.probabilities[:, index], rows.targets[:, index]
        known = level_of(metrics, level).get(label.name, {})
        points = roc_points(values, targets)
        if len(points) > 0:
            point = chosen_point(metrics, level, label.name)
            share = float((targets == 1).sum() / (targets >= 0).sum())
            at_roc, at_precision = (None, None) if point is None else _places(point[1].metrics)
            roc.append(NamedCurve(label.display, points, known.get("auroc"), at_roc))
            precision_points = precision_recall_points(values, targets)
            average = known.get("average_precision")
            precision.append(NamedCurve(label.display, precision_points, average, at_precision, share))
        bins = reliability_bins(values, targets)
        if bins.count.any():
            reliability.append(LabelReliability(label.display, bins, known))
    marked = _marked(metrics, level, task)
    return [
        roc_figure(f"roc_{level}", f"{title}, ROC", roc, marked) if roc else None,
        precision_recall_figure(f"precision_recall_{level}", f"{title}, precision and recall", precision, marked)
        if precision
        else None,
        reliability_figure(f"reliability_{level}", f"{title}, reliability", reliability, LEVELS[level])
        if reliability
        else None,
    ]


def _compared_figure(
    level: str,
    rows: ScoredRows,
    task: Task,
    metrics: Metrics,
    compared: Mapping[str, tuple[PredictionTable, Metrics]],
) -> Illustration | None:
    label, index = main_label(task), task.main_index
    models = [(model_name(metrics), rows, metrics)]
    for name, (table, known) in compared.items():
        models.append((name, table.slices() if level == "slice" else table.studies(task), known))
    curves = [
        NamedCurve(
            name,
            roc_points(scored.probabilities[:, index], scored.targets[:, index]),
            level_of(known, level).get(label.name, {}).get("auroc"),
        )
        for name, scored, known in models
    ]
    if not compared or any(len(curve.points) == 0 for curve in curves):
        return None
    title = f"{LEVELS[level].capitalize()}, ROC of all models"
    return roc_figure(f"roc_compared_{level}", title, curves, "")


def _predictive_values(task: Task, metrics: Metrics) -> Illustration | None:
    label = main_label(task)
    chosen = {level: chosen_point(metrics, level, label.name) for level in LEVELS}
    points = [
        (level, *point)
        for level, point in chosen.items()
        if point is not None and any(found.ppv.value is not None for found in point[1].by_prevalence)
    ]
    if not points:
        return None
    names = " and ".join(dict.fromkeys(inside_sentence(point_name(name)) for _, name, _ in points))
    title = f"Predictive values over prevalence: {label.display}"
    return predictive_values_figure(
        "predictive_values", title, [(LEVELS[level], point) for level, _, point in points], names
    )


def _subgroups(task: Task, metrics: Metrics) -> Illustration | None:
    if not any(metrics.subgroups.values()):
        return None
    label = main_label(task)
    whole: dict[str, Estimate | None] = {
        f"{level}_auroc": level_of(metrics, level).get(label.name, {}).get("auroc") for level in LEVELS
    }
    point = chosen_point(metrics, "slice", label.name)
    if point is not None:
        whole |= {f"slice_{name}": point[1].metrics.get(name) for name in ("sensitivity", "specificity")}
    return forest_figure("subgroups", f"Subgroups: {label.display}", metrics.subgroups, whole)


def _places(metrics: Mapping[str, Estimate]) -> Sequence[tuple[float, float] | None]:
    """Returns where an operating point lies on the ROC curve, and on precision over recall."""
    sensitivity, specificity, precision = (
        metrics[name].value if name in metrics else None for name in ("sensitivity", "specificity", "ppv")
    )
    if sensitivity is None:
        return None, None
    return (
        None if specificity is None else (1.0 - specificity, sensitivity),
        None if precision is None else (sensitivity, precision),
    )


def _marked(metrics: Metrics, level: str, task: Task) -> str:
    names = [point[0] for label in task.labels if (point := chosen_point(metrics, level, label.name)) is not None]
    return " or ".join(inside_sentence(point_name(name)) for name in dict.fromkeys(names))
