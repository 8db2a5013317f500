from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
import sklearn.metrics

from slicewise.errors import InputError
from slicewise.evaluation import metrics as plain
from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import DeLong, Difference, Estimate, Metrics, metrics_schema
from slicewise.evaluation.predictions import PredictionTable
from slicewise.results import DISCLAIMER
from slicewise.task import Task

BASE_METRICS = {
    "auroc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "calibration_slope",
    "calibration_intercept",
}
THRESHOLD_METRICS = {"sensitivity", "specificity", "ppv", "npv", "f1"}


def path(content: Any, dotted: str) -> Any:
    """Follows a dotted name of docs/cli.md."""
    for key in dotted.split("."):
        content = content[key]
    return content


def shifted(table: PredictionTable, amount: float) -> PredictionTable:
    """Worse predictions for the same slices: every probability is drawn towards one half by noise."""
    noise = np.random.default_rng(2).random(table.probabilities.shape).astype(np.float32)
    return replace(table, probabilities=((1 - amount) * table.probabilities + amount * noise).astype(np.float32))


def test_metrics_json_has_the_keys_of_the_contract(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, thresholds={"edema": 0.5, "lesion": 0.4}, resamples=100)
    content = msgspec.json.decode(msgspec.json.encode(found))
    assert (content["n_patients"], content["n_studies"], content["n_slices"]) == (15, 16, 180)
    assert set(content["weighted_log_loss"]) == {"value", "low", "high"}
    for level in ("slice", "study"):
        for label in ("edema", "lesion"):
            assert set(path(content, f"{level}.{label}")) == BASE_METRICS | THRESHOLD_METRICS
            for metric in BASE_METRICS | THRESHOLD_METRICS:
                assert set(path(content, f"{level}.{label}.{metric}")) == {"value", "low", "high"}
    positive = int((table.targets[:, 0] == 1).sum())
    assert content["counts"]["slice"]["edema"] == {"positive": positive, "negative": 179 - positive, "unknown": 1}
    assert content["thresholds"] == {"edema": 0.5, "lesion": 0.4}


def test_studies_are_measured_at_a_threshold_of_their_own(table: PredictionTable, task: Task) -> None:
    names = ("edema", "lesion")
    of_slices, of_studies = dict.fromkeys(names, 0.3), dict.fromkeys(names, 0.8)
    found = evaluate(table, task, thresholds=of_slices, study_thresholds=of_studies, resamples=20)
    low, high = (evaluate(table, task, thresholds=point, resamples=20) for point in (of_slices, of_studies))
    assert (found.thresholds, found.study_thresholds) == (of_slices, of_studies)
    assert (low.study_thresholds, high.study_thresholds) == ({}, {})
    assert found.slice == low.slice
    assert found.study == high.study != low.study
    assert found.triage == high.triage
    for name in names:
        assert found.operating_points["slice"][name]["model"] == low.operating_points["slice"][name]["model"]
        assert found.operating_points["study"][name]["model"] == high.operating_points["study"][name]["model"]


def test_values_are_those_of_an_independent_library(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, resamples=50)
    known = table.targets[:, 0] >= 0
    truth, values = table.targets[known, 0], table.probabilities[known, 0]
    assert found.slice["edema"]["auroc"].value == pytest.approx(sklearn.metrics.roc_auc_score(truth, values))
    assert found.slice["edema"]["average_precision"].value == pytest.approx(
        sklearn.metrics.average_precision_score(truth, values)
    )
    studies = list(dict.fromkeys(table.study_uids))
    rows = [np.array(table.study_uids) == study for study in studies]
    truth = np.array([table.targets[row, 1].max() for row in rows])
    values = np.array([table.probabilities[row, 1].max() for row in rows])
    assert found.study["lesion"]["auroc"].value == pytest.approx(sklearn.metrics.roc_auc_score(truth, values))
    losses = [sklearn.metrics.log_loss(table.targets[known, k], table.probabilities[known, k]) for k in range(2)]
    # All rows but one: the row with an unknown label is left out here, and weighs little.
    assert found.weighted_log_loss.value == pytest.approx(np.average(losses, weights=task.loss_weights), rel=0.02)
    assert found.weighted_log_loss.value == plain.weighted_log_loss(
        table.probabilities, table.targets, task.loss_weights
    )


