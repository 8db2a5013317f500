"""One synthetic study in memory: a Volume with labels, occupancies and volumes, from a seed and an index.

Everything follows from `np.random.SeedSequence(seed, spawn_key=(index, stream))`: the same study comes out whatever
is generated before it, beside it, or in which process.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from slicewise.phantom.anatomy import sample_anatomy
from slicewise.phantom.artefacts import outside_circle
from slicewise.phantom.companions import Companion, MainSeries, make_companions
from slicewise.phantom.fields import Field
from slicewise.phantom.geometry import ScanGeometry, sample_geometry
from slicewise.phantom.head import RenderedHead, render_head
from slicewise.phantom.header_styles import HeaderStyle, sample_style
from slicewise.phantom.hemorrhages.model import SUBTYPES, Hemorrhage
from slicewise.phantom.hemorrhages.plan import sample_hemorrhages
from slicewise.phantom.labels import blood_areas_mm2, labels_from_areas
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.sampler import Warp
from slicewise.phantom.scanner import ScanPhysics, sample_physics, scan
from slicewise.volume import SliceReference, Volume

PHANTOM_VERSION = 3
"""Counts the changes that change a generated study."""

_SECOND_STUDY_SHARE = 2 / 11
"""Odd studies, beside twins, that go on with the patient before them: 10 % of the patients then have two studies."""

_ANATOMY, _GEOMETRY, _BLEEDS, _TEXTURE, _IMAGE, _CHAIN, _WARP, _PHYSICS, _STYLE, _COMPANIONS = range(10)


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A generated study.

    Attributes:
        volume: The image in whole HU, ordered from feet to head, as a reader of its files finds it.
        geometry: Where its slices lie.
        physics: What the scanner made of the head.
        style: Whose habits its headers have.
        hemorrhages: What was planted; coordinates are those of the template head.
        occupancy: Share of every voxel that is blood of a subtype, shape (slices, rows, columns), for the subtypes
            that are there.
        areas_mm2: Visible blood of a slice, shape (slices, subtypes), in the order of `SUBTYPES`.
        labels: 1, 0 or -1 (unknown) for every slice, shape (slices, labels), in the order of `labels.LABELS`.
        volumes_ml: Volume of blood of every subtype within the scan.
        index: Number of the study.
        companions: Localizer and second reconstruction, where they were asked for and the study has them.
    """

    volume: Volume
    geometry: ScanGeometry
    physics: ScanPhysics
    style: HeaderStyle
    hemorrhages: tuple[Hemorrhage, ...]
    occupancy: dict[str, Field]
    areas_mm2: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    volumes_ml: dict[str, float]
    index: int
    companions: tuple[Companion, ...] = ()

    @property
    def outside(self) -> npt.NDArray[np.bool_] | None:
        """Pixels outside the circle of reconstruction, None where the whole field of view holds an image."""
        return outside_circle(self.geometry.matrix) if self.physics.circle else None


def generate_study(
    seed: int, index: int, parameters: PhantomParameters | None = None, *, companions: bool = False
) -> PhantomStudy:
    """Generates one study.

    Args:
        seed: Seed of the whole phantom data set.
        index: Number of the study in it, from 0.
        parameters: What can be chosen; None for the defaults.
        companions: Also what else the study holds; the study itself is the same without.
    """
    parameters = parameters or PhantomParameters()
    # One thread: with several, matrix products are summed in another order, and a rounded HU may differ. For matrices
    # of this size it is faster, too.
    with threadpool_limits(1, user_api="blas"):
        return _generate(seed, index, parameters, companions=companions)


def _generate(seed: int, index: int, parameters: PhantomParameters, *, companions: bool) -> PhantomStudy:
    planned = plan_study(seed, index, parameters)
    head, geometry, warp = planned.head, planned.geometry, planned.warp
    scanner = _scan_index(seed, index, parameters)
    physics = sample_physics(stream(seed, scanner, _PHYSICS), parameters.physics, geometry.slices)
    style = sample_style(stream(seed, scanner, _STYLE), parameters.headers)
    scanned = scan(head, geometry, physics, stream(seed, index, _IMAGE), warp)
    values = style.storage.quantise(scanned.hu)
    if physics.circle:
        values[:, outside_circle(geometry.matrix)] = style.storage.outside_hu
    areas = np.zeros((geometry.slices, len(SUBTYPES)))
    if scanned.occupancy:
        areas = blood_areas_mm2(scanned.occupancy, geometry.pixel_mm)
    extra: tuple[Companion, ...] = ()
    if companions:
        main = MainSeries(geometry, physics, style.storage, warp)
        extra = make_companions(stream(seed, index, _COMPANIONS), parameters.headers, head, main)
    return PhantomStudy(
        volume=_volume(values, planned, seed, index),
        geometry=geometry,
        physics=physics,
        style=style,
        hemorrhages=head.hemorrhages,
        occupancy=scanned.occupancy,
        areas_mm2=areas,
        labels=labels_from_areas(areas),
        volumes_ml=_volumes_ml(scanned.occupancy, geometry),
        index=index,
        companions=extra,
    )


