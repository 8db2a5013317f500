from __future__ import annotations

import numpy as np
import pytest

from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Field, HeadGrid


@pytest.fixture(scope="session")
def round_head() -> Brain:
    """A brain without folds in a ball of 70 mm, with a ball of 14 mm as ventricle, on a grid of 2 mm.

    The tentorium is the plane z = -20, the falx the plane x = 0; sulci are the planes where y is a multiple of 20 mm.
    """
    axis = np.arange(-80, 81, 2, dtype=np.float32)
    shape = (len(axis), len(axis), len(axis))
    x, y, z = (np.broadcast_to(axis.reshape(to), shape) for to in ((1, 1, -1), (1, -1, 1), (-1, 1, 1)))
    grid = HeadGrid(x, y, z, (2.0, 2.0, 2.0))
    wall: Field = 70 - np.sqrt(x * x + y * y + z * z)
    sulcus: Field = np.abs((y + 10) % 20 - 10) - 1
    ones = np.ones(shape, dtype=np.float32)
    return Brain(
        grid=grid,
        inner=grid,
        wall_mm=wall,
        pial_mm=np.minimum(sulcus, wall - 1),
        ventricle_mm=14 - np.sqrt(x * x + (y - 20) ** 2 + z * z),
        tent_mm=z + 20,
        falx_mm=x,
        falx_sheet=ones,
        csf=np.clip(0.5 - sulcus, 0, 1),
        cistern=0 * ones,
        white=ones,
    )
