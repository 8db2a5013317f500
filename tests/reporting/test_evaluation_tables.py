from __future__ import annotations

import msgspec
import pytest

from evaluated import measured, simulated_table
from slicewise.evaluation.evaluate import compare
from slicewise.evaluation.evidence import Metrics
from slicewise.reporting.evaluation_tables import (
    TableView,
    calibration_table,
    comparison_table,
    delong_table,
    key_table,
    point_table,
    predictive_table,
    rule_table,
    subgroup_table,
)
from slicewise.reporting.evaluation_wording import estimate_text, p_value_text
from slicewise.task import Task


@pytest.fixture(scope="module")
def metrics(task: Task) -> Metrics:
    return measured(simulated_table(task), task)


def column(table: TableView | None, name: str) -> list[str]:
    assert table is not None
    assert all(len(row) == len(table.head) for row in table.rows)
    return [row[table.head.index(name)] for row in table.rows]


def test_key_figures_have_a_row_a_label(metrics: Metrics, task: Task) -> None:
    table = key_table(metrics, task, "study")
    assert column(table, "Label") == [label.display for label in task.labels]
    assert column(table, "AUROC") == [estimate_text(metrics.study[name]["auroc"]) for name in task.label_names]
    assert column(table, "With finding") == [str(metrics.counts["study"][name].positive) for name in task.label_names]
    empty = key_table(msgspec.structs.replace(metrics, study={}, counts={}), task, "study")
    assert set(column(empty, "AUROC")) == {"not defined"}


def test_calibration_shows_line_error_and_decomposition(metrics: Metrics, task: Task) -> None:
    table = calibration_table(metrics, task, "slice")
    name = task.label_names[0]
    for head, metric in (("Slope", "calibration_slope"), ("ECE", "ece"), ("Resolution", "brier_resolution")):
        assert column(table, head)[0] == estimate_text(metrics.slice[name][metric])


def test_operating_points_say_what_they_were_chosen_on(metrics: Metrics, task: Task) -> None:
    table = point_table(metrics, task.labels[0], "slice")
    assert column(table, "Operating point")[0] == "Threshold of the model"
    assert column(table, "Chosen on") == ["other data"] + ["these data"] * 4
    assert column(table, "Threshold")[0] == "0.300"
    values = metrics.operating_points["slice"][task.label_names[0]]["model"].by_prevalence
    assert column(predictive_table(metrics, task.labels[0], "slice"), "PPV")[0] == estimate_text(values[0].ppv)
    without = msgspec.structs.replace(metrics, operating_points={})
    assert point_table(without, task.labels[0], "slice") is None
    assert predictive_table(without, task.labels[0], "slice") is None


def test_study_rules_mark_that_of_the_task(metrics: Metrics, task: Task) -> None:
    assert column(rule_table(metrics, task, task.labels[0]), "Study rule")[0] == "Highest slice (max), of the task"
    assert rule_table(msgspec.structs.replace(metrics, study_rules={}), task, task.labels[0]) is None


def test_small_subgroups_have_no_numbers(metrics: Metrics, task: Task) -> None:
    group = metrics.subgroups["sex"][0]
    small = msgspec.structs.replace(group, too_small=True)
    table = subgroup_table(msgspec.structs.replace(metrics, subgroups={"sex": (small,)}), task)
    assert column(table, "Slice AUROC") == ["too small"]
    assert column(table, "Study AUROC") == [""]
    assert column(table, "Patients") == [str(group.n_patients)]
    assert subgroup_table(msgspec.structs.replace(metrics, subgroups={}), task) is None


def test_comparison_has_both_models_their_difference_and_p(metrics: Metrics, task: Task) -> None:
    one, other = simulated_table(task), simulated_table(task, noise=3.0)
    differences, name = compare(one, other, task, resamples=20), task.label_names[0]
    table = comparison_table(metrics, measured(other, task), differences, task, "other")
    assert table.rows[0][:3] == ("All labels, slices", "Weighted log loss", estimate_text(metrics.weighted_log_loss))
    found = differences.slice[name]["auroc"]
    assert table.rows[1][4:] == (estimate_text(found, "+"), p_value_text(found.p_value))
    assert len(table.rows) == 1 + 2 * 3 * len(task.labels)
    assert column(delong_table(differences, task), "p")[0] == p_value_text(differences.delong[name].p_value)
    assert delong_table(msgspec.structs.replace(differences, delong={}), task) is None
