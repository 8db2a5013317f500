from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slicewise.inference.axial import axial_positions, fusion_passes, primary_rows
from slicewise.task import load_task


def test_positions_are_mm_from_the_first_slice_or_the_index() -> None:
    positions = np.array([-12.5, -7.5, 1.0])
    task = load_task("ich")
    np.testing.assert_allclose(axial_positions(positions, task), [0, 5, 13.5])
    np.testing.assert_allclose(axial_positions(positions, msgspec.structs.replace(task, axial_unit="index")), [0, 1, 2])


def test_without_duplicates_there_is_one_pass() -> None:
    passes = list(fusion_passes(np.zeros(4, dtype=np.int64)))
    assert len(passes) == 1
    np.testing.assert_array_equal(passes[0][0], [0, 1, 2, 3])


def test_duplicates_are_read_in_the_place_of_their_twin() -> None:
    passes = [(list(rows), list(kept)) for rows, kept in fusion_passes(np.array([0, 0, 1, 2, 0, 1]))]
    assert passes == [
        ([0, 1, 4], [0, 1, 2]),
        ([0, 2, 5], [1, 2]),
        ([0, 3, 4], [1]),
    ]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_every_row_is_scored_once_among_one_row_a_position(counts: list[int]) -> None:
    ranks = np.concatenate([np.arange(count) for count in counts])
    position = np.repeat(np.arange(len(counts)), counts)
    scored: list[int] = []
    for rows, kept in fusion_passes(ranks):
        np.testing.assert_array_equal(position[rows], np.arange(len(counts)))
        scored += rows[kept].tolist()
    assert sorted(scored) == list(range(len(ranks)))
    np.testing.assert_array_equal(position[primary_rows(ranks)], np.arange(len(counts)))
