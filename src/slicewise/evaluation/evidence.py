"""What an evaluation finds, as `metrics.json` and `comparison.json` hold it."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from slicewise.evaluation.bootstrap import percentile_interval
from slicewise.evaluation.metrics import Floats

METRICS_SCHEMA_VERSION = 1
"""Counts the changes of `Metrics` after which a reader of the older form fails; a new key is none."""


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval from resampled patients; None, JSON's null, where it is not defined.

    Attributes:
        value: The number itself.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float | None
    low: float | None
    high: float | None


class Counts(msgspec.Struct, frozen=True):
    """How many rows carry the metrics of one label.

    Attributes:
        positive: Rows with the finding.
        negative: Rows without it.
        unknown: Rows that enter no metric of this label.
    """

    positive: int
    negative: int
    unknown: int


Level = dict[str, dict[str, Estimate]]
"""Estimates by label and metric."""


class PredictiveValues(msgspec.Struct, frozen=True):
    """What a flag, and its absence, mean at another prevalence (Bayes' theorem).

    Attributes:
        prevalence: Share of positives.
        ppv: Positive predictive value there.
        npv: Negative predictive value there.
    """

    prevalence: float
    ppv: Estimate
    npv: Estimate


class OperatingPoint(msgspec.Struct, frozen=True):
    """What one threshold gives.

    Attributes:
        threshold: Rows with at least this probability are flagged; None where the rule gives none.
        chosen_on: "other data" for a threshold of a model package; "these data" where the rule was applied to the rows
            that it is measured on: then it is chosen anew in every resample, and still is too good for small data.
        metrics: Sensitivity, specificity, ppv, npv and f1.
        by_prevalence: Predictive values over the prevalence.
    """

    threshold: float | None
    chosen_on: Literal["these data", "other data"]
    metrics: dict[str, Estimate]
    by_prevalence: tuple[PredictiveValues, ...]


OperatingPoints = dict[str, dict[str, OperatingPoint]]
"""Operating points by label and name: model, youden, sensitivity_90, sensitivity_95, specificity_95."""


class Subgroup(msgspec.Struct, frozen=True):
    """The label that sums up the others, in a part of the slices.

    Attributes:
        group: Name of the part.
        n_patients: Patients with a slice in it.
        positive_patients: Those of them with a positive slice in it.
        negative_patients: Those with a negative slice in it.
        slice: Counts of its slices.
        study: Counts of the studies with a slice in it.
        too_small: Fewer patients than a figure asks for: then there is none.
        metrics: `slice_auroc`, `slice_sensitivity`, `slice_specificity`, `study_auroc`; those at a threshold are at the
            operating point of the model, else at Youden's.
    """

    group: str
    n_patients: int
    positive_patients: int
    negative_patients: int
    slice: Counts
    study: Counts
    too_small: bool
    metrics: dict[str, Estimate]


class Triage(msgspec.Struct, frozen=True):
    """What reading flagged studies first would change, for the label that sums up the others.

    Attributes:
        label: Name of the label.
        threshold: Studies with at least this probability are read first.
        arrivals: "poisson" for random arrivals, "recorded" for the times of the table.
        studies_per_hour: Rate of arrival.
        minutes_per_study: Reading time.
        minutes_sooner: Mean over the positive studies: wait of first come, first served minus wait with triage.
        minutes_later: Likewise over the negative studies, the other way round.
        wait_of_positive: Mean wait of a positive study with triage, in minutes.
        wait_first_come: Mean wait of a positive study, first come, first served, in minutes.
        slices_for_95: Share of all slices that must be reviewed, the most probable first, to see 95 % of the positives.
        false_alarms_per_100: Flagged studies among 100 without the finding.
    """

    label: str
    threshold: float
    arrivals: Literal["poisson", "recorded"]
    studies_per_hour: float
    minutes_per_study: float
    minutes_sooner: Estimate
    minutes_later: Estimate
    wait_of_positive: Estimate
    wait_first_come: Estimate
    slices_for_95: Estimate
    false_alarms_per_100: Estimate


class Metrics(msgspec.Struct, frozen=True):
    """What `metrics.json` holds. Dotted names of docs/cli.md are paths: `slice.any.auroc` is slice -> any -> auroc.

    Attributes:
        n_patients: Number of patients.
        n_studies: Number of studies.
        n_slices: Number of scored slices.
        weighted_log_loss: The score of the RSNA 2019 challenge with the loss weights of the task.
        slice: Metrics of slices.
        study: Metrics of studies; a study is scored by the study rule of the task.
        counts: Rows behind the metrics, by level and label.
        thresholds: Operating points of the model for slices, by label. Empty where none is known.
        study_thresholds: Likewise for studies; empty where `thresholds` are for both.
        resamples: Number of resamples of the patients.
        seed: Seed of the resamples.
        operating_points: Named operating points, by level.
        study_rules: Metrics of studies by the rule that scores a study: max, noisy_or, top_k_mean, learned.
        subgroups: Parts of the slices, by the attribute that parts them.
        triage: Reading the flagged studies first; None without a positive and a negative study.
        model: Name, version and digest of the model, as far as known.
        dataset: Layout, split and digest of the prepared dataset, as far as known.
        warnings: What a reader should know about how predictions and labels came together.
        leakage: What predictions and training data share, one sentence each; empty where nothing was found.
        leakage_search: What was compared to find it, in words; "" where nothing was.
        disclaimer: What these figures are not.
        schema_version: `METRICS_SCHEMA_VERSION`.
    """

    n_patients: int
    n_studies: int
    n_slices: int
    weighted_log_loss: Estimate
    slice: Level
    study: Level
    counts: dict[str, dict[str, Counts]]
    thresholds: dict[str, float]
    resamples: int
    seed: int
    operating_points: dict[str, OperatingPoints] = {}
    study_rules: dict[str, Level] = {}
    subgroups: dict[str, tuple[Subgroup, ...]] = {}
    triage: Triage | None = None
    study_thresholds: dict[str, float] = {}
    model: dict[str, str] = {}
    dataset: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    leakage: tuple[str, ...] = ()
    leakage_search: str = ""
    disclaimer: str = ""
    schema_version: int = METRICS_SCHEMA_VERSION


class Difference(msgspec.Struct, frozen=True):
    """One model minus another.

    Attributes:
        value: The difference of the two numbers.
        low: Lower end of its paired 95 % interval.
        high: Upper end.
        p_value: Two-sided, from the same resamples: how often the difference changes its sign, twice.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None


class DeLong(msgspec.Struct, frozen=True):
    """The difference of two AUROC of studies by the method of DeLong, a cross-check that needs no resampling.

    Attributes:
        difference: First minus second, with the normal 95 % interval.
        p_value: Two-sided.
    """

    difference: Estimate
    p_value: float | None


class Differences(msgspec.Struct, frozen=True):
    """One model minus another, on the same slices and the same resamples.

    Attributes:
        weighted_log_loss: Below 0 if the first model is better.
        slice: Differences of the metrics of slices that need no operating point.
        study: Likewise of studies.
        delong: Differences of the AUROC of studies by DeLong's method, by label.
    """

    weighted_log_loss: Difference
    slice: dict[str, dict[str, Difference]]
    study: dict[str, dict[str, Difference]]
    delong: dict[str, DeLong] = {}


def metrics_schema() -> dict[str, Any]:
    """Returns the JSON schema of `metrics.json`."""
    return msgspec.json.schema(Metrics)


def estimate(value: float, resampled: Floats, *, is_biased: bool = False) -> Estimate:
    """Returns a number with its interval from its values in the resamples.

    Args:
        value: The number.
        resampled: Shape (resamples,).
        is_biased: It is a distance, never below 0 and too large by chance. A resample is too large once more, so the
            interval is reflected about the number (the basic interval, Davison and Hinkley 1997, section 5.2), ends at
            0, and is never without the number itself.
    """
    low, high = percentile_interval(resampled) if math.isfinite(value) else (math.nan, math.nan)
    if is_biased and math.isfinite(low):
        low, high = min(value, max(0.0, 2.0 * value - high)), max(value, 2.0 * value - low)
    return Estimate(*map(or_none, (value, low, high)))


def difference(value: float, resampled: Floats) -> Difference:
    """Returns a difference with its interval and p value from its values in the resamples.

    The p value is twice the smaller share of resamples on one side of 0, one resample added to each (Efron and
    Tibshirani 1993, section 16.4, by the inversion of the interval).
    """
    found = estimate(value, resampled)
    if found.low is None:
        return Difference(found.value, None, None, None)
    defined = resampled[[math.isfinite(number) for number in resampled]]
    smaller = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return Difference(found.value, found.low, found.high, min(1.0, 2.0 * (smaller + 1) / (len(defined) + 1)))


def or_none(number: float) -> float | None:
    """Returns a finite number; None for any other."""
    return float(number) if math.isfinite(number) else None
