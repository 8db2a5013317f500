"""The CT scanner: what it makes of a head. `geometry.py` says where its slices lie.

head grid -> cupping -> one resampling, averaged over the slice thickness -> headrest -> motion
-> streaks (coarse projections) -> point spread and matrix -> noise -> drift
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from slicewise.phantom import projections
from slicewise.phantom.artefacts import Motion, add_cupping, sample_motion, shading
from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.head import RenderedHead
from slicewise.phantom.headrest import AIR_HU, draw_headrest
from slicewise.phantom.noise import KERNELS, Kernel, image_noise
from slicewise.phantom.parameters import PhysicsParameters
from slicewise.phantom.sampler import HeadLattice, Jump, Sampler, Warp, WorkingGrid

_SPREAD_OF_GRID_MM = 0.35
"""Point spread that the head's own grid and its interpolation already have."""

_BACK_OF_HEAD_MM = 103.0
_SOFT_HU = 1150.0
"""Above air: up to here a pixel is no bone."""


@dataclass(frozen=True, eq=False)
class ScanPhysics:
    """The physics of one scan, drawn.

    Attributes:
        kernel: Reconstruction kernel.
        noise_hu: SD in slices of 5 mm seen on pixels of 1 mm, with the standard kernel.
        noise_by_position: Noise follows the attenuation along the rays.
        cupping_hu: Excess of brain at the inner table.
        cupping_decay_mm: Depth over which it falls to 1/e.
        hardening: Strength of dark bands between bones.
        starvation: Strength of noise streaks.
        metal: Metal throws star streaks.
        shading_hu: SD of a smooth drift.
        offset_hu: Error of calibration.
        motion: Slices with doubled contours.
        jump: New position of the head from some slice on.
        headrest: There is one in the field of view.
        circle: Only the circle of reconstruction holds an image.
    """

    kernel: Kernel
    noise_hu: float
    noise_by_position: bool
    cupping_hu: float
    cupping_decay_mm: float
    hardening: float
    starvation: float
    metal: bool
    shading_hu: float
    offset_hu: float
    motion: Motion | None
    jump: Jump | None
    headrest: bool
    circle: bool


@dataclass(frozen=True, eq=False)
class Scan:
    """What came out of the scanner.

    Attributes:
        hu: Shape (slices, matrix, matrix), not yet rounded.
        occupancy: Share of every voxel that is blood of a subtype, in that shape, for the subtypes that are there.
    """

    hu: Field
    occupancy: dict[str, Field]


def sample_physics(rng: np.random.Generator, parameters: PhysicsParameters, slices: int) -> ScanPhysics:
    """Draws the physics of one scan. Every effect is drawn, switched on or not, so that the others stay as they are.

    Args:
        rng: Where everything is drawn from.
        parameters: Probabilities and ranges.
        slices: Number of slices.
    """
    shares = np.array([parameters.smooth, parameters.standard, parameters.sharp])
    kernel = ("smooth", "standard", "sharp")[int(np.searchsorted(shares.cumsum() / shares.sum(), rng.random()))]
    chance = iter(rng.random(7).tolist())
    cups, hardens = next(chance) < parameters.cupping, next(chance) < parameters.hardening
    metal, moves, jumps = (
        next(chance) < parameters.metal,
        next(chance) < parameters.motion,
        next(chance) < parameters.jump,
    )
    rest, circle = next(chance) < parameters.headrest, next(chance) < parameters.circle
    excess, decay = rng.uniform(*parameters.cupping_hu), rng.uniform(*parameters.cupping_decay_mm)
    motion, jump = sample_motion(rng, slices), _sample_jump(rng, slices)
    return ScanPhysics(
        kernel=KERNELS[kernel],
        noise_hu=_log_uniform(rng, *parameters.noise_hu),
        noise_by_position=parameters.noise_by_position,
        cupping_hu=float(excess) * cups,
        cupping_decay_mm=float(decay),
        hardening=float(rng.uniform(*parameters.hardening_strength)) * hardens,
        starvation=float(rng.uniform(*parameters.starvation)),
        metal=metal,
        shading_hu=parameters.shading_hu * abs(float(rng.standard_normal())),
        offset_hu=parameters.offset_hu * float(rng.standard_normal()),
        motion=motion if moves else None,
        jump=jump if jumps else None,
        headrest=rest,
        circle=circle,
    )


