"""How far readers agree: what a reference standard of several readers is worth, and what no model can go beyond.

Readings are categories, 0, 1, ..., and -1 where a reader says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.evaluation.bootstrap import patient_multiplicities
from slicewise.evaluation.evidence import Estimate, estimate, or_none
from slicewise.evaluation.metrics import Floats, divide

Readings = npt.NDArray[np.int8]
UNKNOWN = -1


class PairAgreement(msgspec.Struct, frozen=True):
    """How far two readers agree.

    Attributes:
        readers: Their names.
        subjects: Subjects that both have read.
        agreement: Share of them on which both say the same.
        cohen_kappa: Cohen's kappa; None where it is not defined.
    """

    readers: tuple[str, str]
    subjects: int
    agreement: float | None
    cohen_kappa: float | None


class LabelAgreement(msgspec.Struct, frozen=True):
    """How far readers agree on one label.

    Attributes:
        subjects: Subjects that all of them have read.
        positive: How many of these each reader calls positive, in the order of the readers.
        unanimous: Share of these on which all say the same.
        fleiss_kappa: Fleiss' kappa with its 95 % interval, subjects resampled.
        pairs: Every two readers.
    """

    subjects: int
    positive: tuple[int, ...]
    unanimous: float | None
    fleiss_kappa: Estimate
    pairs: tuple[PairAgreement, ...]


def reader_agreement(
    values: Readings, readers: Sequence[str], labels: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, LabelAgreement]:
    """Measures the agreement of readers on every label.

    Args:
        values: 1, 0 or -1 for unknown, shape (subjects, readers, labels).
        readers: Their names, at least two.
        labels: Label names.
        resamples: Number of resamples of the subjects; 0 leaves out the intervals.
        seed: Seed of the resamples.

    Raises:
        ValueError: If the names do not fit the readings, or there are fewer than two readers.
    """
    if values.ndim != 3 or values.shape[1:] != (len(readers), len(labels)) or len(readers) < 2:
        raise ValueError(f"readings of shape {values.shape} do not fit {len(readers)} readers, {len(labels)} labels")
    return {name: _label_agreement(values[:, :, index], readers, resamples, seed) for index, name in enumerate(labels)}


def category_counts(readings: Readings, categories: int = 2) -> npt.NDArray[np.int64]:
    """Counts how many readers put a subject into each category.

    Args:
        readings: Shape (subjects, readers).
        categories: Number of categories.

    Returns:
        Shape (subjects, categories); unknown readings are in none.
    """
    return np.stack([(readings == category).sum(axis=1) for category in range(categories)], axis=1)


def fleiss_kappa(counts: npt.ArrayLike) -> float:
    """Returns Fleiss' kappa of many readers (Fleiss 1971, doi:10.1037/h0031619, equations 1 to 7).

    Args:
        counts: How many readers put a subject into each category, shape (subjects, categories); as many readers, at
            least 2, for every subject.

    Returns:
        1 for full agreement, 0 for agreement by chance; nan without subjects, or where all readings are equal.

    Raises:
        ValueError: If subjects have different numbers of readers, or fewer than 2.
    """
    sums, readers = _fleiss_sums(np.asarray(counts, dtype=np.float64))
    return float(_fleiss_from_sums(sums.sum(axis=1, keepdims=True), readers)[0])


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Returns Cohen's kappa of two readers (Cohen 1960, doi:10.1177/001316446002000104).

    Args:
        first: Categories that one reader gives, shape (subjects,).
        second: Those of the other one.

    Returns:
        1 for full agreement, 0 for agreement by chance; nan without subjects, or where both give everyone one category.
    """
    one, other = np.asarray(first), np.asarray(second)
    if len(one) == 0:
        return math.nan
    by_chance = sum(float((one == item).mean() * (other == item).mean()) for item in np.union1d(one, other))
    return (float((one == other).mean()) - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else math.nan


def share_of_agreement(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Returns the share of subjects on which two readers give the same category; nan without subjects."""
    one, other = np.asarray(first), np.asarray(second)
    return float((one == other).mean()) if len(one) else math.nan


def _label_agreement(readings: Readings, readers: Sequence[str], resamples: int, seed: int) -> LabelAgreement:
    complete = readings[(readings != UNKNOWN).all(axis=1)]
    same = (complete == complete[:, :1]).all(axis=1)
    return LabelAgreement(
        subjects=len(complete),
        positive=tuple((complete == 1).sum(axis=0).tolist()),
        unanimous=float(same.mean()) if len(complete) else None,
        fleiss_kappa=_fleiss_estimate(complete, resamples, seed),
        pairs=tuple(
            _pair((readers[one], readers[other]), readings[:, [one, other]])
            for one, other in combinations(range(len(readers)), 2)
        ),
    )


def _pair(names: tuple[str, str], readings: Readings) -> PairAgreement:
    both = readings[(readings != UNKNOWN).all(axis=1)]
    share, kappa = share_of_agreement(both[:, 0], both[:, 1]), cohen_kappa(both[:, 0], both[:, 1])
    return PairAgreement(names, len(both), or_none(share), or_none(kappa))


def _fleiss_estimate(complete: Readings, resamples: int, seed: int) -> Estimate:
    if not len(complete):
        return Estimate(None, None, None)
    sums, readers = _fleiss_sums(category_counts(complete).astype(np.float64))
    value = _fleiss_from_sums(sums.sum(axis=1, keepdims=True), readers)
    draws = patient_multiplicities(len(complete), resamples, seed)
    return estimate(float(value[0]), _fleiss_from_sums(sums @ draws, readers))


def _fleiss_sums(counts: Floats) -> tuple[Floats, int]:
    """What kappa is made of, subject by subject: agreement, one, counts; shape (2 + categories, subjects)."""
    readers = counts.sum(axis=1)
    if len(readers) and (readers[0] < 2 or np.any(readers != readers[0])):
        raise ValueError("every subject needs as many readers as the others, at least 2")
    number = int(readers[0]) if len(readers) else 2
    agreement = (counts * (counts - 1)).sum(axis=1) / (number * (number - 1))
    return np.concatenate([[agreement, np.ones(len(counts))], counts.T]), number


def _fleiss_from_sums(sums: Floats, readers: int) -> Floats:
    """Returns kappa from the sums over drawn subjects, shape (2 + categories, resamples) -> (resamples,)."""
    observed, shares = divide(sums[0], sums[1]), divide(sums[2:], readers * sums[1])
    by_chance = (shares**2).sum(axis=0)
    return divide(observed - by_chance, 1.0 - by_chance)