def test_without_thresholds_the_metrics_that_need_one_are_left_out(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, resamples=20)
    assert set(found.slice["edema"]) == BASE_METRICS
    assert found.thresholds == {}


def test_intervals_hold_the_value_and_repeat_with_the_seed(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, resamples=300, seed=4)
    for level in (found.slice, found.study):
        for label in level.values():
            for name in ("auroc", "log_loss", "brier"):
                estimate = label[name]
                assert estimate.value is not None
                assert estimate.low is not None
                assert estimate.high is not None
                assert estimate.low < estimate.value < estimate.high
    assert evaluate(table, task, resamples=300, seed=4) == found
    assert evaluate(table, task, resamples=300, seed=5) != found


def test_what_is_not_defined_is_null(table: PredictionTable, task: Task) -> None:
    targets = table.targets.copy()
    targets[:, 0] = 0
    found = evaluate(replace(table, targets=targets), task, resamples=50)
    assert found.slice["edema"]["auroc"] == found.study["edema"]["auroc"] == Estimate(None, None, None)
    assert found.slice["edema"]["brier"].value is not None
    assert b'"auroc":{"value":null,"low":null,"high":null}' in msgspec.json.encode(found)


def test_one_positive_patient_gives_a_value_without_an_interval(table: PredictionTable, task: Task) -> None:
    targets = table.targets.copy()
    targets[:, 0] = 0
    targets[:3, 0] = 1
    estimate = evaluate(replace(table, targets=targets), task, resamples=200).slice["edema"]["auroc"]
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_no_label_at_all_is_null_throughout(table: PredictionTable, task: Task) -> None:
    found = evaluate(replace(table, targets=np.full_like(table.targets, -1)), task, resamples=10)
    assert found.weighted_log_loss == Estimate(None, None, None)
    assert found.n_slices == 180
    assert all(estimate.value is None for label in found.slice.values() for estimate in label.values())


def test_a_difference_is_the_first_minus_the_second(table: PredictionTable, task: Task) -> None:
    worse = shifted(table, 0.7)
    found = compare(table, worse, task, resamples=200)
    first, second = evaluate(table, task, resamples=0), evaluate(worse, task, resamples=0)
    for level in ("slice", "study"):
        for label in task.label_names:
            a, b = (getattr(one, level)[label]["auroc"].value for one in (first, second))
            assert getattr(found, level)[label]["auroc"].value == pytest.approx(a - b)
    assert first.weighted_log_loss.value is not None
    assert second.weighted_log_loss.value is not None
    assert found.weighted_log_loss.value == pytest.approx(
        first.weighted_log_loss.value - second.weighted_log_loss.value
    )


def test_pairing_narrows_the_interval_of_a_difference(table: PredictionTable, task: Task) -> None:
    nearly = shifted(table, 0.02)
    paired = compare(table, nearly, task, resamples=200).weighted_log_loss
    alone = evaluate(table, task, resamples=200).weighted_log_loss
    assert paired.low is not None
    assert paired.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_a_model_does_not_differ_from_itself_in_any_order(table: PredictionTable, task: Task) -> None:
    order = np.arange(len(table))[::-1]
    texts = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
    changes: dict[str, Any] = {name: tuple(getattr(table, name)[row] for row in order) for name in texts}
    arrays = {name: getattr(table, name)[order] for name in ("positions_mm", "probabilities", "targets")}
    found = compare(table, replace(table, **changes, **arrays), task, resamples=50)
    assert found.weighted_log_loss == Difference(0.0, 0.0, 0.0, 1.0)
    assert found.study["lesion"]["auroc"] == Difference(0.0, 0.0, 0.0, 1.0)
    assert found.delong["lesion"] == DeLong(Estimate(0.0, 0.0, 0.0), 1.0)


