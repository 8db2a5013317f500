"""How far the patients of a site lie from those that a model was calibrated on, without any label.

Scores tell what the outputs have become, for whatever reason: other scanners, other patients, or more of the finding.
Descriptors tell how unlike the images are. Neither tells whether the model is any good there: only labels do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from scipy import stats

from slicewise.evaluation.bootstrap import LEVEL, Draws, patient_multiplicities
from slicewise.evaluation.evidence import Estimate, estimate
from slicewise.evaluation.metrics import Floats
from slicewise.inference.distributions import STEPS, ks_distance, stability_index, step_of, step_shares
from slicewise.inference.reference import DescribedSeries, LevelName, Reference, ScoreLevel, level_scores

Grade = Literal["alike", "moderate", "large"]
GRADES: tuple[Grade, ...] = ("alike", "moderate", "large")

MODERATE_INDEX, LARGE_INDEX = 0.10, 0.25
"""The usual bounds of the population stability index (Siddiqi 2006, Credit Risk Scorecards, chapter 6)."""

LARGE_SHARE = 0.25
"""Share of series beyond the 95th percentile of the reference, of which 5 % are expected, that counts as large."""

MOST_UNLIKE = 20

LEVELS: tuple[LevelName, ...] = ("slice", "study")
RULES = (
    (
        f"Scores: alike where the population stability index is below {MODERATE_INDEX} or within chance; large from "
        f"{LARGE_INDEX}; moderate between (Siddiqi 2006). Chance is what random halves of the reference's own patients "
        "exceed in 1 of 1000 cases, scaled to the numbers of patients. Distance and index are never below 0 and "
        "resampling adds to them: read them beside chance, not beside 0."
    ),
    (
        "Descriptors: alike where the interval of the share of series beyond the reference's 95th percentile reaches "
        f"down to what that percentile leaves open; large where all of it lies above {LARGE_SHARE:.0%} as well; "
        "moderate between."
    ),
    "The verdict is the worst of all.",
)


class ScoreShift(msgspec.Struct, frozen=True):
    """Scores of one label on one level, here and in the reference.

    Attributes:
        level: "slice", or "study": the largest probability of its slices.
        label: Name of the label.
        ks: Two-sample Kolmogorov-Smirnov distance, at the percentiles of the reference.
        ks_by_chance: What it stays below in 999 of 1000 cases where nothing differs; None where not known.
        psi: Population stability index over the tenths of the reference, in nats.
        psi_by_chance: Likewise.
        grade: By `RULES`.
    """

    level: LevelName
    label: str
    ks: Estimate
    ks_by_chance: float | None
    psi: Estimate
    psi_by_chance: float | None
    grade: Grade


class Beyond(msgspec.Struct, frozen=True):
    """Series whose descriptors lie further out than most of the reference.

    Attributes:
        percentile: Percentile of the reference's series.
        distance: Their distance there.
        expected: Share expected beyond it.
        expected_high: Largest share that is still no surprise, as the percentile comes from few patients.
        share: Share of series here, with the exact binomial interval for as many rows as there are patients (Clopper
            and Pearson 1934): series of one patient are alike.
    """

    percentile: int
    distance: float
    expected: float
    expected_high: float
    share: Estimate


class UnlikeSeries(msgspec.Struct, frozen=True):
    """One of the series that lie furthest out.

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        distance: Mean distance of its slices.
        percentile: Percent of the reference's series that lie nearer.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    distance: float
    percentile: int


class Shift(msgspec.Struct, frozen=True):
    """All that was compared.

    Attributes:
        scores: By level and label.
        descriptors: Shares of series beyond percentiles of the reference.
        descriptor_grade: By `RULES`.
        most_unlike: The series that lie furthest out, at most `MOST_UNLIKE`, the furthest first.
        verdict: The worst of all grades.
    """

    scores: tuple[ScoreShift, ...]
    descriptors: tuple[Beyond, ...]
    descriptor_grade: Grade
    most_unlike: tuple[UnlikeSeries, ...]
    verdict: Grade


