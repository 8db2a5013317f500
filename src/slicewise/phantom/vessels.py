"""Dura, venous sinuses and arteries: dense, normal, and like a thin bleed."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.brain import Brain
from slicewise.phantom.fields import Field, Shape, Tube, blend, mirrored, soft

_STRAIGHT_SINUS = Tube(((0.0, 29.0, 9.0), (0.0, 46.0, -3.0), (0.0, 72.0, -22.0)), (1.6, 1.9, 2.3))
_SIGMOID_SINUS = Tube(
    ((55.0, 38.0, -27.0), (54.0, 24.0, -34.0), (45.0, 20.0, -48.0), (33.0, 14.0, -56.0)), (3.4, 3.6, 3.4, 3.6)
)
_MIDLINE_ARTERIES = (
    Tube(
        ((0.0, 2.0, -58.0), (0.0, -4.0, -44.0), (0.0, -9.0, -30.0), (0.0, -7.0, -20.0)), (1.5, 1.6, 1.5, 1.3)
    ),  # basilar
    Tube(
        ((1.0, -27.0, -14.0), (0.5, -44.0, -4.0), (0.5, -48.0, 8.0), (0.5, -34.0, 30.0)), (1.1, 1.1, 1.0, 0.6)
    ),  # pericallosal
)
_PAIRED_ARTERIES = (
    Tube(((13.0, -16.0, -27.0), (12.0, -22.0, -22.0), (11.0, -19.0, -14.0)), (2.0, 2.0, 1.7)),  # carotid siphon
    Tube(((11.0, -19.0, -14.0), (22.0, -20.0, -15.0), (34.0, -20.0, -14.0)), (1.5, 1.5, 1.3)),  # M1
    Tube(((34.0, -20.0, -14.0), (40.0, -12.0, -4.0), (42.0, 2.0, 8.0)), (1.2, 1.0, 0.8)),  # M2
    Tube(((11.0, -19.0, -14.0), (5.0, -25.0, -14.0), (1.0, -27.0, -14.0)), (1.1, 1.1, 1.0)),  # A1
    Tube(
        ((0.0, -7.0, -20.0), (9.0, -3.0, -19.0), (17.0, 8.0, -15.0), (14.0, 22.0, -8.0)), (1.2, 1.1, 1.0, 0.7)
    ),  # posterior
    Tube(((8.0, 18.0, -68.0), (5.0, 8.0, -62.0), (0.0, 2.0, -58.0)), (1.5, 1.5, 1.5)),  # vertebral
)


def paint_dura(hu: Field, brain: Brain, anatomy: Anatomy) -> None:
    """Paints falx, tentorium and the venous sinuses onto an image on `BRAIN_BOX`, in place."""
    wall = brain.wall_mm
    blood = anatomy.blood_hu + anatomy.contrast_hu
    dura = anatomy.dura_hu + 0.15 * anatomy.contrast_hu
    middle = brain.grid.window((-9.0, -92.0, -30.0), (9.0, 92.0, 88.0))
    x, y, _ = brain.grid.at(middle)
    off = np.abs(brain.falx_mm[middle])
    sheet = soft(np.float32(0.6) - off) * brain.falx_sheet[middle]
    blend(hu[middle], sheet, dura)
    # The superior sagittal sinus: a triangle under the inner table that grows towards the back.
    grown = (np.float32(2.2) + np.clip(y + 70, 0, 150) * np.float32(0.025)) * np.float32(anatomy.vein_mm)
    sinus = np.minimum(2 * grown - np.maximum(wall[middle], 0) - np.float32(1.2) * np.abs(x), wall[middle] + 1)
    blend(hu[middle], soft(sinus) * soft(brain.tent_mm[middle] + 4, 3.0) * soft(y + 76, 6.0), blood)
    back = brain.grid.window((-76.0, 2.0, -46.0), (76.0, 92.0, 16.0))
    x, y, _ = brain.grid.at(back)
    above = np.abs(brain.tent_mm[back])
    notch = (np.sqrt((x / 17) ** 2 + ((y - 8) / 21) ** 2) - 1) * 14
    # Nearly parallel to the slices: a soft edge, or the sampling of the map would show.
    sheet = soft(np.minimum(np.float32(0.1) - above, notch), 2.4) * soft(y - 10, 5.0)
    blend(hu[back], sheet, dura)
    right, left = (size * anatomy.vein_mm for size in anatomy.transverse)
    radius = np.where(x > 0, np.float32(4.0 * left), np.float32(4.0 * right))
    transverse = radius - np.hypot(wall[back] - 0.6 * radius, brain.tent_mm[back] + 1)
    transverse = np.minimum(transverse, y - 34)
    blend(hu[back], soft(transverse), blood)
    _paint(hu, brain, _widened(_STRAIGHT_SINUS, anatomy.vein_mm), blood)
    for side, size in zip(mirrored(_SIGMOID_SINUS), (left, right), strict=True):
        _paint(hu, brain, _widened(side, size), blood)


def paint_arteries(hu: Field, brain: Brain, anatomy: Anatomy) -> None:
    """Paints the circle of Willis and what leaves it onto an image on `BRAIN_BOX`, in place."""
    for tube in (*_MIDLINE_ARTERIES, *(side for pair in _PAIRED_ARTERIES for side in mirrored(pair))):
        _paint(hu, brain, tube, anatomy.blood_hu - 4 + anatomy.contrast_hu)
    for mimic in anatomy.mimics:
        if mimic.kind == "dense_artery":
            basilar = mimic.form == "basilar"
            left, right = mirrored(_PAIRED_ARTERIES[1])
            tube = _MIDLINE_ARTERIES[0] if basilar else (left if mimic.side > 0 else right)
            _paint(hu, brain, tube, mimic.hu)


def _paint(hu: Field, brain: Brain, tube: Shape, value: float) -> None:
    window = brain.grid.window(*tube.box(6.0))
    blend(hu[window], soft(tube.depth(*brain.inner.at(window))) * soft(brain.wall_mm[window] + 1), value)


def _widened(tube: Shape, size: float) -> Tube:
    assert isinstance(tube, Tube)
    return Tube(tube.points, tuple(size * radius for radius in tube.radii))
