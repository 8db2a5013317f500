from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from slicewise.phantom.anatomy import Anatomy, sample_anatomy
from slicewise.phantom.fields import Field
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.skull import Skull, render_skull
from slicewise.phantom.template import HEAD_BOX, base_maps

OFF = MimicParameters(**dict.fromkeys(MimicParameters.__struct_fields__, 0.0))


@lru_cache(maxsize=1)
def _anatomy() -> Anatomy:
    return sample_anatomy(np.random.default_rng(4), OFF)


def _rendered(**changes: object) -> tuple[Field, Skull]:
    return render_skull(replace(_anatomy(), **changes), np.random.default_rng(0))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _usual() -> tuple[Field, Skull]:
    return _rendered()


def _at(image: Field, x: float, y: float, z: float) -> float:
    low, steps = HEAD_BOX.low, HEAD_BOX.steps
    index = tuple(round((value - low[axis]) / steps[axis]) for axis, value in ((2, z), (1, y), (0, x)))
    return float(image[index])


def test_the_vault_closes_the_cavity_all_around() -> None:
    hu, _ = _usual()
    wall = base_maps().wall_mm
    just_outside = (wall < -1.5) & (wall > -2.5) & (HEAD_BOX.grid().z > 10)
    assert (hu[just_outside] > 250).mean() > 0.985  # sutures are open lines


def test_the_vault_is_as_thick_as_asked() -> None:
    thick = []
    for skull_mm in (5.0, 9.0):
        _, skull = _rendered(skull_mm=skull_mm, vertex=1.0)
        wall, z = base_maps().wall_mm, HEAD_BOX.grid().z
        surface = (np.abs(wall) < 1) & (z > 40) & (z < 60)
        thick.append(float((skull.outer_mm - wall)[surface].mean()))
    assert thick[0] == pytest.approx(5.0, abs=1.0)
    assert thick[1] / thick[0] == pytest.approx(9 / 5, abs=0.05)


def test_the_vault_may_be_thinner_at_the_vertex_alone() -> None:
    def thick(vertex: float, lowest: float, highest: float) -> float:
        _, skull = _rendered(skull_mm=8.0, vertex=vertex)
        wall, z = base_maps().wall_mm, HEAD_BOX.grid().z
        surface = (np.abs(wall) < 1) & (z > lowest) & (z < highest)
        return float((skull.outer_mm - wall)[surface].mean())

    assert thick(0.6, 72, 90) / thick(1.0, 72, 90) == pytest.approx(0.6, abs=0.05)
    assert thick(0.6, 0, 25) == pytest.approx(thick(1.0, 0, 25), abs=0.05)


def test_diploe_lies_between_denser_tables() -> None:
    hu, skull = _rendered(skull_mm=9.0, table_hu=1500.0, diploe_hu=500.0)
    depth = -base_maps().wall_mm
    shell = (HEAD_BOX.grid().z > 20) & (skull.outer_mm > 0) & (depth > 0)
    middle = shell & (np.abs(depth - skull.outer_mm) < 1)
    tables = shell & ((np.abs(depth - 1.2) < 0.3) | (np.abs(skull.outer_mm - 1.2) < 0.3))
    assert np.median(hu[middle]) < 700
    assert np.median(hu[tables]) > 1200


@pytest.mark.parametrize(
    ("place", "low", "high"),
    [
        ((32.0, -84.0, -41.0), 0, 25),  # vitreous body
        ((31.0, -72.0, -69.0), -1001, -900),  # maxillary sinus
        ((0.0, -20.0, -76.0), -1001, -900),  # nasopharynx
        ((24.0, -66.0, -33.0), -150, 70),  # orbit
        ((0.0, 31.0, -90.0), 20, 50),  # spinal cord
        ((38.0, 13.0, -36.0), 300, 1900),  # petrous pyramid
        ((0.0, -18.0, -26.0), 30, 55),  # pituitary gland
        ((0.0, -128.0, 40.0), -1001, -999),
    ],
)
def test_landmarks_have_their_densities(place: tuple[float, float, float], low: float, high: float) -> None:
    hu, _ = _rendered(sinus_fluid=0.0)
    assert low <= _at(hu, *place) <= high


def test_fluid_fills_the_back_of_a_sinus_of_a_patient_on_the_back() -> None:
    hu, _ = _rendered(sinus_fluid=0.7)
    plain, _ = _rendered(sinus_fluid=0.0)
    filled = (plain < -900) & (np.abs(hu - 24) < 30)
    assert filled.sum() > 100


def test_pneumatisation_of_the_mastoids_can_be_chosen() -> None:
    grid = HEAD_BOX.grid()
    mastoid = (np.abs(np.abs(grid.x) - 60) < 8) & (np.abs(grid.y - 33) < 10) & (np.abs(grid.z + 48) < 12)
    airy, sclerotic = ((_rendered(mastoid=share)[0][mastoid] < -400).mean() for share in (1.0, 0.0))
    assert airy > 3 * sclerotic
    assert airy > 0.15


def test_the_head_ends_in_skin_and_air() -> None:
    hu, skull = _usual()
    outside = (skull.scalp_mm > -8) & (skull.scalp_mm < -2) & (HEAD_BOX.grid().z > 30)
    assert (hu[outside] == -1000).all()
    skin = (np.abs(skull.scalp_mm - 1.2) < 0.3) & (HEAD_BOX.grid().z > 30)
    assert np.median(hu[skin]) > -40
    fat = (skull.scalp_mm > 3.0) & (skull.outer_mm < -2.0) & (HEAD_BOX.grid().z > 45)
    assert np.median(hu[fat]) == pytest.approx(-95, abs=10)
