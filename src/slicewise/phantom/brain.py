"""What lies in the cranial cavity: brain, ventricles and CSF; dura and vessels are drawn by `vessels`.

Hounsfield units are those of textbooks: grey matter 35 to 42, white matter 25 to 32, CSF 0 to 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slicewise.phantom import template
from slicewise.phantom.anatomy import Anatomy
from slicewise.phantom.deform import Push, deformation, gathered
from slicewise.phantom.fields import Field, HeadGrid, blend, soft, texture
from slicewise.phantom.folds import Folds, cortex, cut_folds, draw_folds
from slicewise.phantom.template import BRAIN_BOX, HEAD_BOX

__all__ = ["Brain", "Push", "render_brain"]

_SULCUS_SOFTNESS = 0.6
"""Step of the sulcal map over which tissue gives way to CSF: what a slice of the average template leaves of an edge."""

_SULCUS_MM = 5.0
"""Millimetres a unit of the sulcal map, near an edge."""


@dataclass(frozen=True, eq=False)
class Brain:
    """What hemorrhages and mimics need to know of a rendered head; all fields have the shape of `BRAIN_BOX`.

    Attributes:
        grid: Where the samples lie.
        inner: The place of every sample in the template: anatomical coordinates, whatever moved the tissue.
        wall_mm: Distance to the inner table, positive in the cranial cavity.
        pial_mm: Distance to the surface of the brain: negative in sulci, fissures, cisterns and the outer rim.
        ventricle_mm: Distance to the wall of the ventricles, positive inside.
        tent_mm: Height above the tentorium.
        falx_mm: Distance to the plane of the falx, positive on the left.
        falx_sheet: Where the falx is within its plane, in [0, 1].
        csf: Share of CSF outside the ventricles.
        cistern: Near 1 in cisterns and large fissures, near 0 in sulci.
        white: Share of white matter, before CSF.
    """

    grid: HeadGrid
    inner: HeadGrid
    wall_mm: Field
    pial_mm: Field
    ventricle_mm: Field
    tent_mm: Field
    falx_mm: Field
    falx_sheet: Field
    csf: Field
    cistern: Field
    white: Field


def render_brain(anatomy: Anatomy, rng: np.random.Generator, pushes: Sequence[Push]) -> tuple[Field, Brain]:
    """Draws brain and CSF.

    Args:
        anatomy: Sizes and densities.
        rng: Draws deformation and texture.
        pushes: Mass effect of what will be painted onto the brain.

    Returns:
        HU on `BRAIN_BOX`, meaningful inside the cavity, and what was drawn.
    """
    shape = deformation(
        rng,
        shape_mm=anatomy.shape_mm,
        gyri_mm=anatomy.gyri_mm,
        ventricles_mm=anatomy.ventricles_mm,
        pushes=pushes,
    )
    maps = gathered(shape.inner)
    wall = template.base_maps().wall_mm[BRAIN_BOX.within(HEAD_BOX)]
    tent = template.distance(maps[..., template.TENT], template.TENT_ZERO)
    ventricle = template.distance(maps[..., template.VENTRICLE], template.VENTRICLE_ZERO)
    # A part of the widening: tissue that is not pushed aside but lost.
    ventricle += np.float32(np.clip(0.25 * max(anatomy.ventricles_mm), -0.5, 2.0))
    folds = draw_folds(anatomy, rng, shape.inner, shape.effacement) if anatomy.folds else None
    pial = _pial_depth(anatomy, rng, maps, wall, folds=folds, effacement=shape.effacement)
    np.maximum(pial, ventricle, out=pial)  # the ventricles' own CSF is no sulcus
    csf = soft(-pial, _SULCUS_SOFTNESS * _SULCUS_MM)
    white = _white_share(maps)
    if folds is not None:
        cortex(folds, white, anatomy.rim_mm)
    grid = BRAIN_BOX.grid()
    # The falx is tied to the vault: it gives way by a third of what moves the brain beside it.
    falx = grid.x + np.float32(0.35) * (shape.inner.x - grid.x)
    brain = Brain(
        grid=grid,
        inner=shape.inner,
        wall_mm=wall,
        pial_mm=pial,
        ventricle_mm=ventricle,
        tent_mm=tent,
        falx_mm=falx,
        falx_sheet=_falx_sheet(grid, tent),
        csf=csf,
        cistern=template.share(maps[..., template.CISTERN]),
        white=white,
    )
    return _tissue(anatomy, brain, rng), brain


def _tissue(anatomy: Anatomy, brain: Brain, rng: np.random.Generator) -> Field:
    white = brain.white * np.float32(anatomy.white_hu - anatomy.grey_hu)
    if anatomy.leukoaraiosis_hu > 1:
        near = np.exp(np.clip(brain.ventricle_mm, -40, 0) * np.float32(1 / 8))
        white -= brain.white * near * np.float32(anatomy.leukoaraiosis_hu)
    hu: Field = white + np.float32(anatomy.grey_hu)
    hu += texture(rng, hu.shape, BRAIN_BOX.spacing_mm, 9.0) * np.float32(0.8)
    blend(hu, brain.csf, anatomy.csf_hu)
    blend(hu, soft(brain.ventricle_mm, 1.6), anatomy.csf_hu)
    return hu


def _white_share(maps: np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]) -> Field:
    """White matter as CT shows it: a cortical ribbon of a few millimetres, nuclei nearly as dense as cortex."""
    white = template.share(maps[..., template.WHITE])
    white -= np.float32(0.22)
    white *= np.float32(1 / 0.55)
    np.clip(white, 0, 1, out=white)
    white *= 1 - np.float32(0.85) * template.share(maps[..., template.NUCLEUS])
    return white


def _pial_depth(
    anatomy: Anatomy,
    rng: np.random.Generator,
    maps: np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]],
    wall: Field,
    *,
    folds: Folds | None,
    effacement: Field,
) -> Field:
    """Distance to the nearest CSF outside the ventricles: sulci, fissures, cisterns and the outer rim.

    Sulci are where the share of CSF, or the ridges that the average template has blurred, pass a threshold; age lowers
    it, mass effect raises it, and it is uneven from place to place.
    """
    uneven = texture(rng, wall.shape, BRAIN_BOX.spacing_mm, 20.0)
    threshold = uneven * np.float32(0.09)
    threshold += effacement * np.float32(0.6)
    threshold += np.float32(0.92 - 0.6 * anatomy.sulci)
    ridge = template.share(maps[..., template.RIDGE])
    ridge *= np.float32(0.62 + 0.25 * anatomy.sulci)
    if folds is not None:
        ridge.reshape(-1)[folds.places] *= 1 - folds.share
    np.maximum(ridge, template.share(maps[..., template.CSF]), out=ridge)
    threshold -= ridge
    threshold *= np.float32(_SULCUS_MM)
    if folds is not None:
        cut_folds(folds, threshold)
    rim = uneven * np.float32(0.35 + 0.3 * anatomy.rim_mm)
    rim += np.float32(anatomy.rim_mm)
    rim *= 1 - np.float32(0.9) * effacement
    np.minimum(threshold, wall - rim, out=threshold)
    return threshold


def _falx_sheet(grid: HeadGrid, tent: Field) -> Field:
    """The falx spans from the crista galli over the corpus callosum to the tentorium."""
    y, z = grid.y[:, :, :1], grid.z[:, :, :1]
    arch = (np.hypot((y + 6) / 52, (z + 14) / 50) - 1) * 50
    behind = np.minimum(y - 30, z + y - 36)
    sheet = soft(np.maximum(arch, behind), 4.0) * soft(z + 26, 4.0)
    return np.asarray(sheet * soft(tent - 1, 2.0), dtype=np.float32)