def scan(
    head: RenderedHead, geometry: ScanGeometry, physics: ScanPhysics, rng: np.random.Generator, warp: Warp | None = None
) -> Scan:
    """Scans a head.

    Args:
        head: The head on its regular grid.
        geometry: Where the slices lie.
        physics: What the scanner makes of it.
        rng: Draws noise and the headrest.
        warp: Displacement of the whole head; None for none.
    """
    of_rest, of_streaks, of_noise, of_drift = rng.spawn(4)
    sampler = Sampler(HeadLattice(head.hu.shape, head.origin_mm, head.spacing_mm), geometry, warp, physics.jump)
    excess = _scene(head, geometry, physics, sampler, of_rest)
    detector = Detector(geometry, physics.kernel)
    coarse = detector.coarse(excess) + np.float32(AIR_HU)
    metal = _metal(head, sampler, detector) if physics.metal else None
    paths = projections.RayPaths.through(coarse, metal, geometry.fov_mm / projections.SIZE)
    _add_streaks(excess, paths, physics, detector, of_streaks)
    drift = np.float32(physics.shading_hu) * shading(
        of_drift, excess.shape, (5.0, detector.grid.step_mm, detector.grid.step_mm)
    )
    excess += (drift + np.float32(physics.offset_hu)) * np.clip(excess * np.float32(1e-3), 0, 1)
    hu = detector.sees(excess)
    hu += np.float32(AIR_HU)
    noise = image_noise(
        of_noise,
        hu.shape,
        pixel_mm=geometry.pixel_mm,
        kernel=physics.kernel,
        positions=geometry.offsets_mm,
        thickness_mm=geometry.thickness_mm,
    )
    noise *= np.float32(physics.noise_hu * physics.kernel.noise)
    if physics.noise_by_position:
        noise *= detector.from_coarse(paths.noise_pattern())
    hu += noise
    occupancy = {}
    for name, field in head.occupancy.items():
        seen = _blood(sampler, field, detector, physics)
        if seen is not None:
            occupancy[name] = seen
    return Scan(hu, occupancy)


class Detector:
    """In-plane point spread and resampling of one scan: one matrix serves rows and columns, as everything is square."""

    def __init__(self, geometry: ScanGeometry, kernel: Kernel) -> None:
        """Prepares the matrices of a scan."""
        self.grid = WorkingGrid.of(geometry)
        self._geometry = geometry
        self._kernel = kernel

    @cached_property
    def _spread(self) -> sparse.csr_array:
        """Point spread (matrix, working) of sum 1 a row: a Gaussian less a wider one, which sharpens edges."""
        wanted = (np.arange(self._geometry.matrix) + 0.5) * self._geometry.fov_mm / self._geometry.matrix
        working = (np.arange(self.grid.size) + 0.5) * self.grid.step_mm
        distance = wanted[:, None] - working[None, :]
        sigma = np.sqrt(max(self._kernel.spread_mm**2 - _SPREAD_OF_GRID_MM**2, 0.0))
        sigma = max(float(sigma), 0.42 * self.grid.step_mm, 0.4 * self._geometry.pixel_mm)
        weights = _gaussian(distance, sigma)
        if self._kernel.boost:
            weights = (1 + self._kernel.boost) * weights - self._kernel.boost * _gaussian(distance, 2.0 * sigma)
        return sparse.csr_array(weights.astype(np.float32))

    def sees(self, field: Field) -> Field:
        """Brings a field (slices, working, working) to (slices, matrix, matrix)."""
        return _both_axes(self._spread, field)

    def coarse(self, field: Field) -> Field:
        """Averages a field of the working grid to the coarse pixels of `projections`."""
        return _both_axes(_areas(self.grid.size, projections.SIZE), field)

    def from_coarse(self, field: Field) -> Field:
        """Interpolates a coarse field to the matrix."""
        return _both_axes(_linear(projections.SIZE, self._geometry.matrix), field)

    def to_working(self, field: Field) -> Field:
        """Interpolates a coarse field to the working grid."""
        return _both_axes(_linear(projections.SIZE, self.grid.size), field)


def _scene(
    head: RenderedHead, geometry: ScanGeometry, physics: ScanPhysics, sampler: Sampler, rng: np.random.Generator
) -> Field:
    """HU above air on the working grid: the head, the headrest, and the head's movement."""
    hu = head.hu
    if physics.cupping_hu > 0:
        hu = hu.copy()
        add_cupping(hu, head.wall_mm, physics.cupping_hu, physics.cupping_decay_mm)
    size = sampler.grid.size
    scene = np.zeros((geometry.slices, size, size), dtype=np.float32)
    inner = scene[:, sampler.rows, sampler.columns]
    np.subtract(sampler.sample(hu, AIR_HU), np.float32(AIR_HU), out=inner)
    if physics.motion is not None:
        physics.motion.blur(scene, sampler.grid.step_mm, 0.0)
    if physics.headrest:
        rest = draw_headrest(rng, geometry, _BACK_OF_HEAD_MM * float(geometry.pose.scale[1]))
        np.maximum(scene, rest, out=scene)
    return scene


