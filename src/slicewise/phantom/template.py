"""Base maps of the head: real anatomy from the ICBM152 2009a template, on the grids that the phantom is drawn on.

The template is skull-stripped: it gives the brain, its CSF and, by closing the gaps between the brain's parts, the
cranial cavity. Maps are computed once a process. Coordinates are those of `fields.HeadGrid`: x = -x(MNI),
y = -(y(MNI) + 18), z = z(MNI).

The maps of the brain are packed, eight bytes a sample at half a millimetre in the plane, so that one gather at
displaced coordinates deforms all of them: see `deform`.

Source: Fonov et al., Unbiased average age-appropriate brain templates from birth to adulthood, NeuroImage 47 (2009)
S102; the maps are shipped by nilearn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.errors import MissingExtraError
from slicewise.phantom.fields import Field, HeadGrid, Point, Tube, mirrored

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_MNI_ORIGIN = (98, 116, 72)
"""Index of the template's coordinate 0 along x, y, z, once the axes run to the left and to the back."""

CLOSING_MM, VAULT_CLOSING_MM, GROWTH_MM = 9.0, 26.0, 1.5
"""The cavity is the brain mask closed (below, and in the vault) and grown by these."""

RIM_MM = 2.5
"""The brain's maps are carried outwards from this distance to the wall, so that the rim of CSF is free to be thin."""

VENTRICLE_ZERO, TENT_ZERO, STEPS_A_MM = 160, 128, 4
"""Signed distances are packed into bytes: (distance * steps) + zero."""

CSF, WHITE, RIDGE, VENTRICLE, TENT, CISTERN, NUCLEUS, FALX = range(8)
"""The order of the packed maps."""


