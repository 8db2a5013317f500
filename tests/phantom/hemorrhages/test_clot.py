from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.fields import HeadGrid
from slicewise.phantom.hemorrhages.blood import Blood, sample_blood
from slicewise.phantom.hemorrhages.clot import density
from slicewise.phantom.hemorrhages.model import Drawing


@pytest.fixture
def ball() -> tuple[HeadGrid, Drawing]:
    z, y, x = np.meshgrid(*[np.arange(-16, 17, 2, dtype=np.float32)] * 3, indexing="ij")
    depth = 15 - np.sqrt(x * x + y * y + z * z)
    window = (slice(0, 17), slice(0, 17), slice(0, 17))
    return HeadGrid(x, y, z, (2.0, 2.0, 2.0)), Drawing(window, np.clip(depth + 0.5, 0, 1), depth)


def test_clot_has_its_density_everywhere(ball: tuple[HeadGrid, Drawing]) -> None:
    hu = density(np.random.default_rng(0), Blood("acute", 70.0, 58.0), *ball)
    assert hu.mean() == pytest.approx(70, abs=1.5)
    assert hu.std() < 4


def test_a_level_is_denser_towards_the_back(ball: tuple[HeadGrid, Drawing]) -> None:
    grid, drawing = ball
    hu = density(np.random.default_rng(0), Blood("acute", 70.0, 35.0, "level"), grid, drawing)
    inside = drawing.occupancy > 0.5
    assert hu[inside & (grid.y > 10)].mean() == pytest.approx(70, abs=4)
    assert hu[inside & (grid.y < -8)].mean() == pytest.approx(35, abs=4)


def test_old_blood_fades_from_its_border(ball: tuple[HeadGrid, Drawing]) -> None:
    grid, drawing = ball
    hu = density(np.random.default_rng(0), Blood("subacute", 60.0, 32.0, "fading"), grid, drawing)
    assert hu[drawing.depth > 11].mean() == pytest.approx(60, abs=3)
    assert hu[(drawing.depth > 0) & (drawing.depth < 2)].mean() < 40


@pytest.mark.parametrize("texture", ["swirl", "flecked", "mixed"])
def test_mixtures_have_both_densities(ball: tuple[HeadGrid, Drawing], texture: str) -> None:
    wide = HeadGrid(ball[0].x * 3, ball[0].y * 3, ball[0].z * 3, (6.0, 6.0, 6.0))
    hu = density(np.random.default_rng(3), Blood("acute", 80.0, 30.0, texture), wide, ball[1])
    assert (hu > 70).mean() > 0.1
    assert (hu < 40).mean() > 0.02


def test_blood_is_of_40_to_90_hu_and_never_thinner_than_its_thin_part() -> None:
    textures = {"clot": 1.0, "swirl": 1.0, "level": 1.0, "fading": 1.0, "flecked": 1.0, "mixed": 1.0}
    found = [sample_blood(np.random.default_rng(seed), textures) for seed in range(300)]
    assert all(40 <= blood.hu <= 90 and blood.thin_hu < blood.hu for blood in found)
    assert {blood.age for blood in found} == {"hyperacute", "acute", "subacute", "chronic"}
