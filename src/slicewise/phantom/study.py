"""One synthetic study in memory: a Volume with labels, occupancies and volumes, from a seed and an index.

Everything follows from `np.random.SeedSequence(seed, spawn_key=(index, stream))`: the same study comes out whatever
is generated before it, beside it, or in which process.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from slicewise.errors import UsageError
from slicewise.phantom import scanner
from slicewise.phantom.anatomy import Anatomy, sample_anatomy, warped
from slicewise.phantom.brain import render_brain
from slicewise.phantom.fields import Field, HeadGrid
from slicewise.phantom.hemorrhage import (
    ANY,
    DEFAULT_SHARES,
    SUBTYPES,
    Hemorrhage,
    render_hemorrhages,
    sample_hemorrhages,
)
from slicewise.phantom.skull import AIR_HU, render_skull
from slicewise.volume import SliceReference, Volume

PHANTOM_VERSION = 1
"""Counts the changes that change a generated study."""

LABELS = (ANY, *SUBTYPES)
UNKNOWN = -1
POSITIVE_MM2, BORDERLINE_MM2 = 15.0, 4.0
_SECOND_STUDY_SHARE = 2 / 11
"""Odd studies that go on with the patient before them: 10 % of the patients then have two studies."""

_ANATOMY, _GEOMETRY, _BLEEDS, _TEXTURE, _IMAGE, _CHAIN = range(6)


class PhantomParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about a phantom.

    Attributes:
        matrix: Rows and columns of the images.
        slices: Smallest and largest number of slices of a study.
        positive_share: Share of the studies that get hemorrhages. A small or cut-off one may still leave no slice
            positive.
        tilted_share: Share of the studies with a tilted gantry.
        subtype_shares: How often each subtype comes first in a positive study.
    """

    matrix: int = 512
    slices: tuple[int, int] = (28, 40)
    positive_share: float = 0.5
    tilted_share: float = 0.6
    subtype_shares: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(DEFAULT_SHARES))

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            UsageError: If one does not fit.
        """
        if not 32 <= self.matrix <= 1024:
            raise UsageError(f"matrix: {self.matrix} is not between 32 and 1024")
        if not 1 <= self.slices[0] <= self.slices[1] <= 60:
            raise UsageError(f"slices: expected 1 <= smallest <= largest <= 60, not {self.slices}")
        for name in ("positive_share", "tilted_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: {getattr(self, name)} is not between 0 and 1")
        unknown = sorted(set(self.subtype_shares) - set(SUBTYPES))
        if unknown or min(self.subtype_shares.values(), default=0) < 0 or sum(self.subtype_shares.values()) <= 0:
            raise UsageError(f"subtype_shares: expected shares of {', '.join(SUBTYPES)} that are not all 0")


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A generated study.

    Attributes:
        volume: The image in whole HU, ordered from feet to head.
        geometry: Where its slices lie.
        hemorrhages: What was planted; coordinates are those of the template head.
        occupancy: Share of every voxel that is blood of a subtype, shape (slices, rows, columns), for the subtypes
            that are there.
        areas_mm2: Occupancy summed over a slice, shape (slices, subtypes), in the order of `SUBTYPES`.
        labels: 1, 0 or -1 (unknown) for every slice, shape (slices, labels), in the order of `LABELS`.
        volumes_ml: Volume of blood of every subtype within the scan.
        index: Number of the study.
    """

    volume: Volume
    geometry: scanner.ScanGeometry
    hemorrhages: tuple[Hemorrhage, ...]
    occupancy: dict[str, Field]
    areas_mm2: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    volumes_ml: dict[str, float]
    index: int


def generate_study(seed: int, index: int, parameters: PhantomParameters | None = None) -> PhantomStudy:
    """Generates one study.

    Args:
        seed: Seed of the whole phantom data set.
        index: Number of the study in it, from 0.
        parameters: What can be chosen; None for the defaults.
    """
    parameters = parameters or PhantomParameters()
    # One thread: with several, matrix products are summed in another order, and a rounded HU may differ. For matrices
    # of this size it is faster, too.
    with threadpool_limits(1, user_api="blas"):
        return _generate(seed, index, parameters)


def _generate(seed: int, index: int, parameters: PhantomParameters) -> PhantomStudy:
    anatomy = sample_anatomy(_stream(seed, patient_index(seed, index), _ANATOMY))
    geometry = scanner.sample_geometry(
        _stream(seed, index, _GEOMETRY),
        matrix=parameters.matrix,
        slices=parameters.slices,
        tilted_share=parameters.tilted_share,
        scale=anatomy.scale,
    )
    hemorrhages = _plan(_stream(seed, index, _BLEEDS), parameters)
    values, occupancy = _scan(
        anatomy, geometry, hemorrhages, _stream(seed, index, _TEXTURE), _stream(seed, index, _IMAGE)
    )
    areas = np.zeros((len(values), len(SUBTYPES)))
    for name, field in occupancy.items():
        areas[:, SUBTYPES.index(name)] = field.sum(axis=(1, 2), dtype=np.float64) * geometry.pixel_mm**2
    return PhantomStudy(
        volume=_volume(values, geometry, seed, index),
        geometry=geometry,
        hemorrhages=hemorrhages,
        occupancy=occupancy,
        areas_mm2=areas,
        labels=labels_from_areas(areas),
        volumes_ml={
            name: float(area) * geometry.spacing_mm / 1000
            for name, area in zip(SUBTYPES, areas.sum(axis=0), strict=True)
        },
        index=index,
    )


