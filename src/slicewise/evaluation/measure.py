"""One label on one level: every metric with its interval, and the operating points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slicewise.evaluation.bootstrap import Draws, resample
from slicewise.evaluation.evidence import Estimate, OperatingPoint, PredictiveValues, estimate, or_none
from slicewise.evaluation.metrics import Floats, Probabilities, Targets, known_rows
from slicewise.evaluation.operating_points import MODEL, PREVALENCES, predictive_values, threshold_metrics
from slicewise.evaluation.predictions import ScoredRows
from slicewise.evaluation.reliability import calibration_line
from slicewise.evaluation.statistics import binary_statistics, probability_statistics, threshold_statistic
from slicewise.evaluation.sweep import FlaggedCounts, Sweep, SweptCounts

DISTANCES = ("ece", "brier_reliability", "brier_resolution")
"""Sums of squares or of absolute values over bins: chance alone makes them larger."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """A metric, or several, on the rows themselves and in every resample.

    Attributes:
        values: On the rows, by name.
        resampled: In every resample, by name, each of shape (resamples,).
    """

    values: dict[str, float]
    resampled: dict[str, Floats]

    def estimates(self) -> dict[str, Estimate]:
        """Returns the metrics with their intervals."""
        return {
            name: estimate(value, self.resampled[name], is_biased=name in DISTANCES)
            for name, value in self.values.items()
        }


@dataclass(frozen=True, eq=False)
class LabelMeasure:
    """All figures of one label on one level.

    Attributes:
        metrics: Those that need no operating point.
        points: Operating points by name; those whose rule no threshold fulfils have no threshold and no metrics.
        thresholds: Their thresholds, nan where there is none.
        reviewed: Share of rows that are flagged at each operating point.
    """

    metrics: Resampled
    points: dict[str, Resampled]
    thresholds: dict[str, float]
    reviewed: dict[str, Resampled]


def measure_label(
    probabilities: Probabilities,
    targets: Targets,
    patients: np.typing.NDArray[np.intp],
    draws: Draws,
    threshold: float | None = None,
) -> LabelMeasure:
    """Computes all figures of one label.

    Args:
        probabilities: Shape (n,), in [0, 1].
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        patients: Index of the patient of every row, shape (n,).
        draws: How often every patient is drawn, shape (patients, resamples).
        threshold: The operating point of the model, if one is known.
    """
    owners = patients[np.asarray(targets) >= 0]
    values, truth, _ = known_rows(probabilities, targets)
    whole = np.ones((len(draws), 1), dtype=np.float32)
    sweep = Sweep.of(values, truth, owners, len(draws))
    once, often = sweep.run(whole), sweep.run(draws)
    statistics = probability_statistics(values, truth, owners, len(draws))
    metrics = Resampled(
        {**_ranking_values(once), **{name: float(found[0]) for name, found in resample(statistics, whole).items()}},
        {**_ranking(often), **resample(statistics, draws)},
    )
    line = calibration_line(probabilities, targets)  # of the rows themselves, not of bins
    metrics.values.update(calibration_slope=line.slope, calibration_intercept=line.intercept)
    points, thresholds, reviewed = {}, {}, {}
    if threshold is not None:
        statistic = threshold_statistic(values, truth, owners, len(draws), threshold)
        found = {name: float(value[0]) for name, value in statistic.resample(whole).items()}
        points[MODEL], thresholds[MODEL] = Resampled(found, statistic.resample(draws)), threshold
    for name, flagged in once.points.items():
        thresholds[name] = sweep.threshold(int(flagged.step[0]))
        at_point = _at(flagged, once)
        points[name] = Resampled(
            {key: float(value[0]) for key, value in at_point.items()}, _at(often.points[name], often)
        )
        reviewed[name] = Resampled(
            {"reviewed": float(_reviewed(flagged, once)[0])}, {"reviewed": _reviewed(often.points[name], often)}
        )
    return LabelMeasure(metrics, points, thresholds, reviewed)


def measure_metrics(rows: ScoredRows, index: int, draws: Draws) -> Resampled:
    """Computes the metrics of a label that need no operating point, in less time than `measure_label`.

    Args:
        rows: Slices or studies.
        index: The label.
        draws: Shape (patients, resamples).
    """
    column, targets = rows.probabilities[:, index], rows.targets[:, index]
    whole = np.ones((len(draws), 1), dtype=np.float32)
    statistics = binary_statistics(column, targets, rows.patients, len(draws))
    found = {name: float(value[0]) for name, value in resample(statistics, whole).items()}
    line = calibration_line(column, targets)
    found |= {"calibration_slope": line.slope, "calibration_intercept": line.intercept}
    return Resampled(found, resample(statistics, draws))


def operating_point(name: str, measured: LabelMeasure) -> OperatingPoint:
    """Returns an operating point as it is written."""
    found = measured.points[name]
    chosen: Literal["these data", "other data"] = "other data" if name == MODEL else "these data"
    return OperatingPoint(
        threshold=or_none(measured.thresholds[name]),
        chosen_on=chosen,
        metrics=found.estimates(),
        by_prevalence=tuple(_predictive_values(found, prevalence) for prevalence in PREVALENCES),
    )


def _predictive_values(found: Resampled, prevalence: float) -> PredictiveValues:
    once = predictive_values(np.array(found.values["sensitivity"]), np.array(found.values["specificity"]), prevalence)
    often = predictive_values(found.resampled["sensitivity"], found.resampled["specificity"], prevalence)
    ppv, npv = (estimate(float(value), draws) for value, draws in zip(once, often, strict=True))
    return PredictiveValues(prevalence, ppv, npv)


def _ranking(counts: SweptCounts) -> dict[str, Floats]:
    return {"auroc": counts.auroc, "average_precision": counts.average_precision}


def _ranking_values(counts: SweptCounts) -> dict[str, float]:
    return {name: float(found[0]) for name, found in _ranking(counts).items()}


def _at(flagged: FlaggedCounts, counts: SweptCounts) -> dict[str, Floats]:
    return threshold_metrics(flagged.true_positives, flagged.false_positives, counts.positives, counts.negatives)


def _reviewed(flagged: FlaggedCounts, counts: SweptCounts) -> Floats:
    return (flagged.true_positives + flagged.false_positives) / (counts.positives + counts.negatives)
