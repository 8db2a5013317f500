"""The head of one person: sizes, densities, and how it differs from the template.

Lengths are millimetres of the template head, which is a large one: `Anatomy.scale` brings it to life size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from slicewise.errors import UsageError
from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Point
from slicewise.phantom.mimic_sites import SURGERY, Mimic
from slicewise.phantom.mimics import MimicParameters, sample_mimics


@dataclass(frozen=True)
class Anatomy:
    """Sizes and densities of one person's head.

    Attributes:
        scale: Size relative to the template along x, y, z: dolicho- and brachycephaly, small and large heads.
        warp_mm: SD of the smooth displacement that the scan adds to the whole head (correlation length 45 mm).
        shape_mm: SD of the brain's own deformation, coarse part.
        gyri_mm: SD of its fine part.
        age: 0 for young, 1 for old: drives sulci, rim, ventricles, calcifications.
        ventricles_mm: How far the walls of the right lateral, left lateral, and third and fourth ventricles lie outside
            those of the template.
        sulci: Width of sulci, fissures and cisterns: 0 pressed shut, 1 gaping.
        rim_mm: CSF between inner table and convexity.
        folds: Whether the sulci of the convexity are drawn at random (`folds`) or those of the template.
        fold_mm: Correlation length of their pattern: they lie some three times as far apart.
        fold_gape_mm: How much wider their halves are than `sulci` says.
        fold_depth_mm: How deep they reach.
        grey_hu: Grey matter.
        white_hu: White matter.
        csf_hu: Cerebrospinal fluid.
        dura_hu: Falx and tentorium.
        blood_hu: Flowing blood, in sinuses and arteries.
        vein_mm: Size of the venous sinuses relative to the usual.
        transverse: Size of the right and of the left transverse sinus relative to the usual.
        leukoaraiosis_hu: How far the white matter beside the ventricles is darkened.
        skull_mm: Thickness of the vault.
        vertex: Thickness of the vault at the vertex, relative to its own.
        diploe_hu: Marrow between the tables of the vault.
        table_hu: Cortical bone.
        scalp_mm: Thickness of the scalp.
        mastoid: Pneumatisation of the mastoid cells, 0 (sclerotic) to 1.
        frontal_sinus: Size of the frontal sinuses, 0 (absent) to 1.
        sinus_fluid: Share of the paranasal sinuses that is filled with mucosa or fluid.
        gaze: Direction of the eyes to the left and up, in mm of the pupil.
        teeth_metal: Whether teeth carry metal.
        contrast_hu: Contrast medium in the blood, 0 for none.
        mimics: What makes a radiologist look twice.
    """

    scale: Point
    warp_mm: float
    shape_mm: float
    gyri_mm: float
    age: float
    ventricles_mm: Point
    sulci: float
    rim_mm: float
    folds: bool
    fold_mm: float
    fold_gape_mm: float
    fold_depth_mm: float
    grey_hu: float
    white_hu: float
    csf_hu: float
    dura_hu: float
    blood_hu: float
    vein_mm: float
    transverse: tuple[float, float]
    leukoaraiosis_hu: float
    skull_mm: float
    vertex: float
    diploe_hu: float
    table_hu: float
    scalp_mm: float
    mastoid: float
    frontal_sinus: float
    sinus_fluid: float
    gaze: tuple[float, float]
    teeth_metal: bool
    contrast_hu: float = 0.0
    mimics: tuple[Mimic, ...] = ()

    @property
    def surgery(self) -> Point | None:
        """Centre of the first opening of the vault, None where it is whole."""
        return next((one.center for one in self.mimics if one.kind in SURGERY), None)

    @property
    def pushes(self) -> tuple[Push, ...]:
        """Mass effect of the mimics."""
        return tuple(one.push for one in self.mimics if one.push is not None)


class AnatomyParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people differ.

    Attributes:
        age: Smallest and largest age, 0 for young, 1 for old.
        size: Mean size of a head relative to the template.
        size_sd: Its SD.
        shape_mm: Range of the SD of the brain's coarse deformation.
        gyri_mm: Range of the SD of its fine deformation.
        warp_mm: Range of the SD of the displacement of the whole head.
        contrast_hu: Mean difference of grey and white matter.
        teeth_metal: Probability of metal in teeth.
        folds: Probability that sulci of the convexity follow a random pattern rather than the template.
    """

    age: tuple[float, float] = (0.0, 1.0)
    size: float = 0.945
    size_sd: float = 0.03
    shape_mm: tuple[float, float] = (2.0, 4.0)
    gyri_mm: tuple[float, float] = (1.0, 2.2)
    warp_mm: tuple[float, float] = (1.2, 2.6)
    contrast_hu: float = 8.2
    teeth_metal: float = 0.3
    folds: float = 0.85

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            UsageError: If one does not fit.
        """
        for name, limit in (("age", 1), ("shape_mm", 6), ("gyri_mm", 4), ("warp_mm", 6)):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= limit:
                raise UsageError(f"anatomy.{name}: expected 0 <= smallest <= largest <= {limit}, not [{low}, {high}]")
        for name, least, most in (
            ("size", 0.7, 1.1),
            ("size_sd", 0.0, 0.1),
            ("contrast_hu", 0.0, 12.0),
            ("teeth_metal", 0.0, 1.0),
            ("folds", 0.0, 1.0),
        ):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"anatomy.{name}: {getattr(self, name)} is not between {least} and {most}")


def sample_anatomy(
    rng: np.random.Generator, mimics: MimicParameters | None = None, parameters: AnatomyParameters | None = None
) -> Anatomy:
    """Draws the sizes and densities of one head, and its mimics.

    Args:
        rng: Where everything is drawn from.
        mimics: How often each mimic comes; None for the defaults.
        parameters: How people differ; None for the defaults.
    """
    parameters = parameters or AnatomyParameters()
    age = parameters.age[0] + (parameters.age[1] - parameters.age[0]) * float(rng.beta(1.6, 1.1))
    size = parameters.size * (1 + parameters.size_sd * rng.normal())
    index = rng.normal(0, 0.03)  # width against length
    scale = size * np.array([1 + 0.6 * index, 1 - 0.6 * index, 1 + rng.normal(0, 0.02)])
    grey = float(np.clip(rng.normal(38.2, 1.3), 35, 42))
    white = float(np.clip(grey - rng.normal(parameters.contrast_hu, 1.3) - 0.8 * age, 25, 32))
    wide = -1.6 + 4.2 * age**2 + rng.normal(0, 0.9)
    asymmetry = rng.normal(0, 0.5)
    sulci = float(np.clip(0.2 + 0.66 * age + rng.normal(0, 0.14), 0.0, 1.0))
    anatomy = Anatomy(
        scale=_point(scale),
        warp_mm=float(rng.uniform(*parameters.warp_mm)),
        shape_mm=float(rng.uniform(*parameters.shape_mm)),
        gyri_mm=float(rng.uniform(*parameters.gyri_mm)),
        age=age,
        ventricles_mm=_point(
            np.clip([wide + asymmetry, wide - asymmetry, 0.45 * wide + 0.4 + rng.normal(0, 0.4)], -3.0, 6.0)
        ),
        sulci=sulci,
        rim_mm=float(np.clip(3.0 * (sulci - 0.3) + rng.normal(0, 0.6), 0.0, 3.5)),
        folds=bool(rng.random() < parameters.folds),
        fold_mm=float(rng.uniform(4.2, 6.2)),
        fold_gape_mm=float(rng.normal(0, 0.3)),
        fold_depth_mm=float(rng.uniform(9.0, 19.0)),
        grey_hu=grey,
        white_hu=white,
        csf_hu=float(rng.uniform(2, 10)),
        dura_hu=float(rng.uniform(46, 62)),
        blood_hu=float(np.clip(rng.normal(54, 5), 42, 66)),
        vein_mm=float(np.clip(rng.normal(1.0, 0.18), 0.6, 1.5)),
        transverse=_dominance(rng),
        leukoaraiosis_hu=float(np.clip(rng.normal(5 * age - 3, 2), 0, 6)),
        skull_mm=float(np.clip(rng.normal(6.8, 1.2), 4.2, 11.0)),
        vertex=float(np.clip(rng.normal(0.72, 0.17), 0.45, 1.3)),
        diploe_hu=float(rng.uniform(450, 950)),
        table_hu=float(rng.uniform(1400, 1950)),
        scalp_mm=float(np.clip(rng.normal(5.5, 1.6), 3.0, 11.0)),
        mastoid=float(rng.beta(3, 1.2)),
        frontal_sinus=float(rng.beta(2, 1.5)) if rng.random() < 0.93 else 0.0,
        sinus_fluid=float(rng.beta(1.2, 3)) if rng.random() < 0.4 else 0.0,
        gaze=(float(rng.normal(0, 2.0)), float(rng.normal(0, 1.0))),
        teeth_metal=bool(rng.random() < parameters.teeth_metal),
    )
    return _with_mimics(anatomy, sample_mimics(rng, age, mimics or MimicParameters()))


def _with_mimics(anatomy: Anatomy, mimics: tuple[Mimic, ...]) -> Anatomy:
    """Adds mimics, and what they change in the head as a whole. A whole-head mimic's `hu` is its strength, 0 to 1."""
    strength = {one.kind: one.hu for one in mimics}
    changes: dict[str, Any] = {"mimics": mimics}
    if "atrophy" in strength:
        changes |= {"sulci": 0.8 + 0.2 * strength["atrophy"], "rim_mm": 2.0 + 2.5 * strength["atrophy"]}
        changes["ventricles_mm"] = _point(np.maximum(anatomy.ventricles_mm, (3.0, 3.0, 2.0)))
    elif "dense_brain" in strength:
        grey = 40.5 + 1.5 * strength["dense_brain"]
        changes |= {"sulci": 0.05, "rim_mm": 0.0, "grey_hu": grey, "white_hu": grey - 8.0}
        changes["ventricles_mm"] = _point(np.minimum(anatomy.ventricles_mm, (-1.8, -1.8, -0.5)))
    shunted = "shunt" in strength and anatomy.vein_mm > 1.0  # every second shunt cannot cope, the others drain too much
    if "hydrocephalus" in strength or shunted:
        wide = 6.0 + 9.0 * strength.get("hydrocephalus", anatomy.mastoid)
        changes |= {"ventricles_mm": (wide, wide, 0.4 * wide), "rim_mm": 0.0, "sulci": 0.5 * anatomy.sulci}
    elif "shunt" in strength:
        changes["ventricles_mm"] = (-2.2, -1.6, -0.5)
    if "leukoaraiosis" in strength:
        changes["leukoaraiosis_hu"] = 7.0 + 7.0 * strength["leukoaraiosis"]
    if "dense_sinus" in strength:
        changes["blood_hu"] = 64.0 + 14.0 * strength["dense_sinus"]
    if "contrast" in strength:
        changes["contrast_hu"] = 30.0 + 120.0 * strength["contrast"]
    return replace(anatomy, **changes)


def _dominance(rng: np.random.Generator) -> tuple[float, float]:
    """The transverse sinuses: the right one is mostly the larger."""
    share = float(np.clip(rng.normal(0.2, 0.35), -0.8, 0.8))
    return 1 + 0.6 * share, 1 - 0.6 * share


def _point(values: object) -> Point:
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z
