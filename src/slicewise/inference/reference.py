"""What a model says of its calibration patients, kept with the model: the measure of how like them other scans are.

`reference.json` of a model package holds distributions alone, no row of a patient. Calibration patients have trained
neither stage, so their scores and descriptors are what new patients from the same place would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.inference.descriptor_space import COMPONENTS, DescriptorSpace, fit_space
from slicewise.inference.distributions import STEPS, chance_between_halves, percentiles, step_of
from slicewise.package import REFERENCE, ModelPackage
from slicewise.package_parts import read_part

FORMAT_VERSION = 1
LARGEST_BYTES = 8 << 20
"""A reference beyond this size is refused before it is read."""

NEAR_QUANTILE = 0.25
"""A series is as unlike as its nearest quarter: top and base of a head look odd to a model, but never all slices."""

Floats = npt.NDArray[np.float64]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
LevelName = Literal["slice", "series", "study"]


@dataclass(frozen=True, eq=False)
class DescribedSeries:
    """What a model says of one series, one row a position (`slicewise.inference.axial.primary_rows`).

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        descriptors: Shape (S, D).
        probabilities: Calibrated, shape (S, L).
    """

    patient_id: str
    study_uid: str
    series_uid: str
    descriptors: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


class ScoreDistribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of one label.

    Attributes:
        percentiles: `slicewise.inference.distributions.percentiles` of the scores.
        ks_of_halves: Kolmogorov-Smirnov distance that random halves of the patients exceed in 1 of 1000 cases; None
            below 8 patients.
        psi_of_halves: Population stability index, likewise.
    """

    percentiles: tuple[Probability, ...]
    ks_of_halves: NotNegative | None
    psi_of_halves: NotNegative | None


class ScoreLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of slices, or the largest ones of series or of studies.

    Attributes:
        rows: Number of slices, series or studies.
        labels: Their scores by label.
    """

    rows: Count
    labels: dict[str, ScoreDistribution]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `reference.json` holds.

    Attributes:
        source: Whose distributions these are, in words.
        patients: Number of patients.
        scores: Calibrated probabilities by level.
        space: Where descriptors lie; made by one half of the patients.
        space_patients: Number of those.
        slice_distances: Percentiles of the distances of slices, of the other half. In a space that they had helped to
            make they would lie nearer than new patients do; in spaces that leave a few of them out in turn, further
            away, as those come from fewer patients. Another half is to that space what new patients are (split
            conformal prediction, Papadopoulos et al. 2002).
        series_distances: Percentiles of the mean distance of the slices of a series, likewise.
        distance_patients: Number of those.
        near_distances: Percentiles of `near_distance` of series, likewise; empty in references from before it was kept.
        format_version: Version of the format.
    """

    source: str
    patients: Count
    scores: dict[LevelName, ScoreLevel]
    space: DescriptorSpace
    space_patients: Count
    slice_distances: tuple[NotNegative, ...]
    series_distances: tuple[NotNegative, ...]
    distance_patients: Count
    near_distances: tuple[NotNegative, ...] = ()
    format_version: int = FORMAT_VERSION


