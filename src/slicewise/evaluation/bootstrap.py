"""95 % intervals from resampled patients.

Slices of one patient are not independent, so whole patients are drawn, with replacement (Efron and Tibshirani 1993,
sections 8 and 13): a resample is a multiplicity for every patient. No row is copied. Every metric here depends on the
rows only through sums over patients: a few moments, counts in bins, or the counts of positives and negatives along the
sorted probabilities. Those per-patient sums are formed once, as a sparse matrix; a resample is its product with the
multiplicities. The same multiplicities serve every metric and every model, which makes differences paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.evaluation.metrics import Floats

Indices = npt.NDArray[np.intp]
Draws = npt.NDArray[np.float32]
"""How often every patient was drawn, shape (patients, resamples); whole numbers, exact in single precision."""

LEVEL = 0.95
"""Coverage of the intervals."""

LEAST_DEFINED = 0.95
"""An interval needs a metric to be defined in at least this share of the resamples (about three positive patients)."""

_CHUNK_BYTES = 48 << 20


class Statistic(Protocol):
    """One or more metrics of one set of rows, ready for any resample of their patients."""

    def resample(self, draws: Draws) -> dict[str, Floats]:
        """Returns metrics by name, each of shape (resamples,), nan where a resample does not define one.

        Args:
            draws: Shape (patients, resamples).
        """


@dataclass(frozen=True, eq=False)
class SumStatistic:
    """Metrics that depend on the rows only through few sums over patients.

    Attributes:
        sums: Shape (sums, patients).
        metrics: From the sums over all drawn patients, shape (sums, resamples), to metrics by name, each of shape
            (resamples,).
    """

    sums: sparse.csr_array
    metrics: Callable[[Floats], dict[str, Floats]]

    def resample(self, draws: Draws) -> dict[str, Floats]:
        """Returns the metrics of every resample, see `Statistic`."""
        step = max(1, _CHUNK_BYTES // max(1, 8 * max(self.sums.shape)))
        chunks = [
            self.metrics(self.sums @ draws[:, start : start + step].astype(np.float64))
            for start in range(0, max(1, draws.shape[1]), step)
        ]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def patient_multiplicities(patients: int, resamples: int, seed: int) -> Draws:
    """Draws resamples of the patients.

    Args:
        patients: Number of patients, at least 1.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.

    Returns:
        How often every patient was drawn, shape (patients, resamples).
    """
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(patients, np.full(patients, 1.0 / patients), size=resamples)
    return np.ascontiguousarray(draws.T, dtype=np.float32)


def resample(statistics: Iterable[Statistic], draws: Draws) -> dict[str, Floats]:
    """Computes the metrics of every resample.

    Args:
        statistics: What is computed.
        draws: Shape (patients, resamples).

    Returns:
        Metrics by name, each of shape (resamples,), nan where a resample does not define one.
    """
    values: dict[str, Floats] = {}
    for statistic in statistics:
        values.update(statistic.resample(draws))
    return values


def percentile_interval(values: Floats) -> tuple[float, float]:
    """Returns the percentile interval of `LEVEL`.

    Args:
        values: The metric in every resample, shape (resamples,).

    Returns:
        Low and high; both nan if fewer than `LEAST_DEFINED` of the resamples define the metric.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < LEAST_DEFINED * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0))
    return float(low), float(high)
