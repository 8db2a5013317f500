"""Smooth random fields and soft shapes: what the phantom is drawn with.

All lengths are millimetres of the template head; every array is float32. A soft shape is an occupancy in [0, 1] that
falls over `EDGE_MM`, about one pixel of the working grid, so that nothing depends on where pixel centres happen to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Window = tuple[slice, slice, slice]
Point = tuple[float, float, float]

EDGE_MM = 1.3
_TEXTURE_MARGIN_MM = 70.0


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """Template coordinates of every sample of the working grid, all of shape (sub-slices, rows, columns).

    The template is centred on the head: x grows to the patient's left, y to the back, z to the vertex, and z = 0 lies
    a little above the orbitomeatal plane, at the level of the thalami.

    Attributes:
        x: Left coordinate.
        y: Posterior coordinate.
        z: Superior coordinate.
        spacing_mm: Distance between samples along the three axes of the grid.
    """

    x: Field
    y: Field
    z: Field
    spacing_mm: tuple[float, float, float]

    _COARSE: ClassVar[int] = 6

    @cached_property
    def _coarse(self) -> list[Field]:
        """Every sixth sample of a plane: enough to find windows."""
        step = self._COARSE
        return [np.ascontiguousarray(axis[:, ::step, ::step]) for axis in (self.x, self.y, self.z)]

    def window(self, low: Point, high: Point) -> Window:
        """Returns the part of the grid that encloses a box of the template, generously (a few millimetres)."""
        step, margin = self._COARSE, self._COARSE * self.spacing_mm[1] + 1.0
        inside = np.ones(self._coarse[0].shape, dtype=bool)
        for axis, start, stop in zip(self._coarse, low, high, strict=True):
            inside &= (axis > start - margin) & (axis < stop + margin)
        planes, rows, columns = np.nonzero(inside)
        return (
            _span(planes, 1, self.x.shape[0]),
            _span(rows, step, self.x.shape[1]),
            _span(columns, step, self.x.shape[2]),
        )

    def at(self, window: Window) -> tuple[Field, Field, Field]:
        """Returns x, y, z of a part of the grid."""
        return self.x[window], self.y[window], self.z[window]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid along the axes of the template."""

    center: Point
    radii: Point

    def box(self, margin: float = 2.0) -> tuple[Point, Point]:
        """Returns two opposite corners of the enclosing box."""
        return _box((self.center,), self.radii, margin)

    def depth(self, x: Field, y: Field, z: Field) -> Field:
        """Returns the distance to the surface to first order, positive inside."""
        u, v, w = (
            (axis - np.float32(at)) * np.float32(1 / radius)
            for axis, at, radius in zip((x, y, z), self.center, self.radii, strict=True)
        )
        reach = np.sqrt(u * u + v * v + w * w)
        a, b, c = (np.float32(1 / radius) for radius in self.radii)
        u, v, w = u * a, v * b, w * c
        slope = np.sqrt(u * u + v * v + w * w)
        depth: Field = (reach + np.float32(1e-3)) * (1 - reach) / (slope + np.float32(1e-3 / max(self.radii)))
        return depth


@dataclass(frozen=True)
class Tube:
    """A bent tube: spheres of changing radius along a line of points."""

    points: tuple[Point, ...]
    radii: tuple[float, ...]

    def box(self, margin: float = 2.0) -> tuple[Point, Point]:
        """Returns two opposite corners of the enclosing box."""
        radius = max(self.radii)
        return _box(self.points, (radius, radius, radius), margin)

    def depth(self, x: Field, y: Field, z: Field) -> Field:
        """Returns the distance to the surface, positive inside."""
        depth = np.full(x.shape, -1e3, dtype=np.float32)
        for index in range(len(self.points) - 1):
            start, stop = np.array(self.points[index]), np.array(self.points[index + 1])
            along = (stop - start) / np.dot(stop - start, stop - start)
            dx, dy, dz = (axis - np.float32(at) for axis, at in zip((x, y, z), start, strict=True))
            share = np.clip(dx * np.float32(along[0]) + dy * np.float32(along[1]) + dz * np.float32(along[2]), 0, 1)
            dx, dy, dz = (
                axis - share * np.float32(length) for axis, length in zip((dx, dy, dz), stop - start, strict=True)
            )
            radius = self.radii[index] + share * np.float32(self.radii[index + 1] - self.radii[index])
            np.maximum(depth, radius - np.sqrt(dx * dx + dy * dy + dz * dz), out=depth)
        return depth


