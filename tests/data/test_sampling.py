from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.data.labels import Labels
from slicewise.data.sampling import draw_epoch, expected_showings


def with_whole_sum(showings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    scale: float = np.ceil(showings.sum() - 1e-6) / showings.sum()
    return showings * scale


SHOWINGS = st.lists(st.floats(0.01, 4), min_size=1, max_size=40).map(lambda values: with_whole_sum(np.array(values)))
SEEDS = st.tuples(st.integers(0, 2**32), st.integers(0, 100))

# "a" is positive in 4 of 8 slices, "b" in 1 of the 4 where it is known.
LABELS: Labels = np.array(
    [[1, 0], [1, 1], [1, -1], [1, -1], [0, -1], [0, -1], [0, 0], [0, 0]],
    dtype=np.int8,
)


def shown(keys: npt.NDArray[np.int64], slices: int) -> npt.NDArray[np.int64]:
    return np.bincount(keys % slices, minlength=slices)


@pytest.mark.parametrize(
    ("negative_share", "repeat_below", "of_a", "of_b"),
    [
        (1.0, 0.0, 1.0, 1.0),
        (0.25, 0.0, 1.0, 1.0),
        (0.25, 0.25, 1.0, 1.0),  # b is as frequent as the threshold
        (0.25, 0.5, 1.0, 2**0.5),
        (1.0, 1.0, 2**0.5, 2.0),
    ],
)
def test_positives_are_repeated_by_the_root_of_their_rarity(
    negative_share: float, repeat_below: float, of_a: float, of_b: float
) -> None:
    showings = expected_showings(LABELS, negative_share=negative_share, repeat_below=repeat_below)
    np.testing.assert_allclose(showings, with_whole_sum(np.array([of_a, of_b, of_a, of_a, *[negative_share] * 4])))
    assert showings.sum() == pytest.approx(round(showings.sum()))


def test_a_label_that_is_nowhere_known_or_positive_changes_nothing() -> None:
    without = np.concatenate([LABELS, np.full((8, 1), -1, np.int8), np.zeros((8, 1), np.int8)], axis=1)
    options = {"negative_share": 0.5, "repeat_below": 1.0}
    np.testing.assert_array_equal(expected_showings(without, **options), expected_showings(LABELS, **options))
    assert expected_showings(LABELS[:0], **options).shape == (0,)


@given(SHOWINGS, SEEDS)
def test_a_slice_comes_as_often_as_its_average_rounded_up_or_down(
    showings: npt.NDArray[np.float64], seed: tuple[int, int]
) -> None:
    keys = draw_epoch(showings, seed)
    counts = shown(keys, len(showings))
    assert len(keys) == round(showings.sum())
    assert np.all((counts == np.floor(showings)) | (counts == np.ceil(showings)))


@given(SHOWINGS, SEEDS)
def test_occurrences_of_a_slice_have_keys_of_their_own(
    showings: npt.NDArray[np.float64], seed: tuple[int, int]
) -> None:
    keys, slices = draw_epoch(showings, seed), len(showings)
    expected = [index + slices * turn for index, count in enumerate(shown(keys, slices)) for turn in range(count)]
    assert sorted(keys.tolist()) == sorted(expected)


@given(SHOWINGS, st.integers(0, 2**32))
def test_epochs_are_of_one_size_and_repeat_for_their_seed(showings: npt.NDArray[np.float64], seed: int) -> None:
    epochs = [draw_epoch(showings, (seed, epoch)) for epoch in range(4)]
    assert len({len(epoch) for epoch in epochs}) == 1
    assert np.array_equal(draw_epoch(showings, (seed, 2)), epochs[2])


@given(st.integers(0, 50), SEEDS)
def test_without_sampling_every_slice_comes_once(slices: int, seed: tuple[int, int]) -> None:
    keys = draw_epoch(np.ones(slices), seed)
    assert sorted(keys.tolist()) == list(range(slices))


def test_a_slice_that_is_one_of_few_to_be_repeated_is_repeated() -> None:
    labels = np.zeros((100, 1), np.int8)
    labels[0] = 1
    showings = expected_showings(labels, negative_share=1.0, repeat_below=0.0225)
    assert showings[0] == pytest.approx(1.5 * 101 / 100.5)
    times = [shown(draw_epoch(showings, (0, epoch)), 100)[0] for epoch in range(2000)]
    assert np.mean(times) == pytest.approx(showings[0], abs=0.05)


def test_every_epoch_has_an_order_and_a_choice_of_its_own() -> None:
    epochs = [draw_epoch(np.full(40, 0.5), (0, epoch)) for epoch in range(5)]
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 5
    assert all(np.any(np.diff(epoch) < 0) for epoch in epochs)


@pytest.mark.parametrize(("negative_share", "repeat_below"), [(0.3, 0.0), (1.0, 0.4), (0.3, 0.4)])
def test_weighted_by_what_they_stand_for_labels_are_as_frequent_as_they_are(
    negative_share: float, repeat_below: float
) -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 3)) < [0.2, 0.1, 0.02]).astype(np.int8)
    showings = expected_showings(labels, negative_share=negative_share, repeat_below=repeat_below)
    counts = np.zeros(len(labels))
    for epoch in range(2000):
        counts += shown(draw_epoch(showings, (7, epoch)), len(labels))
    # Every slice counts once an epoch on average, whatever it is.
    np.testing.assert_allclose(counts / showings / 2000, 1.0, atol=0.2)
    frequencies = (counts / showings) @ labels / (counts / showings).sum()
    np.testing.assert_allclose(frequencies, labels.mean(axis=0), rtol=0.02)


def test_an_epoch_is_never_empty() -> None:
    negatives = expected_showings(np.zeros((9, 2), np.int8), negative_share=1e-6, repeat_below=0.0)
    assert {len(draw_epoch(negatives, (0, epoch))) for epoch in range(5)} == {1}