def build_reference(series: Sequence[DescribedSeries], label_names: Sequence[str], source: str) -> Reference | None:
    """Builds the reference of a model.

    Args:
        series: What the model says of the series of patients that it has not learnt from.
        label_names: Names of the labels, in order.
        source: Whose series these are, in words.

    Returns:
        None below 2 patients: nobody could be measured in the space of others.
    """
    patients = sorted({item.patient_id for item in series})
    if len(patients) < 2:
        return None
    order = np.random.default_rng(0).permutation(len(patients))
    makers = {patients[place] for place in order[: len(patients) // 2]}
    # As many components as patients can tell apart: slices of one patient are alike.
    space = fit_space(
        [item.descriptors for item in series if item.patient_id in makers], min(COMPONENTS, len(makers) - 1)
    )
    distances = [space.distances(item.descriptors) for item in series if item.patient_id not in makers]
    return Reference(
        source=source,
        patients=len(patients),
        scores={level: _scores(series, patients, label_names, level) for level in ("slice", "series", "study")},
        space=space,
        space_patients=len(makers),
        slice_distances=percentiles(np.concatenate(distances)),
        series_distances=percentiles(np.array([item.mean() for item in distances])),
        distance_patients=len(patients) - len(makers),
        near_distances=percentiles(np.array([near_distance(item) for item in distances])),
    )


def near_distance(distances: Floats) -> float:
    """Returns how far a series is from known ones: the distance that its nearest quarter of slices stays within.

    Noise, a knee or an image of another unit has no slice that looks like a head, while the slices of a head that are
    farthest away, at top and base and where surgery was, are far away in ordinary heads, too.

    Args:
        distances: Of its slices, `DescriptorSpace.distances`, shape (S,), at least one.
    """
    return float(np.quantile(distances, NEAR_QUANTILE))


def level_scores(series: Sequence[DescribedSeries], level: LevelName) -> tuple[Floats, tuple[str, ...]]:
    """Returns the scores of one level, for series and studies the largest probability of their slices.

    Returns:
        Scores, shape (rows, labels), and the patient of every row.
    """
    if level == "slice":
        rows = np.concatenate([item.probabilities for item in series]).astype(np.float64)
        return rows, tuple(item.patient_id for item in series for _ in range(len(item.probabilities)))
    largest: dict[tuple[str, ...], Floats] = {}
    for item in series:
        # One patient's study: anonymisers have given one UID to several patients.
        key = (item.patient_id, item.study_uid, *((item.series_uid,) if level == "series" else ()))
        found = item.probabilities.max(axis=0).astype(np.float64)
        largest[key] = np.maximum(largest.get(key, found), found)
    return np.stack(list(largest.values())), tuple(key[0] for key in largest)


def read_reference(package: ModelPackage) -> Reference | None:
    """Reads and checks the reference of a model package; None where it has none.

    Raises:
        PackageError: If it is not valid, or made for another model.
    """
    return read_part(
        package,
        REFERENCE,
        Reference,
        format_version=FORMAT_VERSION,
        largest_bytes=LARGEST_BYTES,
        check=lambda reference: _check(reference, package),
        advice="Get the package again",
    )


def encode_reference(reference: Reference) -> bytes:
    """Returns the content of `reference.json`."""
    return msgspec.json.encode(reference)


def _scores(
    series: Sequence[DescribedSeries], patients: Sequence[str], label_names: Sequence[str], level: LevelName
) -> ScoreLevel:
    scores, owners = level_scores(series, level)
    place = {patient: index for index, patient in enumerate(patients)}
    columns = np.array([place[owner] for owner in owners])
    labels = {}
    for index, name in enumerate(label_names):
        table = percentiles(scores[:, index])
        counts = np.zeros((STEPS, len(patients)))
        np.add.at(counts, (step_of(scores[:, index], table), columns), 1.0)
        distance, stability = chance_between_halves(counts, table) or (None, None)
        labels[name] = ScoreDistribution(table, distance, stability)
    return ScoreLevel(rows=len(scores), labels=labels)


def _check(reference: Reference, package: ModelPackage) -> None:
    names, size = package.manifest.task.label_names, package.manifest.descriptor_size
    if len(reference.space.mean) != size:
        raise ValueError(f"space.mean has {len(reference.space.mean)} numbers; expected {size}, as descriptor_size")
    tables = {"slice_distances": reference.slice_distances, "series_distances": reference.series_distances}
    if reference.near_distances:
        tables["near_distances"] = reference.near_distances
    for level in ("slice", "series", "study"):
        found = reference.scores[level].labels if level in reference.scores else {}
        if set(found) != set(names):
            raise ValueError(f"scores.{level}.labels has {sorted(found)}; expected {sorted(names)}")
        tables |= {f"scores.{level}.labels.{name}.percentiles": item.percentiles for name, item in found.items()}
    for key, table in tables.items():
        if len(table) != STEPS + 1 or np.any(np.diff(table) < 0):
            raise ValueError(f"{key}: expected {STEPS + 1} numbers in ascending order")
