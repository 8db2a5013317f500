from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.imaging.neighbours import neighbour_rows

# How many rows lie at every position.
POSITIONS = st.lists(st.integers(1, 3), min_size=1, max_size=12)


def ranks_of(rows_at: list[int]) -> list[int]:
    return [rank for count in rows_at for rank in range(count)]


@pytest.mark.parametrize(
    ("rows_at", "neighbours", "expected"),
    [
        ([1, 1, 1], 0, [[0], [1], [2]]),
        ([1, 1, 1], 1, [[0, 0, 1], [0, 1, 2], [1, 2, 2]]),
        ([1], 2, [[0, 0, 0, 0, 0]]),
        ([1, 1], 2, [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]),
        # Rows 0 and 1 lie at one position, rows 3, 4 and 5 at another.
        ([2, 1, 3], 1, [[0, 0, 2], [0, 1, 2], [0, 2, 3], [2, 3, 3], [2, 4, 3], [2, 5, 3]]),
    ],
)
def test_rows_below_itself_and_above(rows_at: list[int], neighbours: int, expected: list[list[int]]) -> None:
    assert neighbour_rows(np.array(ranks_of(rows_at)), neighbours).tolist() == expected


@given(POSITIONS, st.integers(0, 4))
def test_neighbours_are_the_first_rows_of_the_positions_beside(rows_at: list[int], neighbours: int) -> None:
    rows = neighbour_rows(np.array(ranks_of(rows_at)), neighbours)
    assert rows.shape == (sum(rows_at), 2 * neighbours + 1)
    position_of = [position for position, count in enumerate(rows_at) for _ in range(count)]
    first_at = [position_of.index(position) for position in range(len(rows_at))]
    for row, position in enumerate(position_of):
        for offset in range(-neighbours, neighbours + 1):
            beside = min(max(position + offset, 0), len(rows_at) - 1)
            assert rows[row, neighbours + offset] == (row if offset == 0 else first_at[beside])


@given(POSITIONS, st.integers(0, 4))
def test_a_series_turned_over_has_its_neighbours_turned_over(rows_at: list[int], neighbours: int) -> None:
    rows = neighbour_rows(np.zeros(len(rows_at), dtype=np.int64), neighbours)
    assert np.array_equal(len(rows_at) - 1 - rows[::-1, ::-1], rows)
