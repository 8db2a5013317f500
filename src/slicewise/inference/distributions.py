"""Distributions of scores by their percentiles, and how far two of them lie apart.

A percentile table tells little of any single patient, and places any later sample among its steps. Two samples are
compared by how many of each fall between the percentiles of the reference:

- the two-sample Kolmogorov-Smirnov distance, the largest difference of the distribution functions, here at the
  percentiles, which misses at most one step of them (Smirnov 1948);
- the population stability index over tenths, the symmetric Kullback-Leibler divergence in nats (Jeffreys 1946; Siddiqi
  2006, Credit Risk Scorecards, chapter 6). Half a row is added to every tenth, so that an empty one stays finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Values = npt.NDArray[np.floating[Any]]

STEPS = 100
"""Steps of a percentile table: it holds `STEPS` + 1 values, the smallest and the largest first and last."""

TENTHS = 10
ADDED = 0.5
"""Rows added to every tenth (the prior of Jeffreys): without them, one empty tenth would make the index infinite."""

LEAST_HALVED = 8
HALVINGS, HALVES_QUANTILE = 2000, 0.999
"""One report makes a dozen comparisons: the level is such that equal sites seldom stand out in any of them."""


def percentiles(values: Values) -> tuple[float, ...]:
    """Returns the percentile table of a sample: values of the sample itself, the least that reach each level.

    Args:
        values: Shape (n,), at least one, finite.
    """
    levels = np.arange(STEPS + 1) / STEPS
    found: Floats = np.quantile(np.asarray(values, dtype=np.float64), levels, method="inverted_cdf")
    return tuple(map(float, found))


def step_of(values: Values, table: Sequence[float]) -> Indices:
    """Returns the step of a percentile table that every value falls into; a step holds its upper end.

    Values beyond the ends of the table count to the first and to the last step.

    Args:
        values: Shape (n,).
        table: What `percentiles` returns.

    Returns:
        Steps from 0 to `STEPS` - 1, shape (n,).
    """
    return np.searchsorted(np.asarray(table)[1:-1], np.asarray(values, dtype=np.float64), side="left")


def step_shares(table: Sequence[float]) -> Floats:
    """Returns the share of the sample behind a table in each of its steps, shape (`STEPS`,), summing up to 1.

    Steps between equal percentiles are empty: the value that stands there several times counts to the first of them.
    """
    knots = np.asarray(table)
    reached = np.searchsorted(knots, knots[1:], side="right") - 1
    return np.diff(reached, prepend=0) / STEPS


def ks_distance(first: Floats, second: Floats) -> Floats:
    """Returns the Kolmogorov-Smirnov distance of two samples, at the percentiles of the reference.

    Args:
        first: Rows of one sample in every step of the table, shape (`STEPS`, ...), not all 0.
        second: Likewise of the other; trailing axes broadcast.

    Returns:
        Distances in [0, 1], shape (...).
    """
    gaps = np.cumsum(first, axis=0) / first.sum(axis=0) - np.cumsum(second, axis=0) / second.sum(axis=0)
    largest: Floats = np.abs(gaps).max(axis=0)
    return largest


def stability_index(first: Floats, second: Floats, table: Sequence[float]) -> Floats:
    """Returns the population stability index of two samples over the tenths of the reference.

    Tenths between equal percentiles, as where many scores are the same, count as one.

    Args:
        first: As in `ks_distance`.
        second: As in `ks_distance`.
        table: The percentile table.

    Returns:
        Indices of 0 or more, in nats, shape (...).
    """
    groups = _tenths(table)
    one, other = (_smoothed_shares(counts, groups) for counts in (first, second))
    index: Floats = ((one - other) * np.log(one / other)).sum(axis=0)
    return index


def chance_between_halves(counts: Floats, table: Sequence[float]) -> tuple[float, float] | None:
    """Returns how far random halves of the patients of one sample lie apart: what chance alone makes.

    Rows of one patient stay together, as they are alike: formulas for independent rows would say far too little.

    Args:
        counts: Rows of every patient in every step, shape (`STEPS`, patients).
        table: The percentile table of all rows.

    Returns:
        The `HALVES_QUANTILE` quantile over `HALVINGS` halvings of the distance and of the index; None below
        `LEAST_HALVED` patients, whose halves are too few to tell.
    """
    patients = counts.shape[1]
    if patients < LEAST_HALVED:
        return None
    in_first = _halvings(patients)
    first, second = counts @ in_first, counts @ (1.0 - in_first)
    distance, index = ks_distance(first, second), _square_index(first, second, table)
    return float(np.quantile(distance, HALVES_QUANTILE)), float(np.quantile(index, HALVES_QUANTILE))


@lru_cache(maxsize=1)
def _halvings(patients: int) -> Floats:
    """Returns 1 for the patients of the first half of every halving, else 0, shape (patients, `HALVINGS`)."""
    order = np.random.default_rng(0).random((patients, HALVINGS)).argsort(axis=0)
    return (order < patients // 2).astype(np.float64)


def _square_index(first: Floats, second: Floats, table: Sequence[float]) -> Floats:
    """The index to second order, which needs no added rows and so goes with the sum of 1 / rows of both samples."""
    groups = _tenths(table)
    one, other = (_sums(counts, groups) / counts.sum(axis=0) for counts in (first, second))
    both = (one + other) / 2.0
    index: Floats = ((one - other) ** 2 / np.where(both > 0, both, 1.0)).sum(axis=0)
    return index


def _tenths(table: Sequence[float]) -> Indices:
    knots = np.asarray(table)
    edges = np.unique(knots[:: STEPS // TENTHS][1:-1])
    # Nothing of the reference lies above an edge that is its largest value.
    return np.searchsorted(edges[edges < knots[-1]], knots[1:], side="left")


def _smoothed_shares(counts: Floats, groups: Indices) -> Floats:
    sums = _sums(counts, groups) + ADDED
    shares: Floats = sums / sums.sum(axis=0)
    return shares


def _sums(counts: Floats, groups: Indices) -> Floats:
    return np.stack([counts[groups == group].sum(axis=0) for group in range(groups[-1] + 1)])
