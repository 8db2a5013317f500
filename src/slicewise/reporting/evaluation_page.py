"""The page of an evaluation: one self-contained HTML page that needs no network, and its figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slicewise import __version__
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.files import write_bytes_atomically
from slicewise.progress import Progress, no_progress
from slicewise.reporting.evaluation_sections import (
    Compared,
    cases_part,
    comparisons_part,
    facts_part,
    point_details,
    rule_details,
    tables_there,
    triage_part,
)
from slicewise.reporting.evaluation_tables import (
    calibration_table,
    key_table,
    point_table,
    rule_table,
    subgroup_table,
)
from slicewise.reporting.evaluation_view import EvaluationView
from slicewise.reporting.evaluation_wording import (
    DEFINITIONS,
    LEVELS,
    estimate_text,
    main_label,
    model_name,
    summary_sentences,
)
from slicewise.reporting.explorer import STUDIES_A_DAY, explorer_data
from slicewise.reporting.figures import FOLDER, Illustrations, evaluation_figures, write_figures
from slicewise.reporting.rendering import render
from slicewise.results import DISCLAIMER
from slicewise.task import Task

if TYPE_CHECKING:  # predictions from files are shown without the libraries that this imports
    from slicewise.data.store import Dataset

REPORT = "report.html"


def write_evaluation_report(
    output: Path,
    table: PredictionTable,
    task: Task,
    metrics: Metrics,
    *,
    compared: Compared | None = None,
    dataset: Dataset | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes `report.html` and `figures/`, each file whole or not there.

    Args:
        output: Folder to write into.
        table: Predictions and labels.
        task: Names of the labels; its labels are those of the table.
        metrics: What was measured on the table.
        compared: Other models on the same slices.
        dataset: The prepared dataset that was scored, for pictures of the worst cases; None for no pictures.
        progress: Reports figures and pictures.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    others = {name: (other, known) for name, (other, known, _) in (compared or {}).items()}
    figures = evaluation_figures(table, task, metrics, others, progress)
    view = _view(table, task, metrics, figures, compared=compared or {}, dataset=dataset, progress=progress)
    # ids may hold bytes that are no valid text; they are written as \udcXX
    page = render("evaluation.html.j2", "evaluation.js", view=view)
    write_figures(output / FOLDER, figures.values())
    write_bytes_atomically(output / REPORT, page)


def _view(
    table: PredictionTable,
    task: Task,
    metrics: Metrics,
    figures: Illustrations,
    *,
    compared: Compared,
    dataset: Dataset | None,
    progress: Progress,
) -> EvaluationView:
    main = main_label(task)
    return EvaluationView(
        title=task.title,
        disclaimer=metrics.disclaimer or DISCLAIMER,
        model_name=" ".join(filter(None, (model_name(metrics), metrics.model.get("version", "")))),
        software=f"slicewise {__version__}",
        main_display=main.display,
        leakage=metrics.leakage,
        leakage_search=metrics.leakage_search,
        warnings=metrics.warnings,
        summary=summary_sentences(metrics, task),
        log_loss=estimate_text(metrics.weighted_log_loss),
        key_tables=tuple(key_table(metrics, task, level) for level in LEVELS),
        figures=figures,
        calibration_tables=tuple(calibration_table(metrics, task, level) for level in LEVELS),
        point_tables=tables_there(point_table(metrics, main, level) for level in LEVELS),
        point_details=point_details(metrics, task),
        explorer=explorer_data(table, task, metrics),
        studies_a_day=STUDIES_A_DAY,
        rule_tables=tables_there([rule_table(metrics, task, main)]),
        rule_details=rule_details(metrics, task),
        subgroup_table=subgroup_table(metrics, task),
        triage=triage_part(metrics, task),
        cases=cases_part(table, task, metrics, dataset, progress),
        comparisons=comparisons_part(metrics, task, compared),
        facts=facts_part(metrics, task),
        definitions=DEFINITIONS,
    )
