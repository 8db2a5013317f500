"""Whether a series can be a head CT without contrast medium: facts that need no model (numpy and scipy only).

A network gives every image a probability: a knee, a test phantom, noise. Here a series is held against what is known of
heads. The limits are wide: they come from anatomy, not from the data of any model, and stand far outside of what heads
with disease, surgery or a poor scan show. What is within them may still be no head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.imaging.skull import BONE_HU, enclosed, mean_of_blocks

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

AIR_HU, LEAST_AIR = -300.0, 0.005
"""A head is scanned in air, and has air in its sinuses: at least this share of the image. Masked images, those stored
through a window, and other units than HU have none."""

TISSUE_HU = (0.0, 80.0)
"""Fluid, brain and blood, whose clots read 50 to 80 HU."""

SECTION_CM2 = (50.0, 320.0)
"""Tissue within the skull on the slice with most of it. That of adults has 130 to 220 cm2; below are scans of a part
of a head. A head of 63 cm around, larger than all but a few, has 316 cm2 with its bone."""

BRAIN_HU, LEAST_BRAIN = (15.0, 50.0), 0.4
"""White matter reads 20 to 34 HU, grey matter 32 to 45, infarcts and oedema less: this share of what lies deep within
the skull at least, so that very wide ventricles and large bleeds stay within it."""

LEAST_RANGE_HU = 4.0
"""Between the lowest and the highest twentieth of means over 12 mm, deep within the skull: half of what grey and white
matter differ by, fluid aside. Test phantoms are filled with one material; noise is averaged away."""

DENSE_HU, MOST_DENSE_ML = (100.0, 600.0), 12.0
"""Denser than any blood, and no metal: calcifications have some ml; arteries and veins with contrast medium, more."""

_NODE_MM, _DEEP_NODES, _FEWEST_NODES = 4.0, 2, 20
_EVERY = 4


@dataclass(frozen=True, eq=False)
class _Deep:
    """What lies at least 8 mm within the skull, on the slices in the middle of the head.

    Attributes:
        nodes: Mean HU of every node of 4 mm.
        wide: Mean HU of every node and those around it in its slice.
        dense_cm2: Area of single pixels in `DENSE_HU`, over all slices.
    """

    nodes: npt.NDArray[np.float32]
    wide: npt.NDArray[np.float32]
    dense_cm2: float


def has_air(values: Values) -> bool:
    """Tells whether a series has as much air as any CT in HU.

    Args:
        values: The images as they are stored, not brought to a grid, shape (slices, rows, columns).
    """
    share = np.count_nonzero(values[:, ::_EVERY, ::_EVERY] < AIR_HU) / values[:, ::_EVERY, ::_EVERY].size
    return bool(share >= LEAST_AIR)


def head_doubts(values: Values, pixel_mm: float, slice_mm: float) -> tuple[str, ...]:
    """Says what speaks against a series being a head without contrast medium.

    Args:
        values: HU, on square pixels, shape (slices, rows, columns).
        pixel_mm: Side of a pixel.
        slice_mm: Distance from one slice to the next.

    Returns:
        One sentence a fact; none for a head.
    """
    step = max(1, round(_NODE_MM / pixel_mm))
    hu = mean_of_blocks(values, (step, step))
    inside = enclosed(hu > BONE_HU)
    sections = np.count_nonzero(inside & _between(hu, TISSUE_HU), axis=(1, 2)) * (step * pixel_mm) ** 2 / 100
    largest = float(sections.max(initial=0.0))
    if not SECTION_CM2[0] <= largest <= SECTION_CM2[1]:
        message = (
            f"Bone encloses at most {largest:.0f} cm2 of soft tissue in a slice, while a skull encloses "
            f"{SECTION_CM2[0]:.0f} to {SECTION_CM2[1]:.0f}."
        )
        return (message,)
    deep = _deep(values, hu, inside & (2 * sections >= largest)[:, None, None], step, pixel_mm)
    if len(deep.nodes) < _FEWEST_NODES:
        return ("Bone encloses no place 8 mm away from it, as a skull does.",)
    return (*_brain_doubts(deep), *_density_doubts(deep.dense_cm2 * slice_mm / 10))


def _brain_doubts(deep: _Deep) -> tuple[str, ...]:
    brain = float(_between(deep.nodes, BRAIN_HU).mean())
    if brain < LEAST_BRAIN:
        message = (
            f"{brain:.0%} of what lies deep within the bone has the values of brain ({BRAIN_HU[0]:.0f} to "
            f"{BRAIN_HU[1]:.0f} HU), while in a head {LEAST_BRAIN:.0%} or more have."
        )
        return (message,)
    low, high = np.quantile(deep.wide, (0.05, 0.95)).tolist()
    if high - low < LEAST_RANGE_HU:
        message = (
            f"What lies deep within the bone is of one value (nine tenths of it within {high - low:.1f} HU), as in a "
            "test phantom: brain and fluid differ."
        )
        return (message,)
    return ()


def _density_doubts(dense_ml: float) -> tuple[str, ...]:
    if dense_ml <= MOST_DENSE_ML:
        return ()
    message = (
        f"{dense_ml:.0f} ml deep within the skull read {DENSE_HU[0]:.0f} to {DENSE_HU[1]:.0f} HU, more than "
        "calcifications take: contrast medium, or strong noise."
    )
    return (message,)


def _deep(values: Values, hu: npt.NDArray[np.float32], inside: Mask, step: int, pixel_mm: float) -> _Deep:
    core = ndimage.binary_erosion(inside, np.ones((1, 3, 3), dtype=bool), iterations=_DEEP_NODES)
    pixels = core.repeat(step, axis=1).repeat(step, axis=2)
    dense = _between(values[:, : pixels.shape[1], : pixels.shape[2]], DENSE_HU) & pixels
    return _Deep(
        hu[core], ndimage.uniform_filter(hu, (1, 3, 3))[core], float(np.count_nonzero(dense)) * pixel_mm**2 / 100
    )


def _between(values: Values, limits: tuple[float, float]) -> Mask:
    within: Mask = (values >= limits[0]) & (values <= limits[1])
    return within
