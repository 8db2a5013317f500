"""What reading flagged studies first would change: minutes to the reading of a bleed, slices to review, false alarms.

One reader takes one study after the other, each for the same time, and never breaks one off. First come, first served
is compared with two queues: studies at or above a threshold first, in each queue by arrival.

Where arrivals are not recorded they are taken as random (Poisson). Then the mean waits are known in closed form (Cobham
1954, doi:10.1287/opre.2.1.70; for triage by software: Thompson et al. 2024, "Applying queueing theory to evaluate
wait-time-savings of triage algorithms"). With load u = rate * time, share f of flagged studies and w = u * time / 2 the
mean wait is w / (1 - u) first come, first served, w / (1 - f u) for a flagged study, and w / ((1 - f u) (1 - u)) for
any other.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.errors import UsageError
from slicewise.evaluation.bootstrap import Draws
from slicewise.evaluation.evidence import Estimate, Triage, estimate
from slicewise.evaluation.measure import LabelMeasure, Resampled
from slicewise.evaluation.metrics import Floats, divide
from slicewise.evaluation.operating_points import MODEL, YOUDEN
from slicewise.evaluation.predictions import PredictionTable, ScoredRows
from slicewise.task import Task

ARRIVAL = "arrival_minutes"
"""Attribute of the slices of a study: when it arrived, in minutes from any start."""

REVIEWED_POINT = "sensitivity_95"
"""The operating point whose flagged slices are those to review."""


@dataclass(frozen=True)
class ReadingRoom:
    """One reader.

    Attributes:
        studies_per_hour: Rate of arrival.
        minutes_per_study: Reading time.
    """

    studies_per_hour: float = 6.0
    minutes_per_study: float = 8.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            UsageError: If one is not above 0.
        """
        if not (self.studies_per_hour > 0 and self.minutes_per_study > 0):
            raise UsageError("studies per hour and minutes per study must be above 0")

    def check_load(self) -> None:
        """Checks that random arrivals can be read.

        Raises:
            UsageError: If studies arrive faster than they are read.
        """
        if self.load >= 1:
            raise UsageError(
                f"{self.studies_per_hour:g} studies an hour of {self.minutes_per_study:g} minutes each are more than "
                "one reader can read: every wait would grow without end. Give fewer, or shorter, studies"
            )

    @property
    def load(self) -> float:
        """Share of the time that the reader is busy."""
        return self.studies_per_hour / 60.0 * self.minutes_per_study


@dataclass(frozen=True, eq=False)
class Waits:
    """Mean waits until reading starts, in minutes, each of shape (resamples,) or one number.

    Attributes:
        first_come: Of any study, first come, first served.
        positive: Of studies with the finding, with triage.
        negative: Of studies without it, with triage.
    """

    first_come: Floats
    positive: Floats
    negative: Floats


def expected_waits(sensitivity: Floats, specificity: Floats, prevalence: Floats, room: ReadingRoom) -> Waits:
    """Returns the mean waits with random arrivals.

    Args:
        sensitivity: Of the flag, on studies, shape (resamples,).
        specificity: Likewise.
        prevalence: Share of studies with the finding.
        room: The reader.
    """
    flagged_share = sensitivity * prevalence + (1.0 - specificity) * (1.0 - prevalence)
    residual = room.load * room.minutes_per_study / 2.0
    first_come = np.full_like(flagged_share, residual / (1.0 - room.load))
    flagged = residual / (1.0 - flagged_share * room.load)
    other = flagged / (1.0 - room.load)
    return Waits(
        first_come=first_come,
        positive=sensitivity * flagged + (1.0 - sensitivity) * other,
        negative=(1.0 - specificity) * flagged + specificity * other,
    )


def recorded_waits(arrivals: Floats, is_flagged: npt.NDArray[np.bool_], minutes: float) -> Floats:
    """Plays a queue with two classes through.

    Args:
        arrivals: When every study arrives, in minutes, shape (studies,).
        is_flagged: Which are read first, shape (studies,); all alike is first come, first served.
        minutes: Reading time of a study.

    Returns:
        How long every study waits for its reading, in minutes, shape (studies,).
    """
    order = np.argsort(arrivals, kind="stable")
    waiting: list[tuple[bool, int, int]] = []
    waits = np.zeros(len(arrivals))
    clock, place = 0.0, 0
    while place < len(order) or waiting:
        if not waiting:
            clock = max(clock, float(arrivals[order[place]]))
        while place < len(order) and arrivals[order[place]] <= clock:
            study = int(order[place])
            heapq.heappush(waiting, (not bool(is_flagged[study]), place, study))
            place += 1
        _, _, study = heapq.heappop(waiting)
        waits[study] = clock - arrivals[study]
        clock += minutes
    return waits


def mean_over(values: Floats, weights: Floats) -> Floats:
    """Averages studies that are drawn several times.

    Args:
        values: One a study, shape (studies,).
        weights: How often each is drawn, shape (studies, resamples).

    Returns:
        Shape (resamples,), nan where none is drawn.
    """
    return divide(values @ weights, weights.sum(axis=0))


