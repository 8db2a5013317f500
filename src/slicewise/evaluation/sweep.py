"""All thresholds in one sweep: AUROC, average precision and operating points, in every resample of the patients.

From the highest probability down, the positives and negatives that are flagged so far are counted; that is all that
these metrics need. In a resample a row counts as often as its patient was drawn, so the counts of one step are the
product of a sparse matrix with the multiplicities. Steps are taken in blocks that fit the cache of a processor, and
only their running sums are kept: memory does not grow with the number of rows times that of resamples.

Plain references: `metrics.auroc`, `metrics.average_precision` and `operating_points.choose_threshold`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from slicewise.evaluation.bootstrap import Draws, Indices
from slicewise.evaluation.metrics import Floats, divide
from slicewise.evaluation.operating_points import LEAST_SENSITIVITY, LEAST_SPECIFICITY, YOUDEN

_BLOCK_BYTES = 1 << 20

_ROUNDING = 1e-6
"""Counts are whole numbers; their limits are products, and may miss one by their last digit."""


@dataclass(frozen=True, eq=False)
class FlaggedCounts:
    """What one operating point flags, in every resample.

    Attributes:
        true_positives: Shape (resamples,), nan where no threshold fulfils the rule.
        false_positives: Likewise.
        step: The step of the sweep at which it lies, shape (resamples,), -1 where there is none.
    """

    true_positives: Floats
    false_positives: Floats
    step: Indices


@dataclass(frozen=True, eq=False)
class SweptCounts:
    """The outcome of a sweep.

    Attributes:
        positives: Weight of the positive rows, shape (resamples,).
        negatives: Likewise of the negative ones.
        auroc: Shape (resamples,), nan where a class is missing.
        average_precision: Shape (resamples,), nan without positives.
        points: Operating points by name.
    """

    positives: Floats
    negatives: Floats
    auroc: Floats
    average_precision: Floats
    points: dict[str, FlaggedCounts] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Rows of one label in the order of their probabilities.

    Neighbouring distinct probabilities without a positive are one step: these metrics only ask how many negatives lie
    between two positives. With rare positives this leaves few steps.

    Attributes:
        positives: Positive rows by step, from the highest probability down, and patient, shape (steps, patients).
        negatives: Likewise the negative rows.
        highest: Highest probability of every step, shape (steps,).
        lowest: Lowest probability of every step.
        with_points: Whether operating points are wanted.
    """

    positives: sparse.csr_array
    negatives: sparse.csr_array
    highest: Floats
    lowest: Floats
    with_points: bool = True

    @classmethod
    def of(cls, values: Floats, truth: Floats, owners: Indices, count: int, *, with_points: bool = True) -> Sweep:
        """Sorts known rows.

        Args:
            values: Probabilities, shape (n,).
            truth: 0 or 1, shape (n,).
            owners: Index of the patient of every row, shape (n,).
            count: Number of patients.
            with_points: Whether operating points are wanted.
        """
        ascending, group = np.unique(values, return_inverse=True)
        group, distinct = len(ascending) - 1 - group, ascending[::-1]
        positive = np.bincount(group, truth, len(distinct)) > 0
        starts = np.ones(len(distinct), dtype=bool)
        starts[1:] = positive[1:] | positive[:-1]
        rows = (np.cumsum(starts) - 1)[group]
        ends = np.append(starts[1:], True)[: len(distinct)]
        shape = (int(starts.sum()), count)
        return cls(
            positives=_counts(rows[truth == 1], owners[truth == 1], shape),
            negatives=_counts(rows[truth == 0], owners[truth == 0], shape),
            highest=distinct[starts],
            lowest=distinct[ends],
            with_points=with_points,
        )

    def resample(self, draws: Draws) -> dict[str, Floats]:
        """Returns AUROC and average precision of every resample, see `bootstrap.Statistic`."""
        found = self.run(draws)
        return {"auroc": found.auroc, "average_precision": found.average_precision}

    def threshold(self, step: int) -> float:
        """Returns the threshold that flags the steps up to one, midway to the next lower probability; nan for -1."""
        if step < 0:
            return float("nan")
        below = self.highest[step + 1] if step + 1 < len(self.highest) else self.lowest[step]
        return float((self.lowest[step] + below) / 2.0)

    def run(self, draws: Draws) -> SweptCounts:
        """Sweeps over all thresholds.

        Args:
            draws: How often every patient counts, shape (patients, resamples).
        """
        resamples = draws.shape[1]
        totals = [(matrix.sum(axis=0) @ draws.astype(np.float64)) for matrix in (self.positives, self.negatives)]
        positives, negatives = (np.asarray(total, dtype=np.float64).reshape(resamples) for total in totals)
        searches = _searches(positives, negatives) if self.with_points else {}
        true, false = np.zeros(resamples), np.zeros(resamples)
        pairs, precision = np.zeros(resamples), np.zeros(resamples)
        rows = max(1, _BLOCK_BYTES // (8 * max(1, resamples)))
        for start in range(0, len(self.lowest), rows):
            new_true = (self.positives[start : start + rows] @ draws).astype(np.float64)
            new_false = (self.negatives[start : start + rows] @ draws).astype(np.float64)
            all_true, all_false = true + np.cumsum(new_true, axis=0), false + np.cumsum(new_false, axis=0)
            pairs += np.einsum("sr,sr->r", new_true, all_false - 0.5 * new_false)
            flagged = np.maximum(all_true + all_false, 1.0)  # 0 only where nothing is added
            precision += np.einsum("sr,sr->r", new_true, all_true / flagged)
            for search in searches.values():
                search.take(start, all_true, all_false)
            true, false = all_true[-1], all_false[-1]
        return SweptCounts(
            positives=positives,
            negatives=negatives,
            auroc=1.0 - divide(pairs, positives * negatives),
            average_precision=divide(precision, positives),
            points={name: search.found() for name, search in searches.items()},
        )


class _Search(ABC):
    """The best step so far of one rule, in every resample."""

    def __init__(self, positives: Floats, negatives: Floats) -> None:
        self.positives, self.negatives = positives, negatives
        self.defined = (positives > 0) & (negatives > 0)
        self.true, self.false = np.full_like(positives, np.nan), np.full_like(positives, np.nan)
        self.step = np.full(len(positives), -1, dtype=np.intp)

    @abstractmethod
    def take(self, start: int, all_true: Floats, all_false: Floats) -> None:
        """Looks at a block of steps, each array of shape (steps, resamples)."""

    def found(self) -> FlaggedCounts:
        """Returns the outcome."""
        return FlaggedCounts(self.true, self.false, self.step)

    def _keep(self, start: int, rows: Indices, columns: Indices, all_true: Floats, all_false: Floats) -> None:
        self.true[columns] = all_true[rows, columns]
        self.false[columns] = all_false[rows, columns]
        self.step[columns] = start + rows


class _Youden(_Search):
    """The largest sensitivity + specificity - 1, of equal ones the lowest threshold."""

    def __init__(self, positives: Floats, negatives: Floats) -> None:
        super().__init__(positives, negatives)
        self.best = np.zeros_like(positives)

    def take(self, start: int, all_true: Floats, all_false: Floats) -> None:
        # Times both totals, so that the numbers are whole and ties are exact.
        index = all_true * self.negatives - all_false * self.positives
        last = len(index) - 1 - np.argmax(index[::-1], axis=0)
        highest = index[last, np.arange(index.shape[1])]
        columns = np.flatnonzero((highest >= self.best) & (highest > 0) & self.defined)
        self.best[columns] = highest[columns]
        self._keep(start, last[columns], columns, all_true, all_false)


class _Sensitivity(_Search):
    """The highest threshold with at least a sensitivity."""

    def __init__(self, positives: Floats, negatives: Floats, least: float) -> None:
        super().__init__(positives, negatives)
        self.needed = least * positives - _ROUNDING

    def take(self, start: int, all_true: Floats, all_false: Floats) -> None:
        columns = np.flatnonzero((self.step < 0) & self.defined & (all_true[-1] >= self.needed))
        if len(columns):
            rows = np.argmax(all_true[:, columns] >= self.needed[columns], axis=0)
            self._keep(start, rows, columns, all_true, all_false)


class _Specificity(_Search):
    """The highest sensitivity with at least a specificity, of equal ones the highest threshold."""

    def __init__(self, positives: Floats, negatives: Floats, least: float) -> None:
        super().__init__(positives, negatives)
        self.allowed = (1.0 - least) * negatives + _ROUNDING
        self.before = np.zeros_like(positives)
        self.is_done = False

    def take(self, start: int, all_true: Floats, all_false: Floats) -> None:
        if self.is_done:
            return
        more = np.diff(all_true, axis=0, prepend=self.before[None]) > 0
        self.before = all_true[-1]
        candidates = (all_false <= self.allowed) & more
        columns = np.flatnonzero(candidates.any(axis=0) & self.defined)
        rows = len(candidates) - 1 - np.argmax(candidates[::-1, columns], axis=0)
        self._keep(start, rows, columns, all_true, all_false)
        self.is_done = bool(np.all(all_false[-1] > self.allowed))


def _searches(positives: Floats, negatives: Floats) -> dict[str, _Search]:
    rules: dict[str, _Search] = {YOUDEN: _Youden(positives, negatives)}
    rules |= {name: _Sensitivity(positives, negatives, least) for name, least in LEAST_SENSITIVITY.items()}
    return rules | {name: _Specificity(positives, negatives, least) for name, least in LEAST_SPECIFICITY.items()}


def _counts(rows: Indices, owners: Indices, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.coo_array((np.ones(len(rows), dtype=np.float32), (rows, owners)), shape=shape).tocsr()
