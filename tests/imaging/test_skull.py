from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from slicewise.imaging.skull import FARTHEST_MM, find_skull
from slicewise.volume import FloatImages

Mask = npt.NDArray[np.bool_]


def plain_distance(bone: Mask, positions_mm: npt.NDArray[np.float64], pixel_mm: tuple[float, float]) -> FloatImages:
    """Distance to the surface of bone, slice by slice and pair by pair, by SciPy's transform."""
    squared = np.full(bone.shape, FARTHEST_MM**2, dtype=np.float32)
    for index, image in enumerate(bone):
        if image.any():
            within = ndimage.distance_transform_edt(~image, sampling=pixel_mm) - min(pixel_mm) / 2
            squared[index] = np.clip(within, 0, FARTHEST_MM) ** 2
    nearest = squared.copy()
    for index, position in enumerate(positions_mm):
        for other, at in enumerate(positions_mm):
            if at != position:
                nearest[index] = np.minimum(nearest[index], squared[other] + np.float32((at - position) ** 2))
    return np.sqrt(nearest)


@pytest.mark.parametrize("pixel_mm", [(2.6, 2.6), (3.0, 3.0), (3.90625, 3.90625), (10.0, 10.0), (2.0, 2.7)])
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.9])
@pytest.mark.parametrize(
    "positions_mm",
    [[0.0], [0.0, 5.0, 10.0, 15.0], [0.0, 5.0, 5.0, 6.2, 60.0, 300.0]],
    ids=["one slice", "even", "duplicate and gaps"],
)
def test_distances_are_those_of_the_plain_form_bit_for_bit(
    pixel_mm: tuple[float, float], share: float, positions_mm: list[float]
) -> None:
    positions = np.array(positions_mm)
    bone = np.random.default_rng(0).random((len(positions), 61, 47)) < share
    values = np.where(bone, 800.0, 30.0).astype(np.float32)
    skull = find_skull(values, positions, pixel_mm, 1.0)  # a pixel a node
    np.testing.assert_array_equal(skull.bone, bone)
    np.testing.assert_array_equal(skull.distance_mm, plain_distance(bone, positions, pixel_mm))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_a_single_row_or_column_has_distances(shape: tuple[int, int]) -> None:
    values = np.full((1, *shape), 30.0, dtype=np.float32)
    values[0, 0, 0] = 800.0
    distance = find_skull(values, np.zeros(1), (2.0, 2.0), 2.0).distance_mm.ravel()
    np.testing.assert_allclose(distance, np.clip(2.0 * np.arange(distance.size) - 1.0, 0, FARTHEST_MM), rtol=1e-6)
