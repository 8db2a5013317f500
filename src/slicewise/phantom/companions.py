"""What a study holds beside the series that is read: a localizer, a second reconstruction, a page about the dose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.head import RenderedHead
from slicewise.phantom.header_styles import Storage
from slicewise.phantom.noise import KERNELS
from slicewise.phantom.parameters import HeaderParameters
from slicewise.phantom.sampler import Warp
from slicewise.phantom.scanner import ScanPhysics, scan
from slicewise.phantom.text_page import draw_page

BONE, THIN, LOCALIZER, DOSE = "bone", "thin", "localizer", "dose report"
_ROUTINE_MM = 4.0
_READ_MM = 5.0
"""Thickness of the series that a reader of head CT takes; a second one must not be nearer to it than the first."""


@dataclass(frozen=True, eq=False)
class Companion:
    """One more series of a study.

    Attributes:
        kind: BONE, THIN, LOCALIZER or DOSE.
        values: HU, shape (images, rows, columns); grey levels of a DOSE page.
        geometry: Where the slices of BONE and THIN lie, None for the others.
        physics: How they were reconstructed, None for the others.
        pixel_mm: Distance between rows and between columns of a LOCALIZER.
    """

    kind: str
    values: Field
    geometry: ScanGeometry | None = None
    physics: ScanPhysics | None = None
    pixel_mm: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class MainSeries:
    """How the series that is read was made.

    Attributes:
        geometry: Where its slices lie.
        physics: What the scanner made of the head.
        storage: Bounds the values.
        warp: Displacement of the head.
    """

    geometry: ScanGeometry
    physics: ScanPhysics
    storage: Storage
    warp: Warp


def make_companions(
    rng: np.random.Generator, parameters: HeaderParameters, head: RenderedHead, main: MainSeries
) -> tuple[Companion, ...]:
    """Makes what a study holds beside its main series.

    Args:
        rng: Decides what there is.
        parameters: How often.
        head: The head that was scanned.
        main: The series that is read.
    """
    has_localizer, has_second, has_dose = rng.random(3) < (
        parameters.localizer,
        parameters.second_series,
        parameters.dose_report,
    )
    is_bone = bool(rng.random() < 0.6)
    of_second = rng.spawn(1)[0]
    found = []
    if has_localizer:
        found.append(_localizer(head, main.storage))
    if has_second:
        found.append(_second(of_second, head, main, is_bone=is_bone))
    if has_dose:
        mas = 60 * (3.5 / main.physics.noise_hu) ** 2
        lines = (
            "SYNTHETIC PHANTOM, NOT A PATIENT",
            "",
            "Exam: CT HEAD PHANTOM",
            "kV 120",
            f"CTDIvol {mas:.1f} mGy (made up)",
        )
        found.append(Companion(DOSE, draw_page(lines)[None]))
    return tuple(found)


def _second(rng: np.random.Generator, head: RenderedHead, main: MainSeries, *, is_bone: bool) -> Companion:
    """The same scan with a kernel for bone, or in slices of half the thickness and distance."""
    geometry, physics = main.geometry, main.physics
    thickness = float(geometry.thickness_mm[0])
    may_be_thin = thickness >= _ROUTINE_MM and abs(thickness / 2 - _READ_MM) > abs(thickness - _READ_MM)
    if is_bone or not may_be_thin or np.ptp(geometry.thickness_mm) > 0 or geometry.slices < 2:
        kind, physics = BONE, replace(physics, kernel=KERNELS["bone"])
    else:
        kind = THIN
        step = geometry.offsets_mm[1] - geometry.offsets_mm[0]
        offsets = geometry.offsets_mm[0] + 0.5 * step * np.arange(2 * geometry.slices - 1)
        geometry = replace(geometry, offsets_mm=offsets, thickness_mm=np.full(len(offsets), thickness / 2))
        if physics.jump is not None:
            physics = replace(physics, jump=replace(physics.jump, first=2 * physics.jump.first))
        if physics.motion is not None:
            doubled = tuple(
                n for number in physics.motion.slices for n in (2 * number, 2 * number + 1) if n < len(offsets)
            )
            physics = replace(physics, motion=replace(physics.motion, slices=doubled))
    bloodless = replace(head, occupancy={})
    hu = main.storage.quantise(scan(bloodless, geometry, physics, rng, main.warp).hu)
    return Companion(kind, hu, geometry, physics)


def _localizer(head: RenderedHead, storage: Storage) -> Companion:
    """A lateral projection, its rows from the vertex to the feet."""
    water = np.clip(head.hu, -1000, 3000).mean(axis=2)[::-1] + np.float32(1000)
    hu = storage.quantise(water * np.float32(1.5) - np.float32(1000))
    return Companion(LOCALIZER, hu[None], pixel_mm=(head.spacing_mm[0], head.spacing_mm[1]))