@dataclass(frozen=True)
class Box:
    """A regular grid of template coordinates.

    Attributes:
        low: First sample along x, y, z.
        counts: Samples along x, y, z.
        steps: Distance between samples along x, y, z.
    """

    low: tuple[int, int, int]
    counts: tuple[int, int, int]
    steps: tuple[int, int, int] = (1, 1, 2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows, columns."""
        return self.counts[2], self.counts[1], self.counts[0]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between samples along planes, rows, columns."""
        return float(self.steps[2]), float(self.steps[1]), float(self.steps[0])

    def axis(self, number: int) -> Field:
        """Coordinates along x (0), y (1) or z (2)."""
        values = self.low[number] + self.steps[number] * np.arange(self.counts[number])
        return values.astype(np.float32)

    def grid(self) -> HeadGrid:
        """Coordinates of every sample; the arrays are views of the axes."""
        x, y, z = self.axis(0)[None, None, :], self.axis(1)[None, :, None], self.axis(2)[:, None, None]
        views = [np.broadcast_to(axis, self.shape) for axis in (x, y, z)]
        return HeadGrid(views[0], views[1], views[2], self.spacing_mm)

    def within(self, outer: Box) -> tuple[slice, slice, slice]:
        """Returns the part of an outer box that this one is."""
        parts = []
        for number in (2, 1, 0):
            start = (self.low[number] - outer.low[number]) // outer.steps[number]
            parts.append(slice(start, start + self.counts[number]))
        return parts[0], parts[1], parts[2]


HEAD_BOX = Box((-100, -130, -120), (201, 241, 111))
BRAIN_BOX = Box((-76, -92, -72), (153, 185, 81))
_SOURCE = Box((-76, -92, -72), (153, 185, 161), (1, 1, 1))
_HALF = Box((-100, -130, -120), (101, 121, 111), (2, 2, 2))


@dataclass(frozen=True, eq=False)
class BaseMaps:
    """What every head is made from.

    Attributes:
        wall_mm: Distance to the inner table, positive in the cavity; on `HEAD_BOX`.
        packed: Maps of the brain, eight bytes a sample as one number, on `BRAIN_BOX` at half its steps. Flat.
        packed_shape: Shape of the packed maps.
    """

    wall_mm: Field
    packed: npt.NDArray[np.uint64]
    packed_shape: tuple[int, int, int]


@lru_cache(maxsize=1)
def base_maps() -> BaseMaps:
    """Returns the base maps; computed at the first call of a process (about 3 s).

    Raises:
        MissingExtraError: If nilearn, which ships the template, is not installed.
    """
    t1, grey, white = (_load(name) for name in ("t1", "gm", "wm"))
    brain = t1 > 0
    wall, envelope = _wall(brain)
    csf = np.where(brain, 1 - grey - white, np.float32(1))
    inner = _upsampled_plane(envelope[BRAIN_BOX.within(HEAD_BOX)])
    csf, white, grey = _carried_outwards((csf, white, grey), inner)
    tent = _tentorium(csf)
    ventricle = _ventricles(csf)
    outside = csf * (ventricle < 0)
    maps = np.zeros((*_SOURCE.shape, 8), dtype=np.uint8)
    maps[..., CSF] = _byte(csf)
    maps[..., WHITE] = _byte(white)
    maps[..., RIDGE] = _byte(_ridges(outside, grey, tent, inner))
    maps[..., VENTRICLE] = np.clip(ventricle * STEPS_A_MM + VENTRICLE_ZERO, 0, 255)
    maps[..., TENT] = np.clip(tent * STEPS_A_MM + TENT_ZERO, 0, 255)
    maps[..., CISTERN] = _byte(np.clip(2.2 * ndimage.gaussian_filter(outside, 2.0) - 0.5, 0, 1))
    maps[..., NUCLEUS] = _byte(_nuclei(white, grey))
    packed = _finer(maps)
    return BaseMaps(wall, packed.reshape(-1), packed.shape)


def template_point(mni: Point) -> Point:
    """Turns MNI coordinates (x to the right, y to the front, z up) into those of the phantom."""
    return -mni[0], -mni[1] - 18.0, mni[2]


def inner_table(direction: Point) -> Point:
    """Returns where a ray from the centre of the head crosses the inner table.

    Args:
        direction: Any length.
    """
    wall = base_maps().wall_mm
    unit = np.array(direction) / np.linalg.norm(direction)
    reach = np.arange(0.0, 100.0, 0.5)
    points = (unit * reach[:, None] - HEAD_BOX.low) / HEAD_BOX.steps
    along = ndimage.map_coordinates(wall, points[:, ::-1].T, order=1, mode="nearest")
    x, y, z = (unit * reach[int(np.argmax(along <= 0))]).tolist()
    return x, y, z


def _load(name: str) -> Field:
    """One map of the template on `_SOURCE`, in [0, 1]."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The phantom", "phantom")
    import nibabel

    # Read from the package's folder: importing nilearn.datasets takes seconds, for scikit-learn and pandas.
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / _FILE.format(name)
    image: Any = nibabel.load(path)
    array = np.asanyarray(image.dataobj)[::-1, ::-1, :].transpose(2, 1, 0)
    parts = tuple(
        slice(_SOURCE.low[axis] + _MNI_ORIGIN[axis], _SOURCE.low[axis] + _MNI_ORIGIN[axis] + _SOURCE.counts[axis])
        for axis in (2, 1, 0)
    )
    values: Field = np.ascontiguousarray(array[parts], dtype=np.float32) * np.float32(1 / 255)
    return values


def _wall(brain: npt.NDArray[np.bool_]) -> tuple[Field, Field]:
    """Signed distances to the inner table, with the spinal canal, and to the brain's envelope; on `HEAD_BOX`."""
    half = ndimage.gaussian_filter(brain.astype(np.float32), 0.7)[::2, ::2, ::2] > 0.5
    names, _ = ndimage.label(half)
    half = names == np.argmax(np.bincount(names.ravel())[1:]) + 1
    whole = np.zeros(_HALF.shape, dtype=bool)
    start = [(_SOURCE.low[axis] - _HALF.low[axis]) // 2 for axis in (2, 1, 0)]
    whole[tuple(slice(at, at + count) for at, count in zip(start, half.shape, strict=True))] = half
    fine = ndimage.gaussian_filter(_closed_distance(whole, 2, CLOSING_MM), 0.7)
    # The inner table of the vault does not follow every gyrus: closed widely, on a coarser grid.
    smooth = ndimage.gaussian_filter(_closed_distance(whole[::2, ::2, ::2], 4, VAULT_CLOSING_MM), 1.0)
    smooth = _upsampled_plane(_upsampled_plane(smooth), planes=False)
    grid = _HALF.grid()
    vault = np.clip((grid.z + 22) / 18, 0, 1)
    wall = fine + vault * (smooth - fine) + np.float32(GROWTH_MM)
    canal = np.minimum(
        9.0 - 0.03 * (-60 - grid.z) - np.hypot(grid.x, grid.y - 29 - 0.07 * (-60 - grid.z)), -56 - grid.z
    )
    envelope = np.minimum(fine + np.float32(GROWTH_MM), wall)
    return _upsampled_plane(np.maximum(wall, canal), planes=False), _upsampled_plane(envelope, planes=False)


def _closed_distance(mask: npt.NDArray[np.bool_], step_mm: int, closing_mm: float) -> Field:
    """Signed distance to a mask on the head's box, closed by a ball; positive inside."""
    pad = int(closing_mm / step_mm) - 2  # the ball may reach out of the box, the mask does not come near its border
    padded = np.pad(mask, pad)
    grown = ndimage.distance_transform_edt(~padded, sampling=step_mm) < closing_mm
    inside = (slice(pad, -pad),) * 3
    closed = (ndimage.distance_transform_edt(grown, sampling=step_mm) > closing_mm)[inside]
    fossa = (-24 - _HALF.low[2]) // step_mm  # above it, what the closing leaves of the suprasellar cistern
    closed[fossa:] = [ndimage.binary_fill_holes(plane) for plane in closed[fossa:]]
    return _signed_distance(closed, (step_mm, step_mm, step_mm))


def _signed_distance(mask: npt.NDArray[np.bool_], steps_mm: tuple[int, int, int]) -> Field:
    """Distance to the border of a mask, which lies up to half a step from the centres of the voxels beside it.

    Half a step where the border runs along the grid, 0.29 where it runs along a diagonal: 0.4 is the mean.
    """
    inside = ndimage.distance_transform_edt(mask, sampling=steps_mm)
    outside = ndimage.distance_transform_edt(~mask, sampling=steps_mm)
    border = 0.4 * min(steps_mm)
    return np.where(mask, inside - border, border - outside).astype(np.float32)


def _upsampled_plane(values: Field, *, planes: bool = True) -> Field:
    """Twice as fine by linear interpolation: along planes, or along rows and columns."""
    for axis in (0,) if planes else (1, 2):
        values = _doubled(values, axis)
    return values


def _doubled(values: Field, axis: int) -> Field:
    values = np.moveaxis(values, axis, 0)
    finer = np.empty((2 * len(values) - 1, *values.shape[1:]), dtype=np.float32)
    finer[::2] = values
    finer[1::2] = (values[1:] + values[:-1]) * np.float32(0.5)
    return np.ascontiguousarray(np.moveaxis(finer, 0, axis))


def _carried_outwards(maps: tuple[Field, ...], wall: Field) -> tuple[Field, ...]:
    """Replaces what lies near and beyond the brain's envelope by what lies below it, along its normal."""
    shell = wall < RIM_MM
    planes, rows, columns = np.nonzero(shell & (wall > -12.0))
    slope: list[Field] = list(np.gradient(ndimage.gaussian_filter(wall, 1.5)))
    normal = np.stack([part[planes, rows, columns] for part in slope])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-3)
    step = RIM_MM - wall[planes, rows, columns]
    sources = [
        np.clip(np.rint(at + step * along), 0, count - 1).astype(np.intp)
        for at, along, count in zip((planes, rows, columns), normal, wall.shape, strict=True)
    ]
    carried = []
    for values in maps:
        copy = values.copy()
        copy[planes, rows, columns] = values[tuple(sources)]
        carried.append(copy)
    return tuple(carried)


def _tentorium(csf: Field) -> Field:
    """Height above the tentorium in mm: the surface of most CSF near where textbooks draw it."""
    x, y = _SOURCE.axis(0)[None, :], _SOURCE.axis(1)[:, None]
    side = np.abs(x)
    middle = 10 - 1.05 * np.clip(y - 28, 0, 60) - 0.6 * np.clip(24 - y, 0, 60)
    lateral = -15 - 0.14 * np.clip(y - 18, -10, 60) - 0.35 * np.clip(12 - y, 0, 60)
    weight = np.exp(-((side / 10) ** 1.5))
    guess = np.maximum(weight * middle + (1 - weight) * lateral, -30) - 0.1 * np.clip(side - 40, 0, 40)
    offsets = np.arange(-8, 9)
    smooth = ndimage.gaussian_filter(csf, 1.5)
    planes = np.clip(np.rint(guess)[None] + offsets[:, None, None] - _SOURCE.low[2], 0, _SOURCE.counts[2] - 1)
    sheet = np.take_along_axis(smooth, planes.astype(np.intp), axis=0)
    score = np.exp(14 * sheet) * np.exp(-0.5 * (offsets[:, None, None] / 5.0) ** 2)
    shift = (score * offsets[:, None, None]).sum(axis=0) / score.sum(axis=0)
    height = guess + ndimage.gaussian_filter(shift, 4.0)
    front = np.clip((12 - y) / 12, 0, 1)
    height = height + front * (np.minimum(height, -28 - 0.8 * (12 - y)) - height)
    height = ndimage.gaussian_filter(height, 2.0)
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(height, 2.0)))
    above: Field = ((_SOURCE.axis(2)[:, None, None] - height) / np.sqrt(1 + slope**2)).astype(np.float32)
    return above


