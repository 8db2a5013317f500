"""How often the place that a model points at lies in the finding, on datasets whose masks are known.

Of every row of the network input that has a label and is flagged for it, the one place with the most evidence counts.
Masks are known on a coarse grid: a place lies inside a finding where the finding touches its cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import UsageError
from slicewise.evaluation.bootstrap import SumStatistic, patient_multiplicities
from slicewise.evaluation.evidence import Estimate, estimate
from slicewise.evaluation.metrics import divide
from slicewise.evaluation.model_card import LocalisedLabel
from slicewise.evaluation.statistics import dense_sums
from slicewise.inference.axial import primary_rows
from slicewise.inference.detector import Detector
from slicewise.inference.evidence import EvidenceFinder, peak_on_grid
from slicewise.progress import Progress, no_progress
from slicewise.task import OCCUPANCY_STRIDE

NEAR_MM = 10.0

Cells = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


class Peak(NamedTuple):
    """The place with the most evidence for a label in one row of a network input.

    Attributes:
        patient_id: Patient ID.
        label: Index of the label.
        inside: It lies in a cell that the finding touches.
        near: It lies at most `NEAR_MM` from such a cell.
        chance_inside: Share of the cells with a body in them that the finding touches: a place taken at random.
        chance_near: Share of those cells whose centre lies at most `NEAR_MM` from such a cell.
    """

    patient_id: str
    label: int
    inside: bool
    near: bool
    chance_inside: float
    chance_near: float


@dataclass(frozen=True)
class Localisation:
    """How often a model points at findings.

    Attributes:
        labels: One item a label that has flagged positive rows with masks.
        chance_inside: What `inside` of each would be for places taken at random where there is a body.
        chance_near: What `within_10_mm` would be, likewise.
    """

    labels: tuple[LocalisedLabel, ...]
    chance_inside: tuple[float, ...]
    chance_near: tuple[float, ...]


def with_masks(dataset: Dataset, records: Sequence[SeriesRecord]) -> Sequence[SeriesRecord]:
    """Returns the series whose masks are known.

    Raises:
        UsageError: If there are none.
    """
    found = [record for record in records if record.masks_digest]
    if not found:
        raise UsageError(
            f"{dataset.path}: none of the {len(records)} series has masks, so where findings are is not known. Prepare "
            "it with --masks, or make it with `slicewise phantom --dataset`"
        )
    return found


def find_peaks(
    detector: Detector,
    dataset: Dataset,
    records: Sequence[SeriesRecord],
    *,
    by_occlusion: bool = False,
    progress: Progress = no_progress,
) -> tuple[Peak, ...]:
    """Finds where a model points at, in every row that has a label, is flagged for it, and has a mask of it.

    Args:
        detector: The model.
        dataset: A prepared dataset with the labels and the preprocessing of the model.
        records: Series of it that have masks.
        by_occlusion: Search by occlusion although the network makes maps.
        progress: Reports on series.
    """
    shown = progress(records, description="Scoring", total=len(records), unit="series")
    return tuple(peak for record in shown for peak in _peaks(detector, dataset, record, by_occlusion=by_occlusion))


def localise(peaks: Sequence[Peak], label_names: Sequence[str], *, resamples: int, seed: int = 0) -> Localisation:
    """Measures how often peaks lie in findings, with intervals from resampled patients.

    Args:
        peaks: The peaks.
        label_names: Names of all labels, in order.
        resamples: Number of resamples of the patients.
        seed: The same seed gives the same intervals.
    """
    patients = {name: place for place, name in enumerate(sorted({peak.patient_id for peak in peaks}))}
    draws = patient_multiplicities(len(patients), resamples, seed) if patients else None
    labels, chances = [], []
    for label, name in enumerate(label_names):
        of_label = [peak for peak in peaks if peak.label == label]
        if draws is None or not of_label:
            continue
        owners = np.array([patients[peak.patient_id] for peak in of_label], dtype=np.intp)
        columns = [np.array([float(share) for share in column]) for column in list(zip(*of_label, strict=True))[2:]]
        sums = SumStatistic(
            dense_sums([*columns[:2], np.ones(len(of_label))], owners, len(patients)),
            lambda sums: {"inside": divide(sums[0], sums[2]), "near": divide(sums[1], sums[2])},
        )
        found = sums.resample(draws)
        inside, near = (
            estimate(float(column.mean()), found[key])
            for key, column in zip(("inside", "near"), columns[:2], strict=True)
        )
        labels.append(LocalisedLabel(label=name, flagged=len(of_label), inside=inside, within_10_mm=near))
        chances.append((float(columns[2].mean()), float(columns[3].mean())))
    return Localisation(tuple(labels), tuple(inside for inside, _ in chances), tuple(near for _, near in chances))


def localisation_table(found: Localisation) -> list[str]:
    """Returns the lines of a table in Markdown."""
    lines = [
        "| label | slices | inside | by chance | within 10 mm | by chance |",
        "|---|---|---|---|---|---|",
    ]
    for item, inside, near in zip(found.labels, found.chance_inside, found.chance_near, strict=True):
        cells = (
            item.label,
            str(item.flagged),
            _text(item.inside),
            f"{inside:.3f}",
            _text(item.within_10_mm),
            f"{near:.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _peaks(detector: Detector, dataset: Dataset, record: SeriesRecord, *, by_occlusion: bool) -> Iterator[Peak]:
    model_input = dataset.input(record)
    described = detector.describe_input(model_input)
    finder = EvidenceFinder(detector.package, detector.runtime)
    wanted = finder.flagged(described.probabilities) & (dataset.row_labels(record) == 1)
    masks = dataset.masks(record) > 0
    wanted &= masks.any(axis=(2, 3))
    rows = np.intersect1d(np.flatnonzero(wanted.any(axis=1)), primary_rows(model_input.duplicate_rank))
    if not len(rows):
        return
    size, parameters = model_input.values.shape[-1], dataset.task.preprocessing
    evidence = finder.values(model_input, rows, None if by_occlusion else described.maps)
    for row, values in zip(rows.tolist(), evidence, strict=True):
        body = cell_means(model_input.values[row]) > parameters.body_threshold
        for label in np.flatnonzero(wanted[row]).tolist():
            mask = masks[row, label]
            peak = np.array([peak_on_grid(values[label], size)])
            distance = parameters.pixel_mm * distances(peak, mask)[0]
            by_chance = parameters.pixel_mm * distances(_centres(body | mask), mask)
            yield Peak(
                patient_id=record.patient_id,
                label=label,
                inside=bool(distance == 0),
                near=bool(distance <= NEAR_MM),
                chance_inside=float((by_chance == 0).mean()),
                chance_near=float((by_chance <= NEAR_MM).mean()),
            )


def distances(points: Points, mask: Cells) -> Points:
    """Returns how far points are from the nearest cell of a mask, 0 within it, in pixels of the grid, shape (P,).

    Args:
        points: Rows and columns on the grid of the network input, shape (P, 2).
        mask: Cells that a finding touches, at least one, shape (C, C).
    """
    beyond = np.abs(points[:, None] - _centres(mask)) - OCCUPANCY_STRIDE / 2
    nearest: Points = np.linalg.norm(np.maximum(beyond, 0), axis=-1).min(axis=1)
    return nearest


def cell_means(values: npt.NDArray[np.int16]) -> Points:
    """Returns the mean value of every cell of the coarse grid, shape (C, C)."""
    cells = len(values) // OCCUPANCY_STRIDE
    means: Points = values.reshape(cells, OCCUPANCY_STRIDE, cells, OCCUPANCY_STRIDE).mean(axis=(1, 3))
    return means


def _centres(cells: Cells) -> Points:
    """Returns rows and columns on the grid of the centres of chosen cells, shape (chosen, 2)."""
    centres: Points = np.argwhere(cells).astype(np.float64) * OCCUPANCY_STRIDE + (OCCUPANCY_STRIDE - 1) / 2
    return centres


def _text(found: Estimate) -> str:
    if found.value is None:
        return "-"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}"
