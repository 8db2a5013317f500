"""The parts of the evaluation page that are more than one table: details, worst cases, comparisons, how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from slicewise import __version__
from slicewise.evaluation.calibration import FALLBACK_THRESHOLD
from slicewise.evaluation.evidence import Differences, Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.progress import Progress
from slicewise.reporting.case_profiles import make_profiles
from slicewise.reporting.cases import make_cases, worst_rows
from slicewise.reporting.evaluation_tables import (
    TableView,
    comparison_table,
    delong_table,
    point_table,
    predictive_table,
    rule_table,
)
from slicewise.reporting.evaluation_view import CasesView, ComparisonView, DetailsView
from slicewise.reporting.evaluation_wording import (
    LEVELS,
    count_text,
    inside_sentence,
    main_label,
    model_name,
    point_name,
    threshold_text,
    triage_sentences,
)
from slicewise.reporting.figures import chosen_point
from slicewise.task import Task

if TYPE_CHECKING:  # predictions from files are shown without the libraries that this imports
    from slicewise.data.store import Dataset

Compared = Mapping[str, tuple[PredictionTable, Metrics, Differences]]
"""Other models by name: their predictions, their metrics, and the measured model minus them."""


def tables_there(found: Iterable[TableView | None]) -> tuple[TableView, ...]:
    """Returns the tables that there are."""
    return tuple(table for table in found if table is not None)


def point_details(metrics: Metrics, task: Task) -> tuple[DetailsView, ...]:
    """Returns predictive values over prevalence, and the operating points of the other labels."""
    main = main_label(task)
    others = [label for label in task.labels if label is not main]
    found = (
        DetailsView(
            "Predictive values over the prevalence, as numbers",
            tables_there(predictive_table(metrics, main, level) for level in LEVELS),
        ),
        DetailsView(
            "Operating points of the other labels",
            tables_there(point_table(metrics, label, level) for label in others for level in LEVELS),
        ),
    )
    return tuple(details for details in found if details.tables)


def rule_details(metrics: Metrics, task: Task) -> tuple[DetailsView, ...]:
    """Returns the study rules on the other labels."""
    others = tables_there(rule_table(metrics, task, label) for label in task.labels if label is not main_label(task))
    return (DetailsView("Study rules on the other labels", others),) if others else ()


def triage_part(metrics: Metrics, task: Task) -> tuple[str, ...]:
    """Returns what triage would change, in sentences; none where it was not measured."""
    if metrics.triage is None:
        return ()
    return triage_sentences(metrics.triage, {label.name: label.display for label in task.labels})


def cases_part(
    table: PredictionTable, task: Task, metrics: Metrics, dataset: Dataset | None, progress: Progress
) -> CasesView:
    """Finds the worst cases at the operating point that figures show, and draws pictures and profiles."""
    thresholds, names = {}, {}
    for label in task.labels:
        point = chosen_point(metrics, "slice", label.name)
        given = None if point is None else point[1].threshold
        thresholds[label.name] = FALLBACK_THRESHOLD if given is None else given
        names[label.name] = "no operating point is known" if point is None else point_name(point[0])
    main = main_label(task)
    rows = worst_rows(table, task.main_index, thresholds[main.name])
    alarms, misses = make_cases(table, task, rows, dataset, progress)
    return CasesView(
        basis=f"{main.display}, flagged from {threshold_text(thresholds[main.name])} "
        f"({inside_sentence(names[main.name])}); the most wrong slice of a patient, the worst patients first.",
        kinds=(
            ("False positives", _none_wrong(table, task, 0), alarms),
            ("False negatives", _none_wrong(table, task, 1), misses),
        ),
        profiles=make_profiles(table, task, rows, thresholds),
    )


def _none_wrong(table: PredictionTable, task: Task, target: int) -> str:
    if not np.any(table.targets[:, task.main_index] == target):
        return f"No slice is known to be {'with' if target else 'without'} the finding."
    return "Every slice with the finding is flagged." if target else "No slice without the finding is flagged."


def comparisons_part(metrics: Metrics, task: Task, compared: Compared) -> tuple[ComparisonView, ...]:
    """Returns one part a compared model."""
    return tuple(
        ComparisonView(
            f"{model_name(metrics)} and {name}",
            tables_there([comparison_table(metrics, other, found, task, name), delong_table(found, task)]),
        )
        for name, (_, other, found) in compared.items()
    )


def facts_part(metrics: Metrics, task: Task) -> tuple[tuple[str, str], ...]:
    """Returns how the numbers were made."""
    model = metrics.model
    named = ", version ".join(filter(None, (model.get("name", ""), model.get("version", ""))))
    facts = [
        ("Model", named or "not known: the predictions came as a file"),
        ("Digest", model.get("digest", "")),
        ("Task", f"{task.name}: {task.title}"),
        ("Patients", f"{metrics.n_patients:,}"),
        ("Studies", f"{metrics.n_studies:,}, scored by the rule “{task.study_rule}” over their slices"),
        ("Slices", f"{metrics.n_slices:,}; those of unknown truth enter no number of their label"),
        ("Intervals", _intervals(metrics)),
        ("Thresholds", _thresholds(metrics, task)),
        ("Software", f"slicewise {__version__}, metrics of version {metrics.schema_version}"),
    ]
    return tuple((term, value) for term, value in facts if value)


def _intervals(metrics: Metrics) -> str:
    if metrics.resamples == 0:
        return "none: the patients were not resampled"
    return f"95 %, percentiles of {count_text(metrics.resamples, 'resample')} of the patients, seed {metrics.seed}"


def _thresholds(metrics: Metrics, task: Task) -> str:
    if not metrics.thresholds:
        return "none came with the model; operating points are chosen on these data, which flatters them"
    known = [label for label in task.labels if label.name in metrics.thresholds]
    listed = ", ".join(f"{label.display} {threshold_text(metrics.thresholds[label.name])}" for label in known)
    of_studies = ", ".join(
        f"{label.display} {threshold_text(metrics.study_thresholds[label.name])}"
        for label in known
        if label.name in metrics.study_thresholds
    )
    both = f"slices: {listed}; studies: {of_studies}" if of_studies else listed
    return f"{both}: of the model, chosen on other data"
