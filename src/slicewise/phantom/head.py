"""A whole head on the grid of the template, before any scanner: anatomy, mimics and hemorrhages put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.brain import Brain, render_brain
from slicewise.phantom.fields import Field, Point, blend, soft
from slicewise.phantom.hemorrhages.model import Hemorrhage
from slicewise.phantom.hemorrhages.render import render_hemorrhages
from slicewise.phantom.lesions import paint_lesions
from slicewise.phantom.skull import render_skull
from slicewise.phantom.surgery import paint_surgery
from slicewise.phantom.template import BRAIN_BOX, HEAD_BOX, base_maps
from slicewise.phantom.vessels import paint_arteries, paint_dura

AIR, FAT, SOFT_TISSUE, BONE, CSF, GREY, WHITE, BLOOD = range(8)
TISSUES = ("air", "fat", "soft tissue", "bone", "csf", "grey matter", "white matter", "blood")
"""Names of the classes of `RenderedHead.tissue`."""


@dataclass(frozen=True, eq=False)
class RenderedHead:
    """A head with its hemorrhages on a regular grid of the template. Fields have the shape (planes, rows, columns).

    Attributes:
        hu: Hounsfield units; air is -1000.
        wall_mm: Distance to the inner table, positive in the cranial cavity: drives beam hardening near the bone.
        tissue: Class of every voxel, of `TISSUES`: what MR contrasts are made from.
        occupancy: Share of every voxel that is blood of a subtype, for the subtypes that are there.
        hemorrhages: The hemorrhages that were planned, with their measured volumes.
        origin_mm: Template coordinates (x, y, z) of the first voxel's centre.
        spacing_mm: Distance between voxels along z, y, x.
    """

    hu: Field
    wall_mm: Field
    tissue: npt.NDArray[np.uint8]
    occupancy: dict[str, Field]
    hemorrhages: tuple[Hemorrhage, ...]
    origin_mm: Point
    spacing_mm: tuple[float, float, float]


def render_head(
    anatomy: Anatomy, hemorrhages: tuple[Hemorrhage, ...], rng: np.random.Generator, *, tissue: bool = True
) -> RenderedHead:
    """Draws a head.

    Args:
        anatomy: Whose head.
        hemorrhages: What bleeds in it.
        rng: Draws deformation, texture and ragged borders.
        tissue: False to leave the tissue classes out (all air), where nothing is made from them.
    """
    # One stream a part, so that a mimic or a bleed more leaves the rest of the head as it is.
    skull_rng, brain_rng, mimic_rng, blood_rng = rng.spawn(4)
    hu, skull = render_skull(anatomy, skull_rng)
    paint_surgery(hu, skull, anatomy, mimic_rng)
    bleeding = tuple(one.push for one in hemorrhages if one.push is not None)
    inside, brain = render_brain(anatomy, brain_rng, (*anatomy.pushes, *bleeding))
    paint_dura(inside, brain, anatomy)
    paint_arteries(inside, brain, anatomy)
    paint_lesions(inside, brain, anatomy, mimic_rng)
    blood = render_hemorrhages(brain.grid, brain, hemorrhages, blood_rng, inside)
    place = BRAIN_BOX.within(HEAD_BOX)
    cavity = soft(brain.wall_mm)
    blend(hu[place], cavity, inside)
    occupancy = {}
    for name, share in blood.occupancy.items():
        whole = np.zeros(HEAD_BOX.shape, dtype=np.float32)
        whole[place] = share
        occupancy[name] = whole
    x, y, z = HEAD_BOX.low
    return RenderedHead(
        hu=hu,
        wall_mm=base_maps().wall_mm,
        tissue=_classes(hu, brain, occupancy) if tissue else np.zeros(HEAD_BOX.shape, dtype=np.uint8),
        occupancy=occupancy,
        hemorrhages=blood.hemorrhages,
        origin_mm=(float(x), float(y), float(z)),
        spacing_mm=HEAD_BOX.spacing_mm,
    )


def _classes(hu: Field, brain: Brain, occupancy: dict[str, Field]) -> npt.NDArray[np.uint8]:
    """The class that fills most of every voxel."""
    classes = np.digitize(hu, (-500.0, -20.0, 200.0)).astype(np.uint8)  # air, fat, soft tissue, bone: 0 to 3
    place = BRAIN_BOX.within(HEAD_BOX)
    within = classes[place]
    inside = (brain.wall_mm > 0) & (within == SOFT_TISSUE)
    within[inside] = np.where(brain.white > 0.5, WHITE, GREY)[inside]
    within[inside & ((brain.csf > 0.5) | (brain.ventricle_mm > 0) | (hu[place] < 17))] = CSF
    for share in occupancy.values():
        classes[share > 0.5] = BLOOD
    return classes