def test_delong_agrees_with_the_resamples_about_the_difference(table: PredictionTable, task: Task) -> None:
    found = compare(table, shifted(table, 0.7), task, resamples=400)
    resampled, cross_check = found.study["lesion"]["auroc"], found.delong["lesion"]
    assert cross_check.difference.value == pytest.approx(resampled.value)
    assert cross_check.p_value == pytest.approx(resampled.p_value, abs=0.15)


def test_named_operating_points_stand_for_every_label_and_level(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, thresholds={"lesion": 0.5}, resamples=50)
    chosen = {"youden", "sensitivity_90", "sensitivity_95", "specificity_95"}
    for level in ("slice", "study"):
        assert set(found.operating_points[level]["edema"]) == chosen
        assert set(found.operating_points[level]["lesion"]) == chosen | {"model"}
    model = found.operating_points["slice"]["lesion"]["model"]
    assert (model.threshold, model.chosen_on) == (0.5, "other data")
    assert model.metrics["sensitivity"] == found.slice["lesion"]["sensitivity"]
    point = found.operating_points["slice"]["lesion"]["sensitivity_95"]
    assert point.chosen_on == "these data"
    assert point.metrics["sensitivity"].value is not None
    assert point.metrics["sensitivity"].value >= 0.95
    assert [item.prevalence for item in point.by_prevalence] == sorted({0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4})


def test_studies_are_scored_by_every_rule(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, resamples=20)
    assert {"max", "noisy_or", "top_k_mean"} <= set(found.study_rules)
    assert found.study_rules["max"] == found.study


def test_metrics_follow_their_schema(table: PredictionTable, task: Task) -> None:
    found = evaluate(
        replace(table, attributes={"sex": ("F",) * len(table)}), task, thresholds={"lesion": 0.5}, resamples=20
    )
    content = msgspec.json.decode(msgspec.json.encode(found))
    jsonschema.validate(content, metrics_schema())
    assert content["disclaimer"] == DISCLAIMER
    assert msgspec.convert(content, Metrics) == found


def test_tables_of_other_slices_or_labels_cannot_be_compared(table: PredictionTable, task: Task) -> None:
    renamed = replace(table, sop_uids=("other", *table.sop_uids[1:]))
    relabelled = replace(table, targets=1 - np.abs(table.targets))
    for other in (renamed, relabelled):
        with pytest.raises(InputError, match="same slices with the same labels"):
            compare(table, other, task)


def test_a_table_of_another_task_is_refused(table: PredictionTable, task: Task) -> None:
    with pytest.raises(InputError, match="labels a, b; expected those of the task 'test': edema, lesion"):
        evaluate(replace(table, label_names=("a", "b")), task)


def test_a_table_without_slices_is_refused(table: PredictionTable, task: Task) -> None:
    texts = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
    changes: dict[str, Any] = dict.fromkeys(texts, ())
    arrays = {name: getattr(table, name)[:0] for name in ("positions_mm", "probabilities", "targets")}
    empty = replace(table, **changes, **arrays)
    assert len(empty.studies(task).patients) == 0
    with pytest.raises(InputError, match="not one predicted slice"):
        evaluate(empty, task)


def test_a_single_patient_has_values_and_no_interval_that_means_anything(table: PredictionTable, task: Task) -> None:
    alone = replace(table, patient_ids=("one",) * len(table))
    found = evaluate(alone, task, resamples=30)
    auroc = found.slice["lesion"]["auroc"]
    assert found.n_patients == 1
    assert (auroc.value, auroc.value) == (auroc.low, auroc.high)  # there is one patient to draw
    assert all(part.too_small for parts in found.subgroups.values() for part in parts)