Shape = Ellipsoid | Tube


def mirrored(shape: Shape) -> tuple[Shape, Shape]:
    """Returns a shape and its mirror image on the other side of the head."""
    if isinstance(shape, Ellipsoid):
        x, y, z = shape.center
        return shape, Ellipsoid((-x, y, z), shape.radii)
    return shape, Tube(tuple((-x, y, z) for x, y, z in shape.points), shape.radii)


def soft(depth: Field, edge_mm: float = EDGE_MM) -> Field:
    """Turns a distance to a surface (positive inside) into an occupancy in [0, 1]; exactly 0 beyond half the edge."""
    occupancy = depth * np.float32(1 / edge_mm)
    occupancy += np.float32(0.5)
    np.clip(occupancy, 0, 1, out=occupancy)
    return occupancy


def blend(image: Field, occupancy: Field, value: Field | float) -> None:
    """Paints a value onto an image, in place, as far as the occupancy goes."""
    image += occupancy * (np.asarray(value, dtype=np.float32) - image)


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], length_mm: Sequence[float] | float
) -> Field:
    """Draws Gaussian noise of mean 0, SD 1 and Gaussian covariance exp(-r^2 / (2 length^2)).

    White noise on coarse control points is spread by one Gaussian per axis, so the cost is that of a few thin matrix
    products whatever the shape.

    Args:
        rng: Where the control points come from.
        shape: Shape of the field.
        spacing_mm: Distance between samples along every axis.
        length_mm: Correlation length, of every axis or of all. Along an axis with a length below 3/4 of a sample (or 0)
            the samples are independent.
    """
    if 0 in shape:
        return np.zeros(shape, dtype=np.float32)
    lengths = [length_mm] * len(shape) if isinstance(length_mm, int | float) else list(length_mm)
    bases = [_basis(n, step, length) for n, step, length in zip(shape, spacing_mm, lengths, strict=True)]
    field: Field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:
        # Contracting the first axis puts the new one last: after all of them the order is the old one again.
        field = np.tensordot(field, basis, axes=([0], [1]))
    return field


def texture(rng: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], length_mm: float) -> Field:
    """Draws fine noise like `smooth_noise`, cheaply: a random part of a block that is made once a process.

    Returns:
        A view, flipped at random; change copies only.
    """
    block = _texture_block(tuple(shape), tuple(spacing_mm), length_mm)
    part = []
    for count, size in zip(shape, block.shape, strict=True):
        start = int(rng.integers(0, size - count + 1))
        part.append(slice(start, start + count))
    flips = tuple(slice(None, None, -1 if flip else 1) for flip in rng.random(len(part)) < 0.5)
    return block[tuple(part)][flips]


@lru_cache(maxsize=8)
def _texture_block(shape: tuple[int, ...], spacing_mm: tuple[float, ...], length_mm: float) -> Field:
    rng = np.random.default_rng(0)  # what is drawn for a study is the part of the block
    larger = [count + int(_TEXTURE_MARGIN_MM / step) for count, step in zip(shape, spacing_mm, strict=True)]
    return smooth_noise(rng, larger, spacing_mm, length_mm)


def _basis(count: int, spacing: float, length: float) -> Field:
    """Weights (samples, control points) of unit norm a sample."""
    if length < 0.75 * spacing:
        return np.eye(count, dtype=np.float32)
    sigma = length / np.sqrt(2)
    step = 1.2 * sigma
    positions = np.arange(count) * spacing
    points = np.arange(-3 * sigma, positions[-1] + 3 * sigma + step, step)
    weights = np.exp(-0.5 * ((positions[:, None] - points[None, :]) / sigma) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    basis: Field = weights.astype(np.float32)
    return basis


def _span(indices: npt.NDArray[np.intp], step: int, count: int) -> slice:
    if not len(indices):
        return slice(0, 0)
    return slice(int(indices.min()) * step, min((int(indices.max()) + 1) * step, count))


def _box(points: Sequence[Point], radii: Point, margin: float) -> tuple[Point, Point]:
    array = np.array(points)
    reach = np.array(radii) + margin
    low, high = array.min(axis=0) - reach, array.max(axis=0) + reach
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))
