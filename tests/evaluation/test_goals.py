from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.errors import UsageError
from slicewise.evaluation.goals import Goal, parse_goal

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
TARGETS = np.array([0, 0, 1, 0, 1, 0, 1, -1])


def test_goals_are_read() -> None:
    assert parse_goal("youden") == Goal("youden")
    assert parse_goal("sensitivity=0.9") == Goal("sensitivity", 0.9)
    assert parse_goal("specificity=0.95") == Goal("specificity", 0.95)
    for text in ("youden", "sensitivity=0.9", "specificity=0.95"):
        assert str(parse_goal(text)) == text


@pytest.mark.parametrize("text", ["", "youden=0.5", "sensitivity", "sensitivity=", "sensitivity=1", "ppv=0.9", "=0.9"])
def test_what_is_no_goal_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"--goal .*expected youden, sensitivity=X"):
        parse_goal(text)


@pytest.mark.parametrize("text", ["sensitivity=nan", "specificity=0", "specificity=-0.5", "sensitivity=90%"])
def test_a_share_lies_between_0_and_1(text: str) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        parse_goal(text)


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal("sensitivity", 0.9), 0.25),  # all of three, midway to the score below
        (Goal("sensitivity", 2 / 3), 0.45),  # two of three
        (Goal("sensitivity", 0.3), 0.65),
        (Goal("specificity", 0.95), 0.65),  # all of four
        (Goal("specificity", 0.75), 0.45),  # three of four
        (Goal("specificity", 0.5), 0.25),
        (Goal("youden"), 0.25),  # 1 + 1/2: of equal ones the lowest
    ],
)
def test_thresholds_are_those_worked_out_by_hand(goal: Goal, expected: float) -> None:
    assert goal.threshold(SCORES, TARGETS) == pytest.approx(expected)


def test_without_the_class_that_counts_there_is_no_threshold() -> None:
    positive, negative = np.ones(8, dtype=int), np.zeros(8, dtype=int)
    assert Goal("sensitivity", 0.9).threshold(SCORES, negative) is None
    assert Goal("specificity", 0.9).threshold(SCORES, positive) is None
    assert Goal("youden").threshold(SCORES, positive) is None
    assert Goal("sensitivity", 0.9).threshold(SCORES, positive) == pytest.approx(0.05)
    assert Goal("specificity", 0.9).threshold(SCORES, negative) == pytest.approx(0.9)


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.sampled_from([-1, 0, 1])), min_size=1, max_size=40),
    st.floats(0.01, 0.99),
)
def test_a_goal_is_met_by_as_little_as_possible(rows: list[tuple[float, int]], share: float) -> None:
    scores, targets = (np.array(column) for column in zip(*rows, strict=True))
    threshold = Goal("sensitivity", share).threshold(scores, targets)
    positives, negatives = scores[targets == 1], scores[targets == 0]
    if threshold is not None:
        assert (positives >= threshold).mean() >= share - 1e-6
        above = positives[positives > positives[positives >= threshold].min()]
        assert len(above) / len(positives) < share + 1e-6
    threshold = Goal("specificity", share).threshold(scores, targets)
    if threshold is not None and negatives.max() < 1:
        assert (negatives < threshold).mean() >= share - 1e-6


def test_what_a_goal_rests_on_is_counted() -> None:
    assert Goal("sensitivity", 0.9).deciding(TARGETS) == (3, "positive studies")
    assert Goal("specificity", 0.9).deciding(TARGETS) == (4, "negative studies")
    assert Goal("youden").deciding(TARGETS) == (3, "studies of the rarer class")
