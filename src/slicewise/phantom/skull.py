"""What is around the brain: scalp and vault, face and neck; `base` draws bones and air below.

Only samples near the shapes are touched: `face` gives them as flat arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slicewise.phantom import face
from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.base import paint_base, paint_orbits
from slicewise.phantom.face import LOWER_BOX
from slicewise.phantom.fields import Field, blend, soft, texture
from slicewise.phantom.template import HEAD_BOX

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU = -1000.0, -95.0, 55.0, 20.0
_TEMPORALIS_MM = 9.0
_NOWHERE = -99.0


@dataclass(frozen=True, eq=False)
class Skull:
    """What mimics need to know of a drawn skull; fields have the shape of `HEAD_BOX`.

    Attributes:
        outer_mm: Distance to the outer table of the vault, positive inside; far from the vault -99.
        scalp_mm: Distance to the skin of the scalp, likewise.
    """

    outer_mm: Field
    scalp_mm: Field


def render_skull(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Field, Skull]:
    """Draws the head without what is inside the cranial cavity.

    Returns:
        HU on `HEAD_BOX`, and what was drawn.
    """
    hu = np.full(HEAD_BOX.shape, AIR_HU, dtype=np.float32)
    rough = np.ascontiguousarray(texture(rng, LOWER_BOX.shape, LOWER_BOX.spacing_mm, 4.5)).reshape(-1)
    uneven = np.ascontiguousarray(texture(rng, LOWER_BOX.shape, LOWER_BOX.spacing_mm, 14.0)).reshape(-1)
    _paint_flesh(hu, rough, uneven)
    skull = _paint_vault(hu, anatomy, rng)
    paint_base(hu, anatomy, rough, uneven, rng)
    paint_orbits(hu, anatomy)
    return hu, skull


def _paint_flesh(hu: Field, rough: Field, uneven: Field) -> None:
    """Skin, fat and muscles of face and neck, with planes of fat between the muscles."""
    shapes = face.flesh()
    rough, uneven = rough[shapes.places], uneven[shapes.places]
    planes = np.abs(np.float32(0.3) * rough + uneven)
    planes *= np.float32(4.5)
    planes -= np.float32(0.3)
    deep = np.minimum(shapes.face - np.float32(11) - 2 * uneven, -10 - shapes.wall)
    muscle = np.maximum(deep, np.minimum(shapes.muscle + uneven, shapes.face - 3))
    tissue = soft(np.minimum(muscle, planes))
    tissue *= np.float32(MUSCLE_HU - FAT_HU)
    tissue += np.float32(FAT_HU) + 6 * rough
    blend(tissue, soft(np.float32(1.8) - shapes.face), SKIN_HU)
    tissue -= np.float32(AIR_HU)
    tissue *= soft(shapes.face)
    tissue += np.float32(AIR_HU)
    hu.reshape(-1)[shapes.places] = tissue


def _paint_vault(hu: Field, anatomy: Anatomy, rng: np.random.Generator) -> Skull:
    """Scalp, temporalis muscle, and the vault: two tables with diploe and sutures between."""
    shapes = face.vault()
    variation = texture(rng, HEAD_BOX.shape, HEAD_BOX.spacing_mm, 24.0).reshape(-1)[shapes.places]
    variation *= np.float32(0.13)
    variation += 1
    thickness = shapes.thickness * variation
    thickness *= np.float32(anatomy.skull_mm)
    thickness *= 1 + np.float32(anatomy.vertex - 1) * shapes.vertex
    outer = np.maximum(shapes.smooth_wall, shapes.wall - np.float32(0.4) * thickness) + thickness
    muscle = outer + np.float32(_TEMPORALIS_MM) * variation * shapes.temporalis
    variation *= np.float32(anatomy.scalp_mm)
    skin = muscle + variation
    tissue = np.full(skin.shape, FAT_HU, dtype=np.float32)
    blend(tissue, soft(np.minimum(muscle, 1 - outer)) * soft(shapes.temporalis - np.float32(0.12), 0.1), MUSCLE_HU)
    blend(tissue, soft(np.minimum(outer + 1.2, -outer)), 20.0)  # galea and periosteum
    blend(tissue, soft(np.float32(1.8) - np.maximum(skin, shapes.face)), SKIN_HU)
    values = hu.reshape(-1)[shapes.places]
    blend(values, soft(skin) * soft(5 - shapes.face), tissue)
    shell = np.minimum(-shapes.wall, outer)
    bone = np.full(skin.shape, anatomy.table_hu, dtype=np.float32)
    marrow = shell - np.float32(0.24) * thickness
    marrow *= np.float32(0.8)
    np.clip(marrow, 0, 1, out=marrow)
    blend(bone, marrow, anatomy.diploe_hu)
    blend(bone, shapes.suture * np.float32(0.7), 150.0)
    blend(values, soft(shell), bone)
    hu.reshape(-1)[shapes.places] = values
    return Skull(_scattered(outer, shapes), _scattered(skin, shapes))


def _scattered(values: Field, shapes: face.Vault) -> Field:
    whole = np.full(HEAD_BOX.shape, _NOWHERE, dtype=np.float32)
    whole.reshape(-1)[shapes.places] = values
    return whole
