from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.hemorrhages.blood import Blood
from slicewise.phantom.hemorrhages.model import (
    INTRAPARENCHYMAL,
    INTRAVENTRICULAR,
    SUBARACHNOID,
    SUBDURAL,
    Hemorrhage,
)
from slicewise.phantom.hemorrhages.render import RenderedBlood, render_hemorrhages

_BLOOD = Blood("acute", 70.0, 58.0)
_HEMATOMA = Hemorrhage(INTRAPARENCHYMAL, "lobar", (30.0, -10.0, 30.0), (12.0, 12.0, 12.0), _BLOOD)
_CRESCENT = Hemorrhage(SUBDURAL, "convexity", (50.0, 0.0, 40.0), (8.0, 80.0, 50.0), _BLOOD)
_SULCAL = Hemorrhage(SUBARACHNOID, "convexity", (45.0, 0.0, 45.0), (0.15, 28.0, 0.0), _BLOOD)
_POOL = Hemorrhage(INTRAVENTRICULAR, "dependent", (24.0, 60.0, 0.0), (10.0, 8.0, 2.5), _BLOOD)
_ALL = (_SULCAL, _HEMATOMA, _CRESCENT, _POOL)


def _rendered(brain: Brain, hemorrhages: tuple[Hemorrhage, ...], seed: int = 0) -> tuple[RenderedBlood, np.ndarray]:
    hu = np.full(brain.wall_mm.shape, 30, dtype=np.float32)
    return render_hemorrhages(brain.grid, brain, hemorrhages, np.random.default_rng(seed), hu), hu


def test_blood_has_its_density_and_nothing_else_outside_a_rim_changes(round_head: Brain) -> None:
    found, hu = _rendered(round_head, (_HEMATOMA,))
    occupancy = found.occupancy[INTRAPARENCHYMAL]
    assert hu[occupancy > 0.95].mean() == pytest.approx(70, abs=3)
    x, y, z = (
        axis - at
        for axis, at in zip((round_head.grid.x, round_head.grid.y, round_head.grid.z), _HEMATOMA.center, strict=True)
    )
    away = np.sqrt(x * x + y * y + z * z)
    assert hu[(away < 18) & (occupancy == 0)].mean() < 28.5  # oedema
    assert (hu[away > 40] == 30).all()


def test_volumes_are_those_of_the_occupancies_and_stay_with_their_hemorrhages(round_head: Brain) -> None:
    found, _ = _rendered(round_head, _ALL)
    assert [one.subtype for one in found.hemorrhages] == [one.subtype for one in _ALL]
    for one in found.hemorrhages:
        voxel_ml = 8 / 1000
        assert one.volume_ml == pytest.approx(found.occupancy[one.subtype].sum(dtype=float) * voxel_ml, rel=1e-4)
        assert one.volume_ml > 0.1


def test_subtypes_share_a_voxel_at_most_once_and_stay_in_the_cavity(round_head: Brain) -> None:
    found, _ = _rendered(round_head, _ALL)
    total = sum(found.occupancy.values(), start=np.zeros_like(round_head.wall_mm))
    assert total.max() <= 1 + 1e-5
    assert min(field.min() for field in found.occupancy.values()) >= 0
    assert (total[round_head.wall_mm < -1] == 0).all()


def test_the_same_seed_draws_the_same_and_another_does_not(round_head: Brain) -> None:
    (_, first), (_, second), (_, other) = (_rendered(round_head, _ALL, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_contusion_planned_in_the_bone_is_moved_into_the_brain(round_head: Brain) -> None:
    outside = Hemorrhage(INTRAPARENCHYMAL, "contusion", (30.0, -72.0, 8.0), (5.0, 5.0, 5.0), _BLOOD)
    found, _ = _rendered(round_head, (outside,))
    assert found.hemorrhages[0].volume_ml > 0.25


@pytest.mark.parametrize("kind", ["tumour", "infarct"])
def test_what_bled_is_seen_around_the_blood(round_head: Brain, kind: str) -> None:
    one = Hemorrhage(INTRAPARENCHYMAL, kind, (36.0, -10.0, 30.0), (8.0, 8.0, 8.0), _BLOOD)
    found, hu = _rendered(round_head, (one,))
    occupancy = found.occupancy[INTRAPARENCHYMAL]
    dark = (hu < 27) & (occupancy == 0)
    assert dark.sum() * 8 / 1000 > 2  # ml
    solid = (hu > 33) & (occupancy == 0)
    assert (solid.sum() * 8 / 1000 > 0.3) == (kind == "tumour")
