"""One trilinear resampling of a regular head grid onto the slices of a scan; indices and weights serve every field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from slicewise.phantom.fields import Field, Point, smooth_noise
from slicewise.phantom.geometry import Floats, ScanGeometry, rotation

FINEST_WORKING_MM = 1.1
"""Pixels of the grid that the head is resampled to, before point spread and matrix of the scanner."""

_COARSE = 8
"""Coordinates are worked out on every eighth pixel and interpolated: the affine part exactly, the warp nearly."""

_SPARSE_MARGIN = (6, 8, 2)
"""Planes, rows and columns that averaging over a slice of up to 15 mm can spread a field."""

_WARP_STEP_MM, _WARP_LENGTH_MM = 12.0, 45.0
_REACH_MM = 126.0


@dataclass(frozen=True, eq=False)
class Warp:
    """A smooth displacement of template coordinates, in mm, on a coarse cube around the head.

    Attributes:
        field: Displacement along x, y, z, shape (3, planes, rows, columns).
    """

    field: Field

    @classmethod
    def sample(cls, rng: np.random.Generator, deviation_mm: float) -> Warp:
        """Draws a displacement with the given SD along every axis."""
        count = int(2 * _REACH_MM / _WARP_STEP_MM) + 1
        steps = (_WARP_STEP_MM,) * 3
        axes = [smooth_noise(rng, (count,) * 3, steps, _WARP_LENGTH_MM) for _ in range(3)]
        return cls(np.float32(deviation_mm) * np.stack(axes))

    def at(self, points: Field) -> Field:
        """Returns the displacement at template coordinates x, y, z, shape (3, ...)."""
        indices = (points[::-1] + np.float32(_REACH_MM)) * np.float32(1 / _WARP_STEP_MM)
        moved = [
            ndimage.map_coordinates(axis, indices, order=1, mode="nearest", output=np.float32) for axis in self.field
        ]
        return np.stack(moved)


@dataclass(frozen=True, eq=False)
class Jump:
    """The head lies otherwise from some slice on.

    Attributes:
        first: First slice of the new position.
        degrees: Pitch, roll and yaw.
        shift_mm: Shift along x, y, z of the patient.
    """

    first: int
    degrees: Point
    shift_mm: Point


@dataclass(frozen=True)
class WorkingGrid:
    """The in-plane grid that a head is resampled to: the field of view in pixels no finer than the image's.

    Attributes:
        size: Rows and columns.
        step_mm: Side of a pixel.
    """

    size: int
    step_mm: float

    @classmethod
    def of(cls, geometry: ScanGeometry) -> WorkingGrid:
        """Returns the grid of a scan."""
        size = min(geometry.matrix, int(np.ceil(geometry.fov_mm / FINEST_WORKING_MM)))
        return cls(size, geometry.fov_mm / size)

    @property
    def offsets_mm(self) -> Floats:
        """Places of the pixels beside the centre of the field of view, along a row or a column."""
        places = np.arange(self.size, dtype=np.float64)
        return (places - 0.5 * (self.size - 1)) * self.step_mm


@dataclass(frozen=True, eq=False)
class HeadLattice:
    """A regular grid of template coordinates.

    Attributes:
        shape: Planes, rows, columns.
        origin_mm: Template coordinates (x, y, z) of the first voxel's centre.
        spacing_mm: Distance between voxels along z, y, x.
    """

    shape: tuple[int, int, int]
    origin_mm: Point
    spacing_mm: tuple[float, float, float]


class Sampler:
    """Resamples fields of a head onto the slices of a scan, each averaged over its thickness."""

    def __init__(
        self, lattice: HeadLattice, geometry: ScanGeometry, warp: Warp | None = None, jump: Jump | None = None
    ) -> None:
        """Works out where every pixel of the scan lies in the head.

        Args:
            lattice: Where the fields are given.
            geometry: The scan.
            warp: Displacement of the template; None for none.
            jump: Movement of the head between two slices; None for none.
        """
        self.grid = WorkingGrid.of(geometry)
        self._geometry = geometry
        self._lattice = lattice
        coarse = _coarse_places(self.grid.size)
        points = _template_points(geometry, self.grid.offsets_mm[coarse], jump)
        if warp is not None:
            points = points + warp.at(points)
        voxels = [
            (points[axis] - np.float32(lattice.origin_mm[axis])) * np.float32(1 / lattice.spacing_mm[2 - axis])
            for axis in (2, 1, 0)
        ]
        self._coarse, self._coarse_voxels = coarse, voxels
        self.rows, self.columns = _covered(voxels, lattice.shape, coarse, self.grid.size)
        rows, columns = _interpolation(coarse, self.rows), _interpolation(coarse, self.columns)
        fine = [np.matmul(np.matmul(rows, axis), columns.T) for axis in voxels]
        self._index, self._fractions, self._outside = _corners(fine, lattice.shape)

    def sample(self, field: npt.NDArray[np.generic], outside: float = 0.0) -> Field:
        """Resamples a field.

        Args:
            field: Values on the lattice.
            outside: Value beyond the lattice.

        Returns:
            Values of shape (slices, *rows and columns of the working grid that the head covers*).
        """
        result = np.empty(self._index.shape, dtype=np.float32)
        for thickness in np.unique(self._geometry.thickness_mm).tolist():
            chosen = np.flatnonzero(self._geometry.thickness_mm == thickness)
            averaged = _averaged(field.astype(np.float32, copy=False), self._profile(thickness), self._planes(chosen))
            if len(chosen) == len(result):
                _interpolate(averaged, self._index, self._fractions, result)
            else:
                part = np.empty((len(chosen), *result.shape[1:]), dtype=np.float32)
                _interpolate(averaged, self._index[chosen], [axis[chosen] for axis in self._fractions], part)
                result[chosen] = part
        result[self._outside] = outside
        return result

    def sample_sparse(self, field: Field) -> Field | None:
        """Resamples a field that is 0 nearly everywhere, as `sample` does; None if nothing of it is seen."""
        box = _box_of(field > 0)
        if box is None:
            return None
        low = [max(side.start - margin, 0) for side, margin in zip(box, _SPARSE_MARGIN, strict=True)]
        high = [min(side.stop + margin, n) for side, margin, n in zip(box, _SPARSE_MARGIN, field.shape, strict=True)]
        seen = self._seen(low, high)
        if seen is None:
            return None
        result = np.zeros(self._index.shape, dtype=np.float32)
        part = slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
        for thickness in np.unique(self._geometry.thickness_mm[seen[0]]).tolist():
            averaged = np.zeros(field.shape, dtype=np.float32)
            averaged[part] = _averaged(field[part], self._profile(thickness), range(high[0] - low[0]))
            chosen = np.flatnonzero(self._geometry.thickness_mm[seen[0]] == thickness) + seen[0].start
            where = (slice(chosen[0], chosen[-1] + 1), *seen[1:])  # slices of one thickness stand side by side
            _interpolate(averaged, self._index[where], [axis[where] for axis in self._fractions], result[where])
        result[self._outside] = 0
        return result

    def _seen(self, low: list[int], high: list[int]) -> tuple[slice, slice, slice] | None:
        """Slices, rows and columns of the result that can meet a box of the lattice; judged by the coarse places."""
        inside = np.ones(self._coarse_voxels[0].shape, dtype=bool)
        for axis, start, stop, step in zip(self._coarse_voxels, low, high, self._lattice.spacing_mm, strict=True):
            margin = 1.5 * _COARSE * self.grid.step_mm / step
            inside &= (axis > start - margin) & (axis < stop + margin)
        box = _box_of(inside)
        if box is None:
            return None
        spans = []
        for side, covered in zip(box[1:], (self.rows, self.columns), strict=True):
            start, stop = int(self._coarse[side.start]), int(self._coarse[side.stop - 1]) + 1
            spans.append(slice(max(start - covered.start, 0), min(stop, covered.stop) - covered.start))
        return box[0], spans[0], spans[1]

    def _planes(self, chosen: npt.NDArray[np.intp]) -> range:
        """Planes of the lattice that some slices lie between."""
        index = self._index[chosen[0] : chosen[-1] + 1]
        planes, rows, columns = self._lattice.shape
        first, last = int(index.min()) // (rows * columns), int(index.max()) // (rows * columns)
        return range(first, min(last + 2, planes))

    def _profile(self, thickness_mm: float) -> list[tuple[int, float, float]]:
        """Slice profile on the lattice: planes beside the middle one, their weights and shifts in rows.

        A box along the slice normal over the linear interpolation between planes. The normal leaves the template's z by
        the tilt: each plane is shifted along y accordingly; along x (a leaning head) the shift is below half a pixel.
        """
        along = self._geometry.pose.to_template @ self._geometry.normal
        step_z, step_y, _ = self._lattice.spacing_mm
        half = 0.5 * thickness_mm * abs(along[2]) / step_z
        if half < 0.25:
            return [(0, 1.0, 0.0)]
        reach = int(np.ceil(half + 1))
        planes = np.arange(-reach, reach + 1)
        weights = (_hat_integral(planes + half) - _hat_integral(planes - half)) / (2 * half)
        shift = along[1] / along[2] * step_z / step_y
        return [
            (int(plane), float(weight), float(plane * shift))
            for plane, weight in zip(planes, weights, strict=True)
            if weight > 1e-4
        ]


def _box_of(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    spans = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        found = np.flatnonzero(mask.any(axis=axes))
        if not len(found):
            return None
        spans.append(slice(int(found[0]), int(found[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _coarse_places(size: int) -> npt.NDArray[np.int64]:
    return np.unique(np.append(np.arange(0, size, _COARSE), size - 1))


def _template_points(geometry: ScanGeometry, places_mm: Floats, jump: Jump | None) -> Field:
    """Template coordinates x, y, z, shape (3, slices, places, places)."""
    beside = geometry.slice_centers - geometry.pose.center
    points = (
        beside.T[:, :, None, None]
        + (geometry.column[:, None] * places_mm)[:, None, :, None]
        + (geometry.row[:, None] * places_mm)[:, None, None, :]
    )
    if jump is not None:
        turn = rotation(*jump.degrees)
        moved = points[:, jump.first :] - np.array(jump.shift_mm)[:, None, None, None]
        points[:, jump.first :] = np.tensordot(turn.T, moved, axes=1)
    return np.tensordot(geometry.pose.to_template, points, axes=1).astype(np.float32)


def _covered(
    voxels: list[Field], shape: tuple[int, int, int], coarse: npt.NDArray[np.int64], size: int
) -> tuple[slice, slice]:
    """Rows and columns of the working grid in which any slice meets the lattice, with a coarse step to spare."""
    inside = np.ones(voxels[0].shape, dtype=bool)
    for axis, count in zip(voxels, shape, strict=True):
        inside &= (axis > -1) & (axis < count)
    spans = []
    for axes in ((0, 2), (0, 1)):
        found = np.flatnonzero(inside.any(axis=axes))
        if not len(found):
            raise ValueError("the scan does not meet the head")
        low, high = max(found[0] - 1, 0), min(found[-1] + 1, len(coarse) - 1)
        spans.append(slice(int(coarse[low]), min(int(coarse[high]) + 1, size)))
    return spans[0], spans[1]


def _interpolation(coarse: npt.NDArray[np.int64], span: slice) -> Field:
    """Linear interpolation from coarse to fine places, shape (fine, coarse)."""
    fine = np.arange(span.start, span.stop)
    right = np.clip(np.searchsorted(coarse, fine, side="right"), 1, len(coarse) - 1)
    share = (fine - coarse[right - 1]) / (coarse[right] - coarse[right - 1])
    weights = np.zeros((len(fine), len(coarse)), dtype=np.float32)
    weights[np.arange(len(fine)), right - 1] = 1 - share
    weights[np.arange(len(fine)), right] = share
    return weights


def _corners(
    voxels: list[Field], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.intp], list[Field], npt.NDArray[np.bool_]]:
    """Flat index of the lowest of the eight neighbours, fractions towards the highest, and what lies outside."""
    index = np.zeros(voxels[0].shape, dtype=np.intp)
    outside = np.zeros(voxels[0].shape, dtype=bool)
    fractions = []
    for axis, count in zip(voxels, shape, strict=True):
        outside |= (axis < -0.5) | (axis > count - 0.5)
        low = np.clip(axis, 0, count - 1.0001, out=axis).astype(np.int32)
        fractions.append(axis - low)
        index *= count
        index += low
    return index, fractions, outside


def _averaged(field: Field, profile: list[tuple[int, float, float]], planes: range) -> Field:
    """Averages planes by a slice profile; beyond the ends the field goes on with its last plane and row.

    Args:
        field: Shape (planes, rows, columns).
        profile: Planes beside the middle one, their weights and shifts in rows.
        planes: Which planes are wanted; the others stay undefined.
    """
    if len(profile) == 1:
        return np.ascontiguousarray(field)
    margin = int(np.ceil(max(abs(shift) for _, _, shift in profile))) + 1
    last, rows = len(field) - 1, field.shape[1]
    padded = np.pad(field, ((0, 0), (margin, margin), (0, 0)), mode="edge")
    terms = []
    for plane, weight, shift in profile:
        low = int(np.floor(shift))
        parts = ((low, weight * (low + 1 - shift)), (low + 1, weight * (shift - low)))
        terms += [(plane, margin + step, np.float32(part)) for step, part in parts if part > 1e-4]
    result = np.empty(field.shape, dtype=np.float32)
    term = np.empty(field.shape[1:], dtype=np.float32)
    for number in planes:  # plane by plane: what is added up stays in the cache of the processor
        total = result[number]
        total[:] = 0
        for plane, start, part in terms:
            source = padded[min(max(number + plane, 0), last), start : start + rows]
            np.multiply(source, part, out=term)
            total += term
    return result


def _interpolate(field: Field, index: npt.NDArray[np.intp], fractions: list[Field], result: Field) -> None:
    """Trilinear interpolation: eight gathers, blended along x, then y, then z.

    Slice by slice, so that what is blended stays in the cache of the processor.
    """
    flat = field.ravel()
    _, rows, columns = field.shape
    corners = [flat[plane + row :] for plane in (0, rows * columns) for row in (0, columns)]
    for number in range(len(result)):
        place = index[number]
        above, beside, across = (axis[number] for axis in fractions)
        lines = [_blended(corner[place], corner[1:][place], across) for corner in corners]
        planes = [_blended(lines[0], lines[1], beside), _blended(lines[2], lines[3], beside)]
        result[number] = _blended(planes[0], planes[1], above)


def _blended(first: Field, second: Field, share: Field) -> Field:
    """Returns the first and the share of the way to the second, overwriting both."""
    second -= first
    second *= share
    first += second
    return first


def _hat_integral(x: Floats) -> Floats:
    """Integral of the triangle of half width 1 from minus infinity."""
    clipped = np.clip(x, -1, 1)
    integral: Floats = 0.5 + clipped - 0.5 * clipped * np.abs(clipped)
    return integral