_HORNS = (
    Tube(((24.0, 36.0, 6.0), (22.0, 50.0, 5.0), (20.0, 60.0, 5.0)), (1.0, 0.6, -0.5)),  # occipital
    Tube(((26.0, 26.0, 6.0), (31.0, 14.0, -8.0), (32.0, 2.0, -16.0), (29.0, -10.0, -21.0)), (1.0, 0.4, 0.6, 0.6)),
)
"""Horns of the lateral ventricles that are closed in the template; they open when the ventricles widen."""


def _ventricles(csf: Field) -> Field:
    """Signed distance to the walls of the ventricles, positive inside."""
    low, high = (-52, -64, -58), (53, 77, 51)
    part = tuple(slice(low[axis] - _SOURCE.low[axis], high[axis] - _SOURCE.low[axis]) for axis in (2, 1, 0))
    grid = Box(low, (high[0] - low[0], high[1] - low[1], high[2] - low[2]), (1, 1, 1)).grid()
    x, y, z = grid.x, grid.y, grid.z
    side = np.abs(x)
    lateral = (side < 36) & (y > -52) & (y < 46) & (z > -6) & (z < 34) & ((side > 1) | (y > -30))
    # Not the cistern of the velum, the quadrigeminal cistern and the atria's neighbours behind the splenium.
    lateral &= ~((side < 13) & (y > 8) & (z < 22)) & ~((side < 3) & (z > 14))
    third = (side < 5) & (y > -24) & (y < 9) & (z > -14) & (z < 12)
    fourth = (side < 16) & (y > 16) & (y < 38) & (z > -44) & (z < -18)
    inside = (csf[part] > 0.5) & (lateral | third | fourth)
    inside = ndimage.binary_opening(inside) | (inside & third)
    names, _ = ndimage.label(inside)
    inside = (names > 0) & (np.bincount(names.ravel()) > 150)[names]
    half = ndimage.gaussian_filter(inside.astype(np.float32), 0.5)[::2] > 0.5
    near = _upsampled_plane(ndimage.gaussian_filter(_signed_distance(half, (2, 1, 1)), (0.4, 0.7, 0.7)))
    for horn in _HORNS:
        for shape in mirrored(horn):
            np.maximum(near, shape.depth(x, y, z), out=near)
    whole = np.full(csf.shape, -99, dtype=np.float32)
    whole[part] = near
    return whole


