"""Rules that score a study from the probabilities of its slices.

`max` is that of Ngo et al. 2022. One bright artefact is enough to raise it; the others ask for more slices in different
ways. `learned` weighs what the others say, and is never measured on a patient that it has learned from.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from slicewise.data.folds import patient_folds
from slicewise.evaluation.calibration import fit_logistic
from slicewise.evaluation.metrics import Floats
from slicewise.evaluation.predictions import UNKNOWN, PredictionTable, ScoredRows
from slicewise.evaluation.reliability import PROBABILITY_CLIP
from slicewise.task import Task

MAX, NOISY_OR, TOP_K_MEAN, LEARNED = "max", "noisy_or", "top_k_mean", "learned"

TOP_K = 3
"""Slices that `top_k_mean` averages: about 15 mm of thick slices."""

FOLDS = 5
LEAST_PATIENTS = 10
"""The learned rule needs as many patients with and without the finding."""


def highest(probabilities: Floats, starts: np.typing.NDArray[np.intp]) -> Floats:
    """Returns the largest probability of every study.

    Args:
        probabilities: Of slices, those of one study together, shape (slices, labels).
        starts: Where each study starts, shape (studies,), ascending from 0.

    Returns:
        Shape (studies, labels), as for the other rules.
    """
    found: Floats = np.maximum.reduceat(probabilities, starts, axis=0)
    return found


def noisy_or(probabilities: Floats, starts: np.typing.NDArray[np.intp]) -> Floats:
    """Returns the probability of at least one positive slice, were slices independent: 1 - product of (1 - p).

    They are not, so that it is too high for long studies; its order is what it is good for.
    """
    clear = np.log1p(-np.clip(probabilities, 0.0, 1.0 - PROBABILITY_CLIP))
    found: Floats = -np.expm1(np.add.reduceat(clear, starts, axis=0))
    return found


def top_k_mean(probabilities: Floats, starts: np.typing.NDArray[np.intp], k: int = TOP_K) -> Floats:
    """Returns the mean of the `k` largest probabilities of every study, of all where it has fewer slices."""
    sizes = np.diff(np.append(starts, len(probabilities)))
    study = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(probabilities)) - starts[study]
    counted = (place < k)[:, None]
    columns = []
    for values in probabilities.T:
        ordered = values[np.lexsort((-values, study))]
        columns.append(np.add.reduceat(ordered * counted[:, 0], starts) / np.minimum(sizes, k))
    found: Floats = np.stack(columns, axis=1)
    return found


def score_studies(table: PredictionTable, task: Task) -> dict[str, ScoredRows]:
    """Scores the studies of a table by every rule.

    Args:
        table: Slices with at least one row.
        task: Says which studies are positive, see `PredictionTable.studies`.

    Returns:
        The studies by the name of the rule. `learned` is nowhere measured on patients it was fitted to: the patients
        are dealt into `FOLDS` folds, and each is scored by what the others taught. A label with fewer than
        `LEAST_PATIENTS` patients with or without the finding has no known target there; without any other label the
        rule is left out.
    """
    studies, groups = table.studies(task), table.study_groups
    slices = table.probabilities[groups.order].astype(np.float64)
    scores = {
        MAX: highest(slices, groups.starts),
        NOISY_OR: noisy_or(slices, groups.starts),
        TOP_K_MEAN: top_k_mean(slices, groups.starts),
    }
    rules = {name: ScoredRows(values, studies.targets, studies.patients) for name, values in scores.items()}
    learned = _learned(scores, studies)
    return rules if learned is None else {**rules, LEARNED: learned}


def _learned(scores: dict[str, Floats], studies: ScoredRows) -> ScoredRows | None:
    found, known = scores[MAX].copy(), np.full_like(studies.targets, UNKNOWN)
    for index in range(found.shape[1]):
        targets = studies.targets[:, index]
        classes = [len(np.unique(studies.patients[targets == target])) for target in (0, 1)]
        if min(classes) < LEAST_PATIENTS:
            continue
        clipped = [np.clip(values[:, index], PROBABILITY_CLIP, 1.0 - PROBABILITY_CLIP) for values in scores.values()]
        features = np.stack([special.logit(values) for values in clipped], axis=1)
        found[:, index] = _cross_fitted(features, targets, studies.patients)
        known[:, index] = targets
    return ScoredRows(found, known, studies.patients) if np.any(known != UNKNOWN) else None


def _cross_fitted(
    features: Floats, targets: np.typing.NDArray[np.int8], patients: np.typing.NDArray[np.intp]
) -> Floats:
    positive = {str(patient): 0 for patient in np.unique(patients)}
    for patient in patients[targets == 1]:
        positive[str(patient)] = 1
    folds = patient_folds(positive, FOLDS, seed=0)
    fold = np.array([folds[str(patient)] for patient in patients])
    found = np.empty(len(features))
    for number in range(FOLDS):
        others = (fold != number) & (targets >= 0)
        weights, bias = fit_logistic(features[others], targets[others])
        found[fold == number] = special.expit(features[fold == number] @ weights + bias)
    return found