def measure_triage(
    table: PredictionTable, task: Task, slices: LabelMeasure, studies: LabelMeasure, *, draws: Draws, room: ReadingRoom
) -> Triage | None:
    """Works triage out for the label that sums up the others, or the first one.

    Studies are flagged at the threshold of the model; without one at Youden's, chosen on these studies.

    Args:
        table: Predictions; arrivals are recorded if every study has the attribute `arrival_minutes`.
        task: Says which label that is, and what a study is.
        slices: What was measured of the slices of that label.
        studies: Likewise of its studies.
        draws: Shape (patients, resamples).
        room: The reader.

    Returns:
        None where there is no study with the finding, none without it, or no threshold.

    Raises:
        UsageError: If arrivals are recorded and one of them is not a number, or if more come at random than one
            reader can read.
    """
    arrivals = recorded_arrivals(table)
    if arrivals is None:
        room.check_load()
    point = MODEL if MODEL in studies.points else YOUDEN
    threshold, found = studies.thresholds[point], studies.points[point]
    if math.isnan(threshold) or not math.isfinite(found.values["sensitivity"] + found.values["specificity"]):
        return None
    label = task.main_index
    rows = table.studies(task)
    specificity = found.resampled["specificity"]
    waits = (
        _expected(rows, label, draws, found, room=room)
        if arrivals is None
        else _played(rows, label, draws, arrivals, threshold=threshold, minutes=room.minutes_per_study)
    )
    reviewed = slices.reviewed[REVIEWED_POINT]
    return Triage(
        label=task.label_names[label],
        threshold=threshold,
        arrivals="poisson" if arrivals is None else "recorded",
        studies_per_hour=room.studies_per_hour if arrivals is None else _rate(arrivals),
        minutes_per_study=room.minutes_per_study,
        slices_for_95=reviewed.estimates()["reviewed"],
        false_alarms_per_100=estimate(100.0 * (1.0 - found.values["specificity"]), 100.0 * (1.0 - specificity)),
        **waits,
    )


def recorded_arrivals(table: PredictionTable) -> Floats | None:
    """Returns when every study arrived, in minutes, shape (studies,); None where the table does not say it of all.

    Raises:
        UsageError: If an arrival is not a number, or a study has two.
    """
    texts = table.attributes.get(ARRIVAL)
    if texts is None or "" in texts:
        return None
    groups = table.study_groups
    first = groups.order[groups.starts]
    if any(text != texts[first[study]] for text, study in zip(texts, groups.study, strict=True)):
        raise UsageError(f"column {ARRIVAL}: a study has two of them; expected one number a study")
    try:
        found = np.array([float(texts[row]) for row in first])
    except ValueError as error:
        raise UsageError(f"column {ARRIVAL}: {error}; expected minutes from any start, one number a study") from error
    if not np.all(np.isfinite(found)):
        raise UsageError(f"column {ARRIVAL}: expected finite minutes from any start, one number a study")
    return found


def _expected(
    rows: ScoredRows, label: int, draws: Draws, found: Resampled, *, room: ReadingRoom
) -> dict[str, Estimate]:
    """Returns the estimates of waits with random arrivals."""
    targets = rows.targets[:, label]
    weights = draws[rows.patients].astype(np.float64)
    positive, known = (targets == 1).astype(np.float64), (targets >= 0).astype(np.float64)
    once = expected_waits(
        np.array([found.values["sensitivity"]]),
        np.array([found.values["specificity"]]),
        np.array([positive.sum() / known.sum()]),
        room,
    )
    often = expected_waits(
        found.resampled["sensitivity"],
        found.resampled["specificity"],
        divide(positive @ weights, known @ weights),
        room,
    )
    return _estimates(once, often)


def _played(
    rows: ScoredRows, label: int, draws: Draws, arrivals: Floats, *, threshold: float, minutes: float
) -> dict[str, Estimate]:
    """Returns the estimates of waits in the recorded order; what the queue gives a study is kept in every resample."""
    flagged = rows.probabilities[:, label] >= threshold
    first_come = recorded_waits(arrivals, np.zeros(len(flagged), dtype=bool), minutes)
    triaged = recorded_waits(arrivals, flagged, minutes)
    targets = rows.targets[:, label]
    weights = draws[rows.patients].astype(np.float64)
    ones = np.ones((len(targets), 1))

    def waits(weights: Floats) -> tuple[Floats, Waits]:
        positive, negative = (weights * (targets == target)[:, None] for target in (1, 0))
        both = Waits(mean_over(first_come, positive), mean_over(triaged, positive), mean_over(triaged, negative))
        return mean_over(first_come, negative), both

    (other_once, once), (other_often, often) = waits(ones), waits(weights)
    return _estimates(once, often) | {
        "minutes_later": estimate(float((once.negative - other_once)[0]), often.negative - other_often)
    }


def _estimates(once: Waits, often: Waits) -> dict[str, Estimate]:
    return {
        "minutes_sooner": estimate(float((once.first_come - once.positive)[0]), often.first_come - often.positive),
        "minutes_later": estimate(float((once.negative - once.first_come)[0]), often.negative - often.first_come),
        "wait_of_positive": estimate(float(once.positive[0]), often.positive),
        "wait_first_come": estimate(float(once.first_come[0]), often.first_come),
    }


def _rate(arrivals: Floats) -> float:
    span = float(np.ptp(arrivals))
    return 60.0 * (len(arrivals) - 1) / span if span > 0 else 0.0
