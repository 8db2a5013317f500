from __future__ import annotations

import msgspec
import pytest

from evaluated import measured, simulated_table
from slicewise.evaluation.evidence import Counts, Estimate, Metrics
from slicewise.reporting.evaluation_wording import (
    estimate_text,
    model_name,
    number_text,
    summary_sentences,
    triage_sentences,
)
from slicewise.task import Task


@pytest.fixture(scope="module")
def metrics(task: Task) -> Metrics:
    return measured(simulated_table(task), task)


def with_slope(metrics: Metrics, task: Task, slope: Estimate) -> Metrics:
    name = task.label_names[task.main_index]
    return msgspec.structs.replace(metrics, slice=metrics.slice | {name: {"calibration_slope": slope}})


@pytest.mark.parametrize(
    ("slope", "meaning"),
    [
        (Estimate(0.5, 0.4, 0.6), "too extreme"),
        (Estimate(1.5, 1.4, 1.6), "too timid"),
        (Estimate(1.0, 0.9, 1.1), "neither too extreme nor too timid"),
    ],
)
def test_the_summary_says_what_the_calibration_slope_means(
    metrics: Metrics, task: Task, slope: Estimate, meaning: str
) -> None:
    (sentence,) = [text for text in summary_sentences(with_slope(metrics, task, slope), task) if "slope" in text]
    assert meaning in sentence


def test_the_summary_warns_of_few_positives(metrics: Metrics, task: Task) -> None:
    many = {name: Counts(50, 50, 0) for name in task.label_names}
    few = many | {task.label_names[1]: Counts(9, 91, 0)}
    for counts, expected in ((many, []), (few, [task.labels[1].display])):
        changed = msgspec.structs.replace(metrics, counts={"slice": many, "study": counts})
        told = [text for text in summary_sentences(changed, task) if text.startswith("Fewer than 10")]
        assert [text.rpartition(": ")[2] for text in told] == [f"{display}." for display in expected]


def test_triage_is_told_in_minutes(metrics: Metrics, task: Task) -> None:
    assert metrics.triage is not None
    displays = {label.name: label.display for label in task.labels}
    room, gain, cost, _ = triage_sentences(metrics.triage, displays)
    assert (
        f"6 studies arrive an hour, at random (Poisson). Those with at least 0.300 for “{task.labels[0].display}”"
        in room
    )
    assert f"is read {estimate_text(metrics.triage.minutes_sooner, digits=1)} minutes sooner" in gain
    assert estimate_text(metrics.triage.false_alarms_per_100, digits=1) in cost
    recorded = msgspec.structs.replace(metrics.triage, arrivals="recorded")
    assert "at their recorded times" in triage_sentences(recorded, displays)[0]


def test_a_model_without_a_name_is_this_model(metrics: Metrics) -> None:
    assert model_name(msgspec.structs.replace(metrics, model={})) == "this model"


def test_zeros_have_no_minus() -> None:
    assert (number_text(-0.0001), number_text(-0.0001, "+"), number_text(-0.1)) == ("0.000", "+0.000", "-0.100")
