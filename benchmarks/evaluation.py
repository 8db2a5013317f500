"""Evaluation at the size of RSNA 2019: every metric with 1,000 resamples, and the plain loop over scikit-learn.

    python benchmarks/evaluation.py [--patients 18938] [--slices 752803] [--resamples 1000] [--plain 2] [--seed 0]

Predictions are simulated: prevalences of the challenge (FIGURES below), probabilities that err by slice and by study.
The plain loop draws patients, copies their rows and calls scikit-learn for AUROC, average precision, log loss and Brier
score of every label on slices and on studies; a few of its resamples are timed and scaled up. It is the lesser part of
what `evaluate` computes. Prints seconds, the ratio, and peak memory of `evaluate`, which runs first and alone.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import sklearn.metrics
from scipy import special

from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.task import Task, load_task

STUDIES_A_PATIENT = 21_744 / 18_938
PREVALENCE = {"epidural": 0.004, "intraparenchymal": 0.048, "intraventricular": 0.035, "subarachnoid": 0.048,
              "subdural": 0.063}  # fmt: skip
"""Share of positive slices in the training set of the challenge."""

POSITIVE_SHARE = 0.3
"""Share of positive slices within a study that has the finding."""

SMALLEST_STUDY = 8


def simulate(task: Task, patients: int, slices: int, seed: int) -> PredictionTable:
    """Returns predictions of about the accuracy of a good model."""
    generator = np.random.default_rng(seed)
    studies = round(patients * STUDIES_A_PATIENT)
    owners = np.concatenate([np.arange(patients), generator.integers(0, patients, studies - patients)])
    free = slices - SMALLEST_STUDY * studies
    sizes = generator.multinomial(free, np.full(studies, 1 / studies)) + SMALLEST_STUDY
    study = np.repeat(np.arange(studies), sizes)
    targets = np.zeros((slices, len(task.labels)), dtype=np.int8)
    for index, name in enumerate(task.label_names):
        if name in PREVALENCE:
            has_finding = generator.random(studies) < PREVALENCE[name] / POSITIVE_SHARE
            targets[:, index] = has_finding[study] & (generator.random(slices) < POSITIVE_SHARE)
    targets[:, task.main_index] = targets.max(axis=1)
    noise = generator.normal(0, 1.8, targets.shape) + generator.normal(0, 0.8, (studies, len(task.labels)))[study]
    place = np.arange(slices) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return PredictionTable(
        label_names=task.label_names,
        patient_ids=tuple(f"patient{number}" for number in owners[study].tolist()),
        study_uids=tuple(f"study{number}" for number in study.tolist()),
        series_uids=tuple(f"series{number}" for number in study.tolist()),
        sop_uids=tuple(f"image{number}" for number in range(slices)),
        frames=(1,) * slices,
        files=("",) * slices,
        slice_index=tuple(place.tolist()),
        positions_mm=np.multiply(place, 5.0, dtype=np.float64),
        probabilities=special.expit(-4.2 + 5.5 * targets + noise).astype(np.float32),
        targets=targets,
    )


def plain_resample(rows: ScoredRows, members: list[npt.NDArray[np.intp]], generator: np.random.Generator) -> None:
    """Computes four metrics of every label on one resample of the patients."""
    drawn = np.concatenate([members[patient] for patient in generator.integers(0, len(members), len(members))])
    for index in range(rows.targets.shape[1]):
        truth, values = rows.targets[drawn, index], rows.probabilities[drawn, index]
        sklearn.metrics.roc_auc_score(truth, values)
        sklearn.metrics.average_precision_score(truth, values)
        sklearn.metrics.log_loss(truth, values)
        sklearn.metrics.brier_score_loss(truth, values)


def rows_of_patients(rows: ScoredRows) -> list[npt.NDArray[np.intp]]:
    """Returns the rows of every patient."""
    order = np.argsort(rows.patients, kind="stable")
    ends = np.searchsorted(rows.patients[order], np.arange(rows.patients.max() + 2))
    return [order[start:end] for start, end in pairwise(ends.tolist())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=18_938)
    parser.add_argument("--slices", type=int, default=752_803)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--plain", type=int, default=2, help="resamples of the plain loop that are timed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    task = load_task("ich")
    table = simulate(task, arguments.patients, arguments.slices, arguments.seed)
    start = time.perf_counter()
    found = evaluate(
        table, task, thresholds=dict.fromkeys(task.label_names, 0.3), resamples=arguments.resamples, seed=arguments.seed
    )
    fast = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{found.n_slices} slices, {found.n_patients} patients, {len(task.labels)} labels")
    print(f"evaluate, {arguments.resamples} resamples: {fast:.1f} s, peak memory of the process {memory:.2f} GiB")
    levels = [(rows, rows_of_patients(rows)) for rows in (table.slices(), table.studies(task))]
    generator = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    for _ in range(arguments.plain):
        for rows, members in levels:
            plain_resample(rows, members, generator)
    slow = (time.perf_counter() - start) / max(1, arguments.plain)
    print(f"scikit-learn in a loop: {slow:.1f} s a resample, {slow * arguments.resamples / 60:.0f} min for all")
    print(f"ratio: {slow * arguments.resamples / fast:.0f}")


if __name__ == "__main__":
    main()
