from __future__ import annotations

import numpy as np

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.model import SUBARACHNOID, Hemorrhage
from slicewise.phantom.hemorrhages.subarachnoid import draw_subarachnoid, sample_subarachnoid


def test_blood_follows_the_sulci_and_ends_at_its_reach(round_head: Brain) -> None:
    one = Hemorrhage(SUBARACHNOID, "convexity", (40.0, 0.0, 40.0), (0.1, 24.0, 0.0), Blood("acute", 60.0, 48.0))
    drawing = draw_subarachnoid(round_head.grid, round_head, one, np.random.default_rng(0))
    place = np.stack(round_head.grid.at(drawing.window), axis=-1)
    blood = (drawing.occupancy > 0.4) & (round_head.wall_mm[drawing.window] > 4)
    assert blood.sum() > 50
    assert round_head.pial_mm[drawing.window][blood].max() < 4
    # The centre is moved to 6 mm below the table.
    center = np.array(one.center) / np.linalg.norm(one.center) * 64
    assert np.linalg.norm(place[blood] - center, axis=-1).max() < 24 * 1.9


def test_blood_stays_out_of_the_ventricles(round_head: Brain) -> None:
    one = Hemorrhage(SUBARACHNOID, "sylvian", (10.0, 20.0, 0.0), (0.2, 30.0, 0.0), Blood("acute", 60.0, 48.0))
    drawing = draw_subarachnoid(round_head.grid, round_head, one, np.random.default_rng(1))
    assert drawing.occupancy.max() > 0.5
    assert drawing.occupancy[round_head.ventricle_mm[drawing.window] > 0].max() == 0


def test_samples_are_of_all_kinds_and_widths() -> None:
    found = [sample_subarachnoid(np.random.default_rng(seed)) for seed in range(300)]
    assert {one.kind for one in found} == {
        "aneurysmal",
        "perimesencephalic",
        "convexity",
        "sylvian",
        "interhemispheric",
    }
    assert all(40 <= one.blood.hu <= 90 for one in found)
    assert all(one.push is None for one in found)
    near = sample_subarachnoid(np.random.default_rng(0), "convexity", near=(1.0, 2.0, 3.0))
    assert near.center == (1.0, 2.0, 3.0)
