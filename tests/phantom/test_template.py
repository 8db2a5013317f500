from __future__ import annotations

import numpy as np
import pytest

from slicewise.errors import MissingExtraError
from slicewise.phantom import template
from slicewise.phantom.template import BRAIN_BOX, HEAD_BOX, Box, base_maps, inner_table, template_point


def _map(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    base = base_maps()
    packed = base.packed.view(np.uint8).reshape(*base.packed_shape, 8)
    return packed[::2, ::2, ::2, number]  # on BRAIN_BOX


def _index(point: tuple[float, float, float], box: Box) -> tuple[int, int, int]:
    x, y, z = (round((value - low) / step) for value, low, step in zip(point, box.low, box.steps, strict=True))
    return z, y, x


def test_a_box_knows_its_coordinates_and_its_part_of_a_larger_one() -> None:
    grid = BRAIN_BOX.grid()
    assert grid.x.shape == BRAIN_BOX.shape == (81, 185, 153)
    assert (grid.x[0, 0, 0], grid.y[0, 0, 0], grid.z[0, 0, 0]) == (-76, -92, -72)
    assert grid.spacing_mm == (2.0, 1.0, 1.0)
    part = BRAIN_BOX.within(HEAD_BOX)
    np.testing.assert_array_equal(HEAD_BOX.grid().y[part], grid.y)
    np.testing.assert_array_equal(HEAD_BOX.grid().z[part], grid.z)


def test_maps_have_the_shapes_of_their_grids() -> None:
    base = base_maps()
    assert base.wall_mm.shape == HEAD_BOX.shape
    assert base.packed_shape == (161, 369, 305)
    assert base.packed.size == 161 * 369 * 305
    assert _map(template.CSF).shape == BRAIN_BOX.shape


def test_the_cavity_is_as_large_as_that_of_a_large_head() -> None:
    litres = (base_maps().wall_mm[BRAIN_BOX.within(HEAD_BOX)] > 0).sum() * 2e-6
    # The brain of the template has 1.9 l with its sulci; the cavity is that, grown by 1.5 mm.
    assert 1.85 < litres < 2.35


def test_the_wall_is_a_distance() -> None:
    wall = base_maps().wall_mm
    vault = wall[70:95]
    slope = np.sqrt(sum(np.square(part) for part in np.gradient(vault, 2.0, 1.0, 1.0)))
    near = np.abs(vault) < 8
    assert np.median(slope[near]) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize(
    ("mni", "number", "low", "high"),
    [
        ((-24, -30, 40), template.WHITE, 200, 255),  # corona radiata
        ((6, 12, 12), template.VENTRICLE, template.VENTRICLE_ZERO, 255),  # frontal horn
        ((0, -44, -32), template.VENTRICLE, template.VENTRICLE_ZERO, 255),  # fourth ventricle
        ((30, -60, 40), template.VENTRICLE, 0, template.VENTRICLE_ZERO - 20),
        ((25, -63, -40), template.TENT, 0, template.TENT_ZERO),  # cerebellum: below
        ((20, -80, 10), template.TENT, template.TENT_ZERO + 1, 255),  # occipital lobe: above
        ((0, -16, -18), template.CISTERN, 150, 255),  # interpeduncular cistern
        ((12, -18, 8), template.NUCLEUS, 150, 255),  # thalamus
        ((40, -30, 50), template.NUCLEUS, 0, 0),
    ],
)
def test_landmarks_lie_where_atlases_of_mni_space_have_them(
    mni: tuple[float, float, float], number: int, low: int, high: int
) -> None:
    assert low <= _map(number)[_index(template_point(mni), BRAIN_BOX)] <= high


def test_rays_meet_the_inner_table_where_the_wall_is() -> None:
    wall = base_maps().wall_mm
    for direction in ((1.0, 0.0, 0.2), (0.0, 1.0, 0.3), (-0.3, -1.0, 0.4), (0.1, 0.1, 1.0)):
        point = inner_table(direction)
        assert np.dot(point, direction) > 0
        assert abs(wall[_index(point, HEAD_BOX)]) < 1.6  # within a voxel


def test_says_what_to_install_where_nilearn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"slicewise\[phantom\]"):
        base_maps.__wrapped__()