def _add_streaks(
    excess: Field, paths: projections.RayPaths, physics: ScanPhysics, detector: Detector, rng: np.random.Generator
) -> None:
    of_starvation, of_metal = rng.spawn(2)
    errors = []
    if physics.starvation > 0 or physics.hardening > 0:
        rays = paths.starvation(of_starvation, physics.starvation * physics.noise_hu)
        rays += paths.hardening(physics.hardening)
        soft_share = detector.coarse((excess < _SOFT_HU).astype(np.float32))
        errors.append(_beside_bone(projections.projector().reconstruct(rays), soft_share))
    metal = paths.metal_streaks(of_metal)
    if metal is not None:
        errors.append(metal)
    if errors:
        excess += detector.to_working(sum(errors[1:], errors[0]))


def _beside_bone(error: Field, soft_share: Field) -> Field:
    """Replaces the error of bone itself, large and blurred into its neighbours, by that of soft tissue nearby."""
    weight = ndimage.minimum_filter(soft_share, (1, 5, 5))
    spread, total = (ndimage.gaussian_filter(part, (0.0, 2.0, 2.0), truncate=3.0) for part in (error * weight, weight))
    nearby = np.asarray(spread / np.maximum(total, np.float32(1e-3)), dtype=np.float32)
    return nearby + weight * (error - nearby)


def _metal(head: RenderedHead, sampler: Sampler, detector: Detector) -> Field | None:
    """Share of every coarse pixel that is metal, None where there is none."""
    if head.hu.max() <= projections.METAL_HU:
        return None
    share = _sampled_sparsely(sampler, (head.hu > projections.METAL_HU).astype(np.float32))
    return None if share is None else detector.coarse(share)


def _blood(sampler: Sampler, field: Field, detector: Detector, physics: ScanPhysics) -> Field | None:
    share = _sampled_sparsely(sampler, field)
    if share is None:
        return None
    if physics.motion is not None:
        physics.motion.blur(share, sampler.grid.step_mm, 0.0)
    seen = np.clip(detector.sees(share), 0, 1)
    return seen if seen.any() else None


def _sampled_sparsely(sampler: Sampler, field: Field) -> Field | None:
    """Brings a field that is 0 nearly everywhere to the working grid."""
    sampled = sampler.sample_sparse(field)
    if sampled is None:
        return None
    whole = np.zeros((len(sampled), sampler.grid.size, sampler.grid.size), dtype=np.float32)
    whole[:, sampler.rows, sampler.columns] = sampled
    return whole


def _sample_jump(rng: np.random.Generator, slices: int) -> Jump:
    degrees, shift = rng.normal(0, (4.0, 3.0, 6.0)), rng.normal(0, (3.0, 4.0, 3.0))
    return Jump(
        first=int(rng.integers(1, max(2, slices))),
        degrees=(float(degrees[0]), float(degrees[1]), float(degrees[2])),
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(max(low, 1e-6)), np.log(max(high, 1e-6)))))


def _gaussian(distance: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    weights = np.where(np.abs(distance) < 3.2 * sigma, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    normalised: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _areas(fine: int, coarse: int) -> sparse.csr_array:
    """Mean over the share of every fine pixel that a coarse one covers, shape (coarse, fine)."""
    edges, pixels = np.arange(coarse + 1) * fine / coarse, np.arange(fine)
    low, high = edges[:-1, None], edges[1:, None]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return sparse.csr_array((overlap / (high - low)).astype(np.float32))


def _linear(coarse: int, fine: int) -> sparse.csr_array:
    """Linear interpolation between pixel centres, shape (fine, coarse); constant beyond the outermost."""
    place = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    low = np.minimum(place.astype(np.int64), coarse - 2)
    share = place - low
    row = np.arange(fine)
    weights = np.concatenate([1 - share, share]).astype(np.float32)
    return sparse.csr_array((weights, (np.tile(row, 2), np.concatenate([low, low + 1]))), shape=(fine, coarse))


def _both_axes(matrix: sparse.csr_array, field: Field) -> Field:
    """Applies a matrix (out, in) along rows and columns: shape (slices, in, in) to (slices, out, out)."""
    slices, size, _ = field.shape
    wide = (matrix @ field.reshape(-1, size).T).reshape(-1, slices, size)
    high = matrix @ wide.transpose(2, 1, 0).reshape(size, -1)
    return np.ascontiguousarray(high.reshape(-1, slices, matrix.shape[0]).transpose(1, 0, 2))
