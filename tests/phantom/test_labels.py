from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.phantom.labels import LABELS, UNKNOWN, blood_areas_mm2, labels_from_areas


def test_the_rule_by_hand() -> None:
    areas = np.array([[0, 0, 0, 0, 0], [3.9, 0, 0, 0, 0], [4, 0, 0, 0, 0], [15, 4, 0, 0, 0], [0, 0, 14.9, 0, 400]])
    expected = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [UNKNOWN, UNKNOWN, 0, 0, 0, 0],
        [1, 1, UNKNOWN, 0, 0, 0],
        [1, 0, 0, UNKNOWN, 0, 1],
    ]
    np.testing.assert_array_equal(labels_from_areas(areas), expected)
    assert LABELS[0] == "any"


@given(st.lists(st.lists(st.floats(0, 100), min_size=5, max_size=5), min_size=1, max_size=4))
def test_any_follows_from_the_subtypes(rows: list[list[float]]) -> None:
    labels = labels_from_areas(np.array(rows))
    for summary, *subtypes in labels.tolist():
        assert summary == (1 if 1 in subtypes else UNKNOWN if UNKNOWN in subtypes else 0)


def test_areas_are_the_visible_occupancy() -> None:
    field = np.zeros((2, 10, 10), dtype=np.float32)
    field[0, :4, :5] = 0.5  # 20 pixels of a quarter mm2, half full
    field[1] = 0.05  # a smear below what can be seen: 1.25 mm2 in all
    areas = blood_areas_mm2({"subdural": field}, 0.5)
    assert areas.tolist() == [[0, 0, 0, 0, pytest.approx(2.5)], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("thickness_mm", "expected"),
    [(0.6, [1] * 8), (5.0, [1]), (7.5, [UNKNOWN])],
)
def test_a_dot_of_five_millimetres_at_every_thickness(thickness_mm: float, expected: list[int]) -> None:
    """A cube of 4.8 mm, 23 mm2 in section, in the middle of slices that hold as much of it as they can."""
    side, count = 4.8, len(expected)
    share = min(side / (count * thickness_mm), 1.0)  # of every slice's thickness
    field = np.zeros((count, 24, 24), dtype=np.float32)
    field[:, 4:20, 4:20] = share  # 16 pixels of 0.3 mm
    labels = labels_from_areas(blood_areas_mm2({"intraparenchymal": field}, 0.3))
    assert labels[:, LABELS.index("intraparenchymal")].tolist() == expected
