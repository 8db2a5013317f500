from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from slicewise.errors import InputError
from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import Difference, Estimate
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.ranking import RankedModel, rank_models
from slicewise.task import Task

RESAMPLES, SEED = 60, 3

Floats = npt.NDArray[np.float64]
Scores = dict[str, float]


def noisy(table: PredictionTable, amount: float, seed: int) -> PredictionTable:
    """Worse predictions for the same slices."""
    noise = np.random.default_rng(seed).random(table.probabilities.shape)
    return replace(table, probabilities=((1 - amount) * table.probabilities + amount * noise).astype(np.float32))


@pytest.fixture
def models(table: PredictionTable) -> dict[str, list[PredictionTable]]:
    """The best one stands last; a model in the middle was trained three times."""
    return {
        "none": [noisy(table, 0.8, seed=1)],
        "several": [noisy(table, 0.5, seed=seed) for seed in (2, 3, 4)],
        "best": [table],
    }


def rank(models: Mapping[str, Sequence[PredictionTable]], task: Task) -> dict[str, RankedModel]:
    return {row.name: row for row in rank_models(models, "none", task, resamples=RESAMPLES, seed=SEED)}


def independent(table: PredictionTable, task: Task, times: Floats) -> Scores:
    """Scores by scikit-learn; every slice counts as often as its patient was drawn."""
    total = weight = 0.0
    for label, label_weight in enumerate(task.loss_weights):
        known = (table.targets[:, label] >= 0) & (times > 0)
        truth, values = table.targets[known, label], table.probabilities[known, label].astype(np.float64)
        total += (
            label_weight
            * times[known].sum()
            * sklearn.metrics.log_loss(
                truth, np.stack([1 - values, values], axis=1), sample_weight=times[known], labels=[0, 1]
            )
        )
        weight += label_weight * times[known].sum()
    assert task.any_index == 1
    rows = (table.targets[:, 1], table.probabilities[:, 1])
    return {
        "loss": total / weight,
        "auroc": sklearn.metrics.roc_auc_score(*rows, sample_weight=times),
        "precision": sklearn.metrics.average_precision_score(*rows, sample_weight=times),
    }


def over_trainings(trainings: Sequence[PredictionTable], task: Task, times: Floats) -> Scores:
    scores = [independent(table, task, times) for table in trainings]
    return {name: float(np.mean([found[name] for found in scores])) for name in scores[0]}


def interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def numbers(estimate: Estimate) -> tuple[float, float, float]:
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.value, estimate.low, estimate.high


def test_values_and_paired_intervals_are_those_of_a_plain_loop(
    models: dict[str, list[PredictionTable]], table: PredictionTable, task: Task
) -> None:
    draws = patient_multiplicities(len(table.patients), RESAMPLES, SEED)
    owner = table.slices().patients
    ones = np.ones(len(table))
    times = [ones, *(column[owner].astype(np.float64) for column in draws.T)]
    scores = {
        name: [over_trainings(trainings, task, of_slices) for of_slices in times] for name, trainings in models.items()
    }
    found = rank(models, task)
    for name in models:
        row, ours, theirs = found[name], scores[name], scores["none"]
        pairs = list(zip(ours, theirs, strict=True))
        for estimate, expected in (
            (row.weighted_log_loss, [mine["loss"] for mine in ours]),
            (row.auroc, [mine["auroc"] for mine in ours]),
            (row.average_precision, [mine["precision"] for mine in ours]),
            (row.loss_ratio, [mine["loss"] / other["loss"] for mine, other in pairs]),
            (row.loss_difference, [mine["loss"] - other["loss"] for mine, other in pairs]),
            (row.auroc_difference, [mine["auroc"] - other["auroc"] for mine, other in pairs]),
        ):
            assert numbers(estimate) == pytest.approx((expected[0], *interval(expected[1:])), rel=1e-9, abs=1e-12)


def without_p_value(difference: Difference) -> Estimate:
    return Estimate(difference.value, difference.low, difference.high)


def test_they_are_those_of_an_evaluation_and_of_a_comparison(
    models: dict[str, list[PredictionTable]], table: PredictionTable, task: Task
) -> None:
    row = rank(models, task)["best"]
    alone = evaluate(table, task, resamples=RESAMPLES, seed=SEED)
    paired = compare(table, models["none"][0], task, resamples=RESAMPLES, seed=SEED)
    assert row.weighted_log_loss == alone.weighted_log_loss
    assert row.auroc == alone.slice["lesion"]["auroc"]
    assert row.average_precision == alone.slice["lesion"]["average_precision"]
    assert row.loss_difference == without_p_value(paired.weighted_log_loss)
    assert row.auroc_difference == without_p_value(paired.slice["lesion"]["auroc"])


