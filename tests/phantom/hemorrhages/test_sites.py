from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.sites import FOSSA, moved_inside, sutures_of, table_point, vault_point


def test_a_ray_meets_the_table_where_the_wall_is(round_head: Brain) -> None:
    place = table_point(round_head.grid, round_head.wall_mm, (30.0, 20.0, 40.0), (0.0, 0.0, 0.0))
    assert np.linalg.norm(place) == pytest.approx(70, abs=2)
    assert np.array(place) / np.linalg.norm(place) == pytest.approx(np.array((30, 20, 40)) / np.sqrt(2900), abs=0.02)


def test_what_lies_too_near_to_the_table_moves_inwards_and_nothing_else_does(round_head: Brain) -> None:
    moved = moved_inside(round_head.grid, round_head.wall_mm, (0.0, -75.0, 8.0), 6.0)
    assert 70 - np.linalg.norm(moved) == pytest.approx(7, abs=2.5)
    assert moved_inside(round_head.grid, round_head.wall_mm, (10.0, 20.0, 30.0), 6.0) == (10.0, 20.0, 30.0)


def test_sides_and_directions() -> None:
    assert vault_point(0.0, 0.0, 1.0) == pytest.approx((67.0, 0.0, 8.0))
    assert vault_point(0.0, 0.0, -1.0)[0] == pytest.approx(-67.0)
    assert vault_point(90.0, 0.0, 1.0)[1] == pytest.approx(87.0)
    assert vault_point(0.0, 90.0, 1.0)[2] == pytest.approx(78.0)
    assert vault_point(90.0, 0.0, 1.0, FOSSA)[1] == pytest.approx(FOSSA[1] + 46)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_sutures_run_through_their_landmarks_and_frontal_lies_in_front(side: float) -> None:
    coronal, lambdoid = sutures_of(side)
    assert coronal.distance_of((0.0, -30.0, 76.0)) == pytest.approx(0, abs=1e-9)  # bregma
    assert lambdoid.distance_of((side * 58.0, 56.0, -30.0)) == pytest.approx(0, abs=1e-9)  # asterion
    assert coronal.distance_of((side * 30.0, -80.0, 20.0)) > 20
    assert lambdoid.distance_of((side * 8.0, 80.0, -10.0)) < -10  # occipital
    assert lambdoid.distance_of((side * 50.0, 50.0, 40.0)) > 20  # parietal
    assert np.linalg.norm(coronal.normal) == pytest.approx(1)
