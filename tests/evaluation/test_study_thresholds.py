from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from slicewise.evaluation.calibration import choose_threshold
from slicewise.evaluation.study_thresholds import choose_study_thresholds, equal_odds_threshold


def test_between_mirrored_classes_it_lies_in_the_middle() -> None:
    scores = special.expit(np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]))
    assert equal_odds_threshold(scores, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(0.5)
    # The same, moved by 1 on the logit: e / (1 + e).
    moved = special.expit(special.logit(scores) + 1.0)
    assert equal_odds_threshold(moved, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(np.e / (1.0 + np.e))


def test_it_is_where_a_logistic_regression_gives_the_share_of_positives() -> None:
    generator = np.random.default_rng(0)
    targets = (generator.random(90) < 0.3).astype(np.int8)
    logits = generator.normal(-2.0 + 2.5 * targets, 1.5)
    found = equal_odds_threshold(special.expit(logits), targets)
    assert found is not None
    standard = (logits - logits.mean()) / logits.std()
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(standard[:, None], targets)
    at_threshold = (special.logit(found) - logits.mean()) / logits.std()
    assert reference.predict_proba([[at_threshold]])[0, 1] == pytest.approx(targets.mean(), abs=1e-5)


def test_it_varies_less_than_the_plain_point_and_is_as_good() -> None:
    # Normal scores of equal spread at -1 and 1: the best point is at the logit 0 whatever the share of positives.
    generator = np.random.default_rng(1)
    targets = (np.arange(60) < 12).astype(np.int8)
    smooth, plain = [], []
    for _ in range(100):
        scores = special.expit(generator.normal(2.0 * targets - 1.0, 1.0))
        found = equal_odds_threshold(scores, targets)
        assert found is not None
        smooth.append(special.logit(found))
        plain.append(special.logit(choose_threshold(scores, targets)))
    assert np.mean(smooth) == pytest.approx(0.0, abs=0.15)
    assert np.std(smooth) < 0.5 * np.std(plain)


def test_probabilities_of_0_and_1_are_scores_too() -> None:
    found = equal_odds_threshold(np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.array([0, 0, 0, 1, 1, 1]))
    assert found == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ([0.1, 0.2, 0.3, 0.8, 0.9], [0, 0, 0, 1, 1]),
        ([0.1, 0.2, 0.7, 0.8, 0.9], [0, 0, 1, 1, 1]),
        ([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1, -1]),
        ([0.9, 0.8, 0.7, 0.3, 0.2, 0.1], [0, 0, 0, 1, 1, 1]),
        ([0.4] * 6, [0, 0, 0, 1, 1, 1]),
        # Both classes have the same scores: no slope, or one that is rounding.
        ([0.1, 0.5, 0.9] * 4, [1] * 3 + [0] * 9),
        ([0.05, 0.2, 0.3, 0.7] * 3, [1] * 4 + [0] * 8),
    ],
)
def test_studies_that_cannot_set_one(scores: list[float], targets: list[int]) -> None:
    assert equal_odds_threshold(np.array(scores), np.array(targets)) is None


def test_no_study_is_flagged_without_a_slice() -> None:
    # The studies would set 0.5 for all labels; slices have 0.2, 0.7, and of the third label there are two positives.
    column = special.expit(np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]))
    targets = np.tile(np.array([[0], [0], [0], [1], [1], [1]]), 3)
    targets[3, 2] = -1
    found = choose_study_thresholds(np.tile(column[:, None], 3), targets, {"a": 0.2, "b": 0.7, "c": 0.1})
    assert found.thresholds == {"a": pytest.approx(0.5), "b": 0.7, "c": 0.1}
    assert found.kept == ("c",)