def _ridges(csf: Field, grey: Field, tent: Field, envelope: Field) -> Field:
    """Where sulci run, in [0, 1], evenly everywhere: the average of many brains has blurred all but the largest."""
    signal = csf + np.float32(0.25) * grey
    ridge = ndimage.gaussian_filter(signal, 0.8) - ndimage.gaussian_filter(signal, 3.0)
    np.maximum(ridge, 0, out=ridge)
    level = np.sqrt(np.maximum(ndimage.uniform_filter(ridge * ridge, 19), 0)) + np.float32(0.02)
    folia = np.clip(-tent / 2, 0, 1) * np.float32(0.4)
    open_ = 1 + np.float32(0.8) * np.exp(-np.maximum(envelope, 0) / 5)  # sulci open to the surface
    share: Field = np.clip(ridge / level * np.float32(0.4) * open_, 0, 1) * (1 - folia)
    return share


def _nuclei(white: Field, grey: Field) -> Field:
    """Basal ganglia and thalami, which the maps of an average brain give as half white."""
    x, y, z = _SOURCE.axis(0)[None, None, :], _SOURCE.axis(1)[None, :, None], _SOURCE.axis(2)[:, None, None]
    side = np.abs(x)
    region = np.hypot(np.hypot((side - 17) / 17, (y + 12) / 30), (z - 6) / 15)
    share: Field = np.clip(2.4 * grey, 0, 1) * np.clip((1.05 - region) / 0.15, 0, 1) * (white < 0.8)
    return share.astype(np.float32)


def _byte(values: Field) -> npt.NDArray[np.uint8]:
    return np.clip(values * 255, 0, 255).astype(np.uint8)


def _finer(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The packed maps at half a millimetre in the plane: means of neighbours, of all eight bytes at once."""
    packed = maps.view(np.uint64)[..., 0]
    planes, rows, columns = packed.shape
    finer = np.empty((planes, 2 * rows - 1, 2 * columns - 1), dtype=np.uint64)
    finer[:, ::2, ::2] = packed
    finer[:, ::2, 1::2] = _mean_of_bytes(packed[:, :, 1:], packed[:, :, :-1])
    finer[:, 1::2] = _mean_of_bytes(finer[:, 2::2], finer[:, :-2:2])
    return finer


def _mean_of_bytes(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return (one & other) + (((one ^ other) & np.uint64(0xFEFEFEFEFEFEFEFE)) >> np.uint64(1))


def distance(bytes_: npt.NDArray[np.uint8], zero: int) -> Field:
    """Turns packed distances back into mm."""
    values = bytes_.astype(np.float32)
    values -= np.float32(zero)
    values *= np.float32(1 / STEPS_A_MM)
    return values


def share(bytes_: npt.NDArray[np.uint8]) -> Field:
    """Turns packed shares back into [0, 1]."""
    return bytes_.astype(np.float32) * np.float32(1 / 255)
