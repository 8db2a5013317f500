"""How blood looks in CT: by age, by how much of it has clotted, by haematocrit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slicewise.phantom.hemorrhages.draws import choose

HYPERACUTE, ACUTE, SUBACUTE, CHRONIC = "hyperacute", "acute", "subacute", "chronic"
AGES = (HYPERACUTE, ACUTE, SUBACUTE, CHRONIC)

CLOT, SWIRL, LEVEL, FADING, FLECKED, MIXED = "clot", "swirl", "level", "fading", "flecked", "mixed"
"""Whole; with islands of fresh blood; with a fluid level; lysed from its border; mixed with tissue; in old blood."""


@dataclass(frozen=True)
class Blood:
    """How blood looks in CT.

    Attributes:
        age: One of `AGES`: hours, up to three days, up to three weeks, older.
        hu: Density of clot.
        thin_hu: Density of what is not clotted: fresh blood of a swirl, serum above a level, lysed blood.
        texture: How the two are distributed, one of `TEXTURES`.
    """

    age: str
    hu: float
    thin_hu: float
    texture: str = CLOT


def sample_blood(rng: np.random.Generator, textures: Mapping[str, float]) -> Blood:
    """Draws blood of 40 to 90 HU whose age fits its texture.

    Args:
        rng: Where everything is drawn from.
        textures: How often each texture comes.
    """
    texture = choose(rng, textures)
    hu = float(np.clip(rng.normal(66, 8), 50, 90))
    if rng.random() < 0.08:  # anaemia
        hu = float(rng.uniform(42, 52))
    if texture == SWIRL:
        return Blood(HYPERACUTE, min(hu, 72.0), float(rng.uniform(30, 45)), texture)
    if texture == FADING:
        return Blood(SUBACUTE, float(rng.uniform(44, 64)), float(rng.uniform(28, 38)), texture)
    if texture == LEVEL:
        return Blood(ACUTE, hu, float(rng.uniform(20, 42)), texture)
    if texture == MIXED:
        return Blood(CHRONIC, float(rng.uniform(50, 68)), float(rng.uniform(20, 34)), texture)
    if texture == FLECKED:
        return Blood(ACUTE, hu, float(rng.uniform(30, 38)), texture)
    return Blood(HYPERACUTE if rng.random() < 0.2 else ACUTE, hu, hu - 12, texture)
