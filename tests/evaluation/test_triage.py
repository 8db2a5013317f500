from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slicewise.errors import UsageError
from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.triage import ReadingRoom, expected_waits, mean_over, recorded_waits
from slicewise.task import Task


def number(value: float | None) -> float:
    assert value is not None
    return value


def test_a_short_queue_by_hand() -> None:
    # Reading takes 10 minutes. Three come at once, the third is flagged; a fourth comes when the reader is idle again.
    arrivals = np.array([0.0, 0.0, 0.0, 100.0])
    first_come = recorded_waits(arrivals, np.zeros(4, dtype=bool), 10.0)
    np.testing.assert_array_equal(first_come, [0.0, 10.0, 20.0, 0.0])
    triaged = recorded_waits(arrivals, np.array([False, False, True, False]), 10.0)
    np.testing.assert_array_equal(triaged, [10.0, 20.0, 0.0, 0.0])


def test_a_reading_is_never_broken_off() -> None:
    waits = recorded_waits(np.array([0.0, 1.0, 2.0]), np.array([False, False, True]), 10.0)
    np.testing.assert_array_equal(waits, [0.0, 19.0, 8.0])


def test_expected_waits_are_those_of_a_long_simulation() -> None:
    generator = np.random.default_rng(1)
    room, studies = ReadingRoom(6.0, 8.0), 200_000
    arrivals = np.cumsum(generator.exponential(10.0, studies))
    positive = generator.random(studies) < 0.3
    flagged = np.where(positive, generator.random(studies) < 0.9, generator.random(studies) < 0.2)
    expected = expected_waits(np.array([0.9]), np.array([0.8]), np.array([0.3]), room)
    triaged = recorded_waits(arrivals, flagged, 8.0)
    first_come = recorded_waits(arrivals, np.zeros(studies, dtype=bool), 8.0)
    assert first_come.mean() == pytest.approx(expected.first_come[0], rel=0.05)
    assert triaged[positive].mean() == pytest.approx(expected.positive[0], rel=0.05)
    assert triaged[~positive].mean() == pytest.approx(expected.negative[0], rel=0.05)


def test_the_order_of_a_queue_does_not_change_the_mean_wait() -> None:
    expected = expected_waits(np.array([0.7]), np.array([0.6]), np.array([0.2]), ReadingRoom())
    assert 0.2 * expected.positive + 0.8 * expected.negative == pytest.approx(expected.first_come)


def test_a_flag_that_says_nothing_saves_nothing() -> None:
    expected = expected_waits(np.array([0.4]), np.array([0.6]), np.array([0.2]), ReadingRoom())
    assert expected.positive == pytest.approx(expected.first_come)


@pytest.mark.parametrize(("rate", "minutes"), [(0.0, 6.0), (6.0, -1.0), (float("nan"), 5.0)])
def test_a_room_needs_times_above_zero(rate: float, minutes: float) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        ReadingRoom(rate, minutes)


def test_a_room_that_cannot_keep_up_is_refused_unless_arrivals_are_recorded(table: PredictionTable, task: Task) -> None:
    room = ReadingRoom(10.0, 6.0)
    with pytest.raises(UsageError, match="more than one reader can read"):
        evaluate(table, task, resamples=0, room=room)
    timed = replace(table, attributes={"arrival_minutes": ("3",) * len(table)})
    assert evaluate(timed, task, resamples=0, room=room).triage is not None


def test_two_arrivals_of_one_study_are_refused(table: PredictionTable, task: Task) -> None:
    timed = replace(table, attributes={"arrival_minutes": tuple(map(str, range(len(table))))})
    with pytest.raises(UsageError, match="a study has two of them"):
        evaluate(timed, task, resamples=0)


def test_means_count_studies_as_often_as_they_are_drawn() -> None:
    found = mean_over(np.array([1.0, 4.0]), np.array([[1.0, 3.0, 0.0], [1.0, 1.0, 0.0]]))
    assert found[:2] == pytest.approx([2.5, 1.75])
    assert np.isnan(found[2])


def test_figures_follow_from_sensitivity_and_specificity_of_studies(table: PredictionTable, task: Task) -> None:
    found = evaluate(table, task, thresholds={"lesion": 0.6}, resamples=100, room=ReadingRoom(4.0, 10.0))
    triage = found.triage
    assert triage is not None
    assert (triage.label, triage.threshold, triage.arrivals) == ("lesion", 0.6, "poisson")
    specificity = number(found.study["lesion"]["specificity"].value)
    assert triage.false_alarms_per_100.value == pytest.approx(100 * (1 - specificity))
    counts = found.counts["study"]["lesion"]
    expected = expected_waits(
        np.array([number(found.study["lesion"]["sensitivity"].value)]),
        np.array([specificity]),
        np.array([counts.positive / (counts.positive + counts.negative)]),
        ReadingRoom(4.0, 10.0),
    )
    assert triage.minutes_sooner.value == pytest.approx(float((expected.first_come - expected.positive)[0]))
    assert triage.minutes_sooner.low is not None


def test_slices_to_review_are_counted_from_the_most_probable_down(table: PredictionTable, task: Task) -> None:
    triage = evaluate(table, task, resamples=20).triage
    assert triage is not None
    values, targets = table.probabilities[:, 1], table.targets[:, 1]
    ordered = targets[np.argsort(-values)]
    needed = int(np.ceil(0.95 * targets.sum()))
    expected = (int(np.flatnonzero(np.cumsum(ordered) >= needed)[0]) + 1) / len(values)
    assert triage.slices_for_95.value == pytest.approx(expected)


def test_recorded_arrivals_are_played_through(table: PredictionTable, task: Task) -> None:
    studies = list(dict.fromkeys(table.study_uids))
    arrival = {study: str(5.0 * place) for place, study in enumerate(studies)}
    timed = replace(table, attributes={"arrival_minutes": tuple(arrival[study] for study in table.study_uids)})
    triage = evaluate(timed, task, thresholds={"lesion": 0.7}, resamples=50).triage
    assert triage is not None
    assert triage.arrivals == "recorded"
    assert triage.studies_per_hour == pytest.approx(12.0)
    rows = timed.studies(task)
    flagged = rows.probabilities[:, 1] >= 0.7
    waits = [recorded_waits(np.arange(0.0, 80.0, 5.0), order, 8.0) for order in (np.zeros(16, dtype=bool), flagged)]
    sooner = (waits[0] - waits[1])[rows.targets[:, 1] == 1].mean()
    assert triage.minutes_sooner.value == pytest.approx(sooner)


def test_an_arrival_that_is_no_number_is_named(table: PredictionTable, task: Task) -> None:
    timed = replace(table, attributes={"arrival_minutes": ("noon",) * len(table)})
    with pytest.raises(UsageError, match="arrival_minutes"):
        evaluate(timed, task, resamples=0)


def test_without_a_negative_study_there_is_no_triage(table: PredictionTable, task: Task) -> None:
    assert evaluate(replace(table, targets=np.ones_like(table.targets)), task, resamples=0).triage is None
