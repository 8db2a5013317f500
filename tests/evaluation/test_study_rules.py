from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.study_rules import LEARNED, highest, noisy_or, score_studies, top_k_mean
from slicewise.task import Task

SLICES = np.array([[0.1], [0.9], [0.5], [0.3], [0.2], [0.6]])
STARTS = np.array([0, 4])


def test_rules_by_hand() -> None:
    assert highest(SLICES, STARTS)[:, 0] == pytest.approx([0.9, 0.6])
    assert noisy_or(SLICES, STARTS)[:, 0] == pytest.approx([1 - 0.9 * 0.1 * 0.5 * 0.7, 1 - 0.8 * 0.4])
    assert top_k_mean(SLICES, STARTS, k=3)[:, 0] == pytest.approx([(0.9 + 0.5 + 0.3) / 3, (0.6 + 0.2) / 2])


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_one_slice_of_a_study_is_scored_as_it_is_and_rules_keep_their_order(values: list[float]) -> None:
    slices = np.array(values)[:, None]
    alone = np.arange(len(values))
    for rule in (highest, noisy_or, top_k_mean):
        np.testing.assert_allclose(rule(slices, alone), slices, atol=2e-6)
    together = np.array([0])
    assert top_k_mean(slices, together)[0, 0] <= highest(slices, together)[0, 0] + 1e-12
    assert highest(slices, together)[0, 0] <= noisy_or(slices, together)[0, 0] + 2e-6


def many_studies(table: PredictionTable, patients: int, seed: int = 0) -> PredictionTable:
    """Positive studies have three raised slices, negative ones a single artefact that is brighter still."""
    generator = np.random.default_rng(seed)
    slices = 10
    positive = np.repeat(generator.random(patients) < 0.5, slices)
    place = np.tile(np.arange(slices), patients)
    values = np.where(positive & (place < 3), 0.7, np.where(~positive & (place == 0), 0.8, 0.1))
    values = np.clip(values + generator.normal(0, 0.05, len(values)), 0.001, 0.999)
    targets = (positive & (place < 3)).astype(np.int8)
    names = tuple(f"p{number}" for number in np.repeat(np.arange(patients), slices))
    count = len(names)
    return replace(
        table,
        patient_ids=names,
        study_uids=names,
        series_uids=names,
        sop_uids=tuple(map(str, range(count))),
        frames=(1,) * count,
        files=("",) * count,
        slice_index=tuple(place.tolist()),
        positions_mm=np.multiply(place, 5.0, dtype=np.float64),
        probabilities=np.stack([values, values], axis=1).astype(np.float32),
        targets=np.stack([targets, targets], axis=1),
    )


def test_the_learned_rule_finds_what_the_largest_slice_misses(table: PredictionTable, task: Task) -> None:
    rules = score_studies(many_studies(table, 60), task)
    targets = rules[LEARNED].targets[:, 0]
    learned, largest = (rules[name].probabilities[:, 0] for name in (LEARNED, "max"))
    assert learned[targets == 1].min() > learned[targets == 0].max()
    assert largest[targets == 1].mean() < largest[targets == 0].mean()


def test_the_learned_rule_never_learns_from_the_patient_it_scores(table: PredictionTable, task: Task) -> None:
    # Targets without any relation to the scores: a rule that knew its patients would be better than chance.
    scored = many_studies(table, 200)
    random = np.repeat((np.random.default_rng(5).random(200) < 0.5).astype(np.int8), 10)
    rules = score_studies(replace(scored, targets=np.stack([random, random], axis=1)), task)
    targets, learned = rules[LEARNED].targets[:, 0], rules[LEARNED].probabilities[:, 0]
    wins = (learned[targets == 1][:, None] > learned[targets == 0][None]).mean()
    assert 0.3 < wins < 0.6


def test_few_patients_have_no_learned_rule(table: PredictionTable, task: Task) -> None:
    assert LEARNED not in score_studies(many_studies(table, 12), task)


def test_a_label_too_rare_to_learn_is_not_measured_as_learned(table: PredictionTable, task: Task) -> None:
    scored = many_studies(table, 60)
    targets = scored.targets.copy()
    targets[50:, 1] = 0
    learned = score_studies(replace(scored, targets=targets), task)[LEARNED]
    assert set(learned.targets[:, 0].tolist()) == {0, 1}
    assert set(learned.targets[:, 1].tolist()) == {-1}