def compare_with_reference(
    series: Sequence[DescribedSeries],
    reference: Reference,
    label_names: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Shift:
    """Compares the series of a site with the reference of a model.

    Args:
        series: What the model says of every series, at least one.
        reference: What it says of its own patients.
        label_names: Names of the labels, in order.
        resamples: Number of resamples of the patients of the site.
        seed: Seed of the resamples.
    """
    patients = {patient: place for place, patient in enumerate(dict.fromkeys(item.patient_id for item in series))}
    draws = patient_multiplicities(len(patients), resamples, seed)
    scores = tuple(
        _score_shift(level, label, counts, reference, draws)
        for level in LEVELS
        for label, counts in _step_counts(series, reference.scores[level], label_names, level, patients).items()
    )
    distances = np.array([reference.space.distances(item.descriptors).mean() for item in series])
    descriptors = tuple(_beyond(distances, reference, percentile, len(patients)) for percentile in (95, 99))
    grade = _descriptor_grade(descriptors[0])
    return Shift(
        scores=scores,
        descriptors=descriptors,
        descriptor_grade=grade,
        most_unlike=_most_unlike(series, distances, reference),
        verdict=max((grade, *(shift.grade for shift in scores)), key=GRADES.index),
    )


def _step_counts(
    series: Sequence[DescribedSeries],
    known: ScoreLevel,
    label_names: Sequence[str],
    level: LevelName,
    patients: dict[str, int],
) -> dict[str, Floats]:
    """Returns by label how many rows of every patient fall into each step of the reference, (`STEPS`, patients)."""
    scores, owners = level_scores(series, level)
    columns = np.array([patients[owner] for owner in owners])
    found = {label: np.zeros((STEPS, len(patients))) for label in label_names}
    for index, (label, counts) in enumerate(found.items()):
        np.add.at(counts, (step_of(scores[:, index], known.labels[label].percentiles), columns), 1.0)
    return found


def _score_shift(level: LevelName, label: str, counts: Floats, reference: Reference, draws: Draws) -> ScoreShift:
    known, patients = reference.scores[level].labels[label], reference.patients
    table = known.percentiles
    there = (step_shares(table) * reference.scores[level].rows)[:, None]
    here, resampled = counts.sum(axis=1, keepdims=True), counts @ draws.astype(np.float64)
    psi = estimate(float(stability_index(here, there, table)[0]), stability_index(resampled, there, table))
    # The index goes with the sum of 1 / patients of both sides, the distance with its root; halves have 4 / patients.
    scale = (1.0 / counts.shape[1] + 1.0 / patients) * patients / 4.0
    by_chance = None if known.psi_of_halves is None else known.psi_of_halves * scale
    return ScoreShift(
        level=level,
        label=label,
        ks=estimate(float(ks_distance(here, there)[0]), ks_distance(resampled, there)),
        ks_by_chance=None if known.ks_of_halves is None else min(1.0, known.ks_of_halves * math.sqrt(scale)),
        psi=psi,
        psi_by_chance=by_chance,
        grade=_index_grade(psi.value or 0.0, by_chance or 0.0),
    )


def _index_grade(index: float, by_chance: float) -> Grade:
    if index < MODERATE_INDEX or index <= by_chance:
        return "alike"
    return "moderate" if index < LARGE_INDEX else "large"


def _beyond(distances: Floats, reference: Reference, percentile: int, patients: int) -> Beyond:
    bound = reference.series_distances[percentile]
    share, level = float((distances > bound).mean()), percentile / 100.0
    # What lies beyond the k-th of n ordered values has a beta distribution, whatever theirs is.
    measured = reference.distance_patients
    below = math.ceil(level * measured)
    expected_high = stats.beta.ppf((1.0 + LEVEL) / 2.0, measured - below + 1, below)
    return Beyond(percentile, bound, 1.0 - level, float(expected_high), _exact_interval(share, patients))


def _exact_interval(share: float, count: int) -> Estimate:
    """The interval of Clopper and Pearson, in its form by the beta distribution, which needs no whole numbers."""
    hits, misses, tail = share * count, (1.0 - share) * count, (1.0 - LEVEL) / 2.0
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, misses + 1.0))
    high = 1.0 if misses == 0 else float(stats.beta.ppf(1.0 - tail, hits + 1.0, misses))
    return Estimate(share, low, high)


def _descriptor_grade(beyond: Beyond) -> Grade:
    low = beyond.share.low or 0.0
    if low <= beyond.expected_high:
        return "alike"
    return "large" if low > LARGE_SHARE else "moderate"


def _most_unlike(
    series: Sequence[DescribedSeries], distances: Floats, reference: Reference
) -> tuple[UnlikeSeries, ...]:
    nearer = np.searchsorted(np.asarray(reference.series_distances)[1:], distances, side="left")
    furthest = np.argsort(-distances, kind="stable")[:MOST_UNLIKE]
    return tuple(
        UnlikeSeries(
            patient_id=series[index].patient_id,
            study_uid=series[index].study_uid,
            series_uid=series[index].series_uid,
            distance=float(distances[index]),
            percentile=int(nearer[index]),
        )
        for index in furthest
    )
