from __future__ import annotations

import numpy as np
import pytest

from slicewise.imaging.orientation import Turn, turn_to_canonical
from slicewise.volume import CANONICAL_ORIENTATION, Orientation


def test_canonical_images_stay_as_they_are() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turn = turn_to_canonical(CANONICAL_ORIENTATION)
    np.testing.assert_array_equal(turn.apply(values), values)
    assert turn.grid_in_original((1.0, 2.0), (0.5, 0.25), (3, 4)) == ((1.0, 2.0), (0.5, 0.25))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        # prone, head first: left and back of the patient lie at the first column and row
        ((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), [[9.0, 8.0], [7.0, 6.0], [5.0, 4.0]]),
        # seen from above: only left and right are exchanged
        ((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), [[5.0, 4.0], [7.0, 6.0], [9.0, 8.0]]),
        # on the side: columns count to the front, rows to the left
        ((0.0, -1.0, 0.0, 1.0, 0.0, 0.0), [[5.0, 7.0, 9.0], [4.0, 6.0, 8.0]]),
        # a gantry tilt is no turn in the plane
        ((1.0, 0.0, 0.0, 0.0, 0.9, -0.43589), [[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]]),
    ],
)
def test_turns_worked_out_by_hand(orientation: Orientation, expected: list[list[float]]) -> None:
    image = np.array([[[4, 5], [6, 7], [8, 9]]], dtype=np.float32)
    assert turn_to_canonical(orientation).apply(image)[0].tolist() == expected


def test_a_grid_over_flipped_and_transposed_images() -> None:
    turn = Turn(flip_rows=True, flip_columns=False, transposed=True)
    # Original 10 rows become canonical columns from the last on; the 20 columns become rows.
    origin, step = turn.grid_in_original((3.0, 1.0), (2.0, 0.5), (10, 20))
    assert (origin, step) == ((8.0, 3.0), (-0.5, 2.0))
    assert turn.swap((0.4, 0.6)) == (0.6, 0.4)