def test_several_trainings_count_as_their_mean_and_their_spread_is_told(
    models: dict[str, list[PredictionTable]], task: Task
) -> None:
    row = rank(models, task)["several"]
    losses = [evaluate(table, task, resamples=0).weighted_log_loss.value for table in models["several"]]
    assert row.seeds == 3
    assert row.weighted_log_loss.value == pytest.approx(np.mean([loss or 0.0 for loss in losses]), rel=1e-12)
    assert row.over_seeds == pytest.approx(np.std([loss or 0.0 for loss in losses], ddof=1), rel=1e-9)
    # The same training several times is one training: no spread, and the same numbers.
    repeated = rank({"none": models["none"], "best": models["best"] * 3}, task)["best"]
    once = rank(models, task)["best"]
    assert repeated.over_seeds == pytest.approx(0.0, abs=1e-15)
    assert numbers(repeated.loss_ratio) == pytest.approx(numbers(once.loss_ratio), rel=1e-12)
    assert once.seeds == 1
    assert once.over_seeds is None


def test_the_best_stands_first(models: dict[str, list[PredictionTable]], task: Task) -> None:
    for order in (list(models), list(models)[::-1]):
        rows = rank_models({name: models[name] for name in order}, "none", task, resamples=10)
        assert [row.name for row in rows] == ["best", "several", "none"]


def test_the_baseline_equals_itself(models: dict[str, list[PredictionTable]], task: Task) -> None:
    row = rank(models, task)["none"]
    assert row.loss_ratio == Estimate(1.0, 1.0, 1.0)
    assert row.loss_difference == row.auroc_difference == Estimate(0.0, 0.0, 0.0)


def test_differences_are_tighter_than_they_would_be_unpaired(table: PredictionTable, task: Task) -> None:
    similar = {"none": [table], "similar": [noisy(table, 0.05, seed=1)]}
    row = rank(similar, task)["similar"]
    _, low, high = numbers(row.weighted_log_loss)
    _, least, most = numbers(row.loss_difference)
    assert most - least < 0.5 * (high - low)


def test_without_a_label_that_sums_up_the_first_one_is_ranked(
    models: dict[str, list[PredictionTable]], table: PredictionTable, task: Task
) -> None:
    plain = msgspec.structs.replace(task, any_rule=None)
    first = evaluate(table, plain, resamples=0).slice["edema"]["auroc"].value
    assert rank(models, plain)["best"].auroc.value == first


def test_without_resamples_there_are_values_alone(models: dict[str, list[PredictionTable]], task: Task) -> None:
    for row in rank_models(models, "none", task, resamples=0):
        for estimate in (row.weighted_log_loss, row.auroc, row.loss_ratio, row.auroc_difference):
            assert estimate.value is not None
            assert (estimate.low, estimate.high) == (None, None)


def test_what_is_not_defined_is_none(models: dict[str, list[PredictionTable]], task: Task) -> None:
    negative = {
        name: [replace(table, targets=np.zeros_like(table.targets)) for table in trainings]
        for name, trainings in models.items()
    }
    row = rank(negative, task)["several"]
    assert row.auroc == row.auroc_difference == row.average_precision == Estimate(None, None, None)
    assert row.loss_ratio.value is not None


def reordered(table: PredictionTable) -> PredictionTable:
    texts = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
    changes: dict[str, Any] = {name: getattr(table, name)[::-1] for name in texts}
    arrays = {name: getattr(table, name)[::-1] for name in ("positions_mm", "probabilities", "targets")}
    return replace(table, **changes, **arrays)


def test_other_slices_labels_or_another_order_are_refused(table: PredictionTable, task: Task) -> None:
    others = (
        replace(table, sop_uids=("other", *table.sop_uids[1:])),
        replace(table, targets=1 - np.abs(table.targets)),
        replace(table, label_names=table.label_names[::-1]),
        reordered(table),
    )
    for other in others:
        for models in ({"none": [table], "other": [other]}, {"none": [table, other]}):
            with pytest.raises(InputError, match="same slices with the same labels"):
                rank_models(models, "none", task, resamples=5)
