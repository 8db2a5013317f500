"""Several models on the same slices as one table: each one's score, and how much it differs from a baseline.

A model may stand for several trainings that differ in their seed alone. Its score is then the mean of theirs, in every
resample of the patients too: the interval says what other patients would change, `over_seeds` what another seed would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from slicewise.evaluation.bootstrap import Draws, patient_multiplicities
from slicewise.evaluation.evaluate import RESAMPLES, check_same_slices
from slicewise.evaluation.evidence import Estimate, estimate
from slicewise.evaluation.measure import measure_metrics
from slicewise.evaluation.metrics import Floats, weighted_log_loss
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.statistics import weighted_log_loss_statistic
from slicewise.task import Task

LOSS, AUROC, PRECISION = "weighted_log_loss", "auroc", "average_precision"


class RankedModel(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        name: Name of the model.
        seeds: Number of trainings.
        weighted_log_loss: Over all labels.
        auroc: Of slices, for the label that sums up the others, or the first one.
        average_precision: Likewise.
        loss_ratio: Weighted log loss divided by that of the baseline; below 1 is better.
        loss_difference: Weighted log loss minus that of the baseline; below 0 is better.
        auroc_difference: Slice AUROC minus that of the baseline.
        over_seeds: Standard deviation of the weighted log loss over the trainings; None for a single one.
    """

    name: str
    seeds: int
    weighted_log_loss: Estimate
    auroc: Estimate
    average_precision: Estimate
    loss_ratio: Estimate
    loss_difference: Estimate
    auroc_difference: Estimate
    over_seeds: float | None


def rank_models(
    models: Mapping[str, Sequence[PredictionTable]],
    baseline: str,
    task: Task,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[RankedModel]:
    """Scores models and sorts them by their weighted log loss, the best first.

    Args:
        models: Predictions by the name of the model, one table a training, all of the same slices in the same order.
        baseline: Name of the model that the others are compared with.
        task: Gives the loss weights; its labels are those of the tables.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.

    Raises:
        InputError: If the tables do not hold the same slices with the same labels.
    """
    tables = [table for trainings in models.values() for table in trainings]
    for table in tables[1:]:
        check_same_slices(tables[0], table)
    draws = patient_multiplicities(len(tables[0].patients), resamples, seed)
    scores = {name: [_scores(table, task, draws) for table in trainings] for name, trainings in models.items()}
    means = {name: np.mean(np.stack(trainings), axis=0) for name, trainings in scores.items()}
    rows = [_row(name, scores[name], means[name], means[baseline]) for name in models]
    return sorted(
        rows, key=lambda row: math.inf if row.weighted_log_loss.value is None else row.weighted_log_loss.value
    )


def _scores(table: PredictionTable, task: Task, draws: Draws) -> Floats:
    """Returns log loss, AUROC and average precision: of the table first, then of every resample, (3, 1 + resamples)."""
    rows, label = table.slices(), task.main_index
    found = measure_metrics(rows, label, draws)
    loss = weighted_log_loss(rows.probabilities, rows.targets, task.loss_weights)
    statistic = weighted_log_loss_statistic(
        rows.probabilities, rows.targets, task.loss_weights, rows.patients, len(draws)
    )
    resampled = found.resampled | statistic.resample(draws)
    values = {LOSS: loss, AUROC: found.values[AUROC], PRECISION: found.values[PRECISION]}
    return np.stack([np.concatenate([[value], resampled[name]]) for name, value in values.items()])


def _row(name: str, trainings: Sequence[Floats], mean: Floats, baseline: Floats) -> RankedModel:
    losses = [float(scores[0, 0]) for scores in trainings]
    return RankedModel(
        name=name,
        seeds=len(trainings),
        weighted_log_loss=_estimate(mean[0]),
        auroc=_estimate(mean[1]),
        average_precision=_estimate(mean[2]),
        loss_ratio=_estimate(mean[0] / baseline[0]),
        loss_difference=_estimate(mean[0] - baseline[0]),
        auroc_difference=_estimate(mean[1] - baseline[1]),
        over_seeds=float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
    )


def _estimate(values: Floats) -> Estimate:
    return estimate(float(values[0]), values[1:])