@dataclass(frozen=True, eq=False)
class PlannedStudy:
    """A head that lies in a scanner, before it is scanned.

    Attributes:
        head: The head with its hemorrhages.
        geometry: Where the slices will lie.
        warp: Displacement that makes its shape.
        patient: Index of the first study of its patient.
    """

    head: RenderedHead
    geometry: ScanGeometry
    warp: Warp
    patient: int


def plan_study(seed: int, index: int, parameters: PhantomParameters, *, tissue: bool = False) -> PlannedStudy:
    """Draws the head of a study and how it lies in the scanner.

    Args:
        seed: Seed of the whole phantom data set.
        index: Number of the study in it, from 0.
        parameters: What can be chosen.
        tissue: Also the tissue class of every voxel of the head.
    """
    patient, scanned = patient_index(seed, index, parameters), _scan_index(seed, index, parameters)
    anatomy = sample_anatomy(stream(seed, patient, _ANATOMY), parameters.mimics, parameters.anatomy)
    hemorrhages = sample_hemorrhages(stream(seed, scanned, _BLEEDS), parameters.hemorrhage, anatomy.surgery)
    if scanned != index:  # a twin: with blood if the other has none
        share = 0.0 if hemorrhages else 1.0
        others = msgspec.structs.replace(parameters.hemorrhage, positive_share=share, twins=0.0)
        hemorrhages = sample_hemorrhages(stream(seed, index, _BLEEDS), others, anatomy.surgery)
    head = render_head(anatomy, hemorrhages, stream(seed, patient, _TEXTURE), tissue=tissue)
    geometry = sample_geometry(stream(seed, scanned, _GEOMETRY), parameters.geometry, np.array(anatomy.scale))
    return PlannedStudy(head, geometry, Warp.sample(stream(seed, patient, _WARP), anatomy.warp_mm), patient)


def patient_index(seed: int, index: int, parameters: PhantomParameters) -> int:
    """Returns the index of the first study of the patient of a study."""
    share = _SECOND_STUDY_SHARE + parameters.hemorrhage.twins
    return index - 1 if index % 2 == 1 and _chain(seed, index) < share else index


def _scan_index(seed: int, index: int, parameters: PhantomParameters) -> int:
    """Returns the index of the study whose geometry and scanner a study has: another one's for a twin, else its own."""
    twins = parameters.hemorrhage.twins
    return index - 1 if index % 2 == 1 and _chain(seed, index) < twins else index


def _chain(seed: int, index: int) -> float:
    return float(stream(seed, index, _CHAIN).random())


def series_uid(seed: int, index: int) -> str:
    """Returns the Series Instance UID of the main series of a study."""
    return stable_uid(seed, index, "series")


def stable_uid(*parts: object) -> str:
    """Returns a valid UID that follows from its parts: a name-based UUID under 2.25, DICOM PS3.5 B.2."""
    name = "/".join(["slicewise-phantom", str(PHANTOM_VERSION), *map(str, parts)])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def stream(seed: int, index: int, number: int) -> np.random.Generator:
    """Returns the generator of one aspect of a study, which nothing else draws from."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, number)))


def _volumes_ml(occupancy: dict[str, Field], geometry: ScanGeometry) -> dict[str, float]:
    volumes = dict.fromkeys(SUBTYPES, 0.0)
    for name, field in occupancy.items():
        areas = field.sum(axis=(1, 2), dtype=np.float64) * geometry.pixel_mm**2
        volumes[name] = float(areas @ geometry.slice_volumes_ml)
    return volumes


def _volume(values: Field, planned: PlannedStudy, seed: int, index: int) -> Volume:
    geometry, stack = planned.geometry, planned.geometry.stack
    slices = tuple(
        SliceReference(stable_uid(seed, index, "slice", number), 1, f"study {index}, slice {number}", number)
        for number in range(len(values))
    )
    return Volume(
        values=values,
        positions_mm=stack.positions_mm,
        pixel_spacing_mm=(geometry.pixel_mm, geometry.pixel_mm),
        tilt_degrees=stack.tilt_degrees,
        duplicate_rank=stack.duplicate_rank,
        slices=slices,
        patient_id=f"PHANTOM-{seed}-{planned.patient:06d}",
        study_uid=stable_uid(seed, index),
        series_uid=series_uid(seed, index),
        modality="CT",
        orientation=stack.orientation,
        warnings=stack.warnings,
    )
