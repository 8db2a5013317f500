from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.epidural import draw_epidural, sample_epidural
from slicewise.phantom.hemorrhages.model import EPIDURAL, Hemorrhage
from slicewise.phantom.hemorrhages.sites import sutures_of

_BLOOD = Blood("acute", 65.0, 53.0)


def _lens(kind: str, center: tuple[float, float, float], thickness: float, reach: float) -> Hemorrhage:
    return Hemorrhage(EPIDURAL, kind, center, (thickness, reach, reach), _BLOOD)


def test_the_lens_lies_on_the_table_and_is_as_thick_and_wide_as_planned(round_head: Brain) -> None:
    one = _lens("temporal", (60.0, 10.0, 10.0), 16.0, 26.0)
    drawing = draw_epidural(round_head.grid, round_head, one, np.random.default_rng(0))
    wall = round_head.wall_mm[drawing.window]
    blood = (drawing.occupancy > 0.5) & (wall > 0)
    assert abs(wall[blood].max() - 16) < 4
    x, y, z = (axis[blood] for axis in round_head.grid.at(drawing.window))
    direction = np.array(one.center) / np.linalg.norm(one.center)
    cosine = (x * direction[0] + y * direction[1] + z * direction[2]) / np.sqrt(x * x + y * y + z * z)
    # A chord of 26 mm on a ball of 70 mm.
    assert np.rad2deg(np.arccos(cosine.min())) < np.rad2deg(2 * np.arcsin(26 / 140)) + 6
    rim = blood & (wall < 3)
    assert 1 < rim.sum() < 0.5 * blood.sum()


def test_the_inner_border_bulges_against_the_brain(round_head: Brain) -> None:
    one = _lens("temporal", (66.0, 0.0, 8.0), 18.0, 30.0)
    drawing = draw_epidural(round_head.grid, round_head, one, np.random.default_rng(1))
    _, y, z = round_head.grid.at(drawing.window)
    x = round_head.grid.x[drawing.window]
    blood = drawing.occupancy > 0.5
    innermost = [x[blood & (np.abs(z - 8) < 3) & (np.abs(np.abs(y) - at) < 2)].min() for at in (0, 10, 20)]
    assert innermost[0] <= innermost[1] < innermost[2]  # the grid has 2 mm


def test_sutures_stop_it(round_head: Brain) -> None:
    one = _lens("temporal", (62.0, -6.0, 20.0), 14.0, 40.0)
    coronal, lambdoid = sutures_of(1.0)
    drawing = draw_epidural(round_head.grid, round_head, one, np.random.default_rng(2))
    x, y, z = round_head.grid.at(drawing.window)
    blood = drawing.occupancy > 0.5
    assert coronal.distance_of(one.center) < 0 < -lambdoid.distance_of((0.0, 80.0, 0.0))
    assert coronal.distance(x, y, z)[blood].max() < 0.5
    assert lambdoid.distance(x, y, z)[blood].min() > -0.5
    assert x[blood].min() > -0.5  # the sagittal one


def test_at_the_vertex_it_crosses_the_midline(round_head: Brain) -> None:
    one = _lens("vertex", (4.0, 2.0, 74.0), 12.0, 30.0)
    drawing = draw_epidural(round_head.grid, round_head, one, np.random.default_rng(3))
    x = round_head.grid.x[drawing.window]
    assert (x[drawing.occupancy > 0.5] < -6).any()


def test_samples_are_biconvex_on_a_head_of_72_mm_and_push_inwards() -> None:
    for seed in range(200):
        one = sample_epidural(np.random.default_rng(seed))
        thickness, reach, _ = one.size_mm
        assert 2.9 < thickness < 32.1
        assert reach**2 / (2 * 72) < thickness  # thicker than the arc of the skull over its chord is high
        assert one.push is not None
        assert np.dot(one.push.displacement, one.center) < 0
    assert sample_epidural(np.random.default_rng(0), side=-1.0).center[0] < 0
