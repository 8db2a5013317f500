"""Which slices an epoch of stage 1 shows, and how much each then counts.

Negative slices are shown less often, slices of rare labels more often; the loss weights both back, so that its
expectation is the one over all slices as they are and the output needs no correction of its prior.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.data.labels import UNKNOWN, Labels

_ROUNDING = 1e-6


def expected_showings(labels: Labels, *, negative_share: float, repeat_below: float) -> npt.NDArray[np.float64]:
    """Returns how often an epoch shows every slice on average.

    Args:
        labels: 0, 1 or -1 for unknown, shape (N, L).
        negative_share: Of a slice without a positive label.
        repeat_below: Threshold t of repeat factor sampling: a positive slice is shown max(1, sqrt(t / f)) times, with
            the frequency f of its rarest label among the slices where that label is known (Gupta et al. 2019,
            section 4.2). 0 shows it once.

    Returns:
        Shape (N,), above 0; scaled so that the sum, the slices of an epoch, is whole: the next larger number.
    """
    positive = labels == 1
    known = np.maximum((labels != UNKNOWN).sum(axis=0), 1)
    frequency = np.maximum(positive.sum(axis=0), 1) / known
    repeats = np.maximum(1.0, np.sqrt(repeat_below / frequency))
    of_positive = np.where(positive, repeats, 0.0).max(axis=1, initial=0.0)
    showings = np.where(of_positive > 0, of_positive, negative_share)
    return showings * (np.ceil(showings.sum() - _ROUNDING) / showings.sum()) if len(showings) else showings


def draw_epoch(showings: npt.NDArray[np.float64], seed: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Draws the slices of an epoch, in random order.

    Systematic sampling: a slice comes floor(m) or ceil(m) times, where m is how often it comes on average, and every
    epoch has as many slices.

    Args:
        showings: Average of every slice, shape (N,), with a whole sum.
        seed: Decides the draw.

    Returns:
        Keys, shape (slices of the epoch,): `index + N * occurrence`, so that a slice that comes again can be told from
        the one before.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(showings))
    ends = np.cumsum(showings[order])
    total = round(ends[-1]) if len(ends) else 0
    places = np.searchsorted(ends, rng.random() + np.arange(total), side="right")
    # The sum is whole but for rounding errors.
    chosen = order[np.minimum(places, len(order) - 1)]
    return rng.permutation(chosen + len(showings) * _occurrences(chosen))


def _occurrences(sorted_runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts equal neighbours: 0 for the first of a run, 1 for the second, and so on."""
    starts = np.flatnonzero(np.diff(sorted_runs, prepend=-1))
    return np.arange(len(sorted_runs)) - np.repeat(starts, np.diff(starts, append=len(sorted_runs)))