def labels_from_areas(areas_mm2: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Labels slices by the area of blood: positive from 15 mm2, unknown from 4 mm2, negative below.

    `any` is positive where a subtype is, else unknown where a subtype is, else negative.

    Args:
        areas_mm2: Shape (slices, subtypes).

    Returns:
        1, 0 or -1 (unknown), shape (slices, 1 + subtypes), `any` first.
    """
    subtypes = np.where(areas_mm2 >= POSITIVE_MM2, 1, np.where(areas_mm2 >= BORDERLINE_MM2, UNKNOWN, 0))
    positive, unknown = (subtypes == 1).any(axis=1), (subtypes == UNKNOWN).any(axis=1)
    summary = np.where(positive, 1, np.where(unknown, UNKNOWN, 0))
    labels: npt.NDArray[np.int8] = np.column_stack([summary, subtypes]).astype(np.int8)
    return labels


def patient_index(seed: int, index: int) -> int:
    """Returns the index of the first study of the patient of a study."""
    if index % 2 == 1 and _stream(seed, index, _CHAIN).random() < _SECOND_STUDY_SHARE:
        return index - 1
    return index


def patient_id(seed: int, index: int) -> str:
    """Returns the Patient ID of a study."""
    return f"PHANTOM-{seed}-{patient_index(seed, index):06d}"


def stable_uid(*parts: object) -> str:
    """Returns a valid UID that follows from its parts: a name-based UUID under 2.25, DICOM PS3.5 B.2."""
    name = "/".join(["slicewise-phantom", str(PHANTOM_VERSION), *map(str, parts)])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def _stream(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))


def _plan(rng: np.random.Generator, parameters: PhantomParameters) -> tuple[Hemorrhage, ...]:
    if rng.random() >= parameters.positive_share:
        return ()
    return sample_hemorrhages(rng, parameters.subtype_shares)


def _scan(
    anatomy: Anatomy,
    geometry: scanner.ScanGeometry,
    hemorrhages: tuple[Hemorrhage, ...],
    texture: np.random.Generator,
    image: np.random.Generator,
) -> tuple[Field, dict[str, Field]]:
    """Draws the head, then scans it: HU of shape (slices, matrix, matrix), and the occupancies."""
    grid, window = scanner.crop(scanner.head_grid(geometry), (-84.0, -114.0, -150.0), (84.0, 104.0, 95.0))
    grid = warped(grid, texture, anatomy.warp_mm)
    head, occupancy = _draw(grid, anatomy, hemorrhages, texture, image)
    whole = scanner.headrest(geometry, image)
    _, rows, columns = window
    np.maximum(whole[:, rows, columns], head - np.float32(AIR_HU), out=whole[:, rows, columns])
    spread = float(image.uniform(0.6, 0.9))
    hu = scanner.Detector.of(geometry, None, spread).sees(whole)
    hu += np.float32(AIR_HU)
    hu += scanner.image_noise(image, hu.shape, geometry.pixel_mm, float(image.uniform(2, 5)))
    detector = scanner.Detector.of(geometry, window, spread)
    return scanner.quantised(hu), {name: detector.sees(field) for name, field in occupancy.items()}


def _draw(
    grid: HeadGrid,
    anatomy: Anatomy,
    hemorrhages: tuple[Hemorrhage, ...],
    texture: np.random.Generator,
    image: np.random.Generator,
) -> tuple[Field, dict[str, Field]]:
    """The head and its hemorrhages on the working grid, averaged over sub-slices."""
    hu, cavity = render_skull(grid, anatomy, texture)
    pushes = tuple(push for one in hemorrhages if (push := one.push) is not None)
    brain = render_brain(hu, grid, anatomy, texture, cavity_mm=cavity, pushes=pushes)
    occupancy = render_hemorrhages(grid, brain, hemorrhages, texture, hu)
    head = scanner.partial_volume(hu)
    wall = scanner.partial_volume(brain.wall_mm)
    head += scanner.cupping(wall, float(image.uniform(0, 20)), float(image.uniform(6, 16)))
    return head, {name: scanner.partial_volume(field) for name, field in occupancy.items()}


def _volume(values: Field, geometry: scanner.ScanGeometry, seed: int, index: int) -> Volume:
    count = len(values)
    facts: dict[str, Any] = {"study_uid": stable_uid(seed, index), "series_uid": stable_uid(seed, index, "series")}
    slices = tuple(
        SliceReference(stable_uid(seed, index, "slice", number), 1, f"study {index}, slice {number}", number)
        for number in range(count)
    )
    return Volume(
        values=values,
        positions_mm=geometry.positions_mm,
        pixel_spacing_mm=(geometry.pixel_mm, geometry.pixel_mm),
        tilt_degrees=abs(geometry.tilt_degrees),
        duplicate_rank=np.zeros(count, dtype=np.int64),
        slices=slices,
        patient_id=patient_id(seed, index),
        modality="CT",
        **facts,
    )
