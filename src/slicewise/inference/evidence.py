"""Where the evidence lies: what in a slice speaks for the labels that it is flagged for, on a coarse grid.

A network that learnt from masks makes maps of where findings are. Any other one is asked by occlusion (Zeiler and
Fergus 2014): square after square of a slice is covered, and the score falls most where the evidence was. Neither is the
outline of a finding.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace
from scipy.special import expit

from slicewise.errors import PackageError
from slicewise.imaging.channels import channels_of_rows
from slicewise.imaging.preprocess import ModelInput
from slicewise.inference.runtime import Floats, Runtime
from slicewise.package import ModelPackage, Probabilities
from slicewise.results import Evidence, EvidenceMap, EvidenceMethod, SliceResult

COVERED_SIDE = 6
"""Squares along rows and columns of the grid that are covered in turn."""

MOST_COVERED_ROWS = 3
"""Flagged rows of a series that are searched by occlusion, the most probable ones: every square costs one encoding."""

_COVERINGS_AT_ONCE = 32
_FLAT = 1e-3
"""A square whose channels vary by no more than this holds nothing, as outside of the head, and is left as it is."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RowEvidence:
    """Where the evidence in one row of the network input lies, in stored images.

    Attributes:
        peaks: Of every label that the row is flagged for and that has evidence anywhere.
        picture: All evidence for the label that sums up the others, or else the most probable one of these; None where
            pictures are not asked for.
    """

    peaks: tuple[Evidence, ...]
    picture: EvidenceMap | None


@dataclass(frozen=True, eq=False)
class EvidenceFinder:
    """Finds where the evidence for flagged labels lies.

    Attributes:
        package: The model.
        runtime: Its networks.
        for_pictures: Also keep whole maps, and search by occlusion where the network makes none, which takes time.
    """

    package: ModelPackage
    runtime: Runtime
    for_pictures: bool = False

    def find(
        self, model_input: ModelInput, probabilities: Probabilities, maps: Floats | None
    ) -> dict[int, RowEvidence]:
        """Returns the evidence of flagged rows by their index: of all of them from maps, of few by occlusion.

        Args:
            model_input: The series on the grid of the task.
            probabilities: Calibrated, shape (R, L).
            maps: Logits of the occupancy maps of all rows, shape (R, L, C, C), None where there are none.
        """
        method = method_for(maps)
        if method == "occlusion" and not self.for_pictures:
            return {}
        flagged = self.flagged(probabilities)
        rows = np.flatnonzero(flagged.any(axis=1))
        if method == "occlusion" and len(rows) > MOST_COVERED_ROWS:
            most = np.argsort(-np.where(flagged, probabilities, 0.0)[rows].max(axis=1), kind="stable")
            rows = np.sort(rows[most[:MOST_COVERED_ROWS]])
        if not len(rows):
            return {}
        values = self.values(model_input, rows, maps)
        return {
            int(row): self._row_evidence(
                of_row, self._by_interest(flagged[row], probabilities[row]), model_input, method
            )
            for row, of_row in zip(rows, values, strict=True)
        }

    def values(self, model_input: ModelInput, rows: Indices, maps: Floats | None) -> Floats:
        """Returns the evidence for every label all over rows, above 0 where there is some.

        Args:
            model_input: The series on the grid of the task.
            rows: Rows of it, at least one, shape (K,).
            maps: Logits of the occupancy maps of all rows, shape (R, L, C, C); None to search by occlusion.

        Returns:
            Shape (K, L, C, C): with maps, the share of every cell that the finding fills, by the network; else by how
            much the logit of the single slice falls where one of COVERED_SIDE by COVERED_SIDE squares is covered.

        Raises:
            PackageError: If the maps have another shape.
        """
        if maps is not None:
            _check_maps(maps, len(self.package.manifest.task.labels))
            shares: Floats = expit(maps[rows])
            return shares
        manifest = self.package.manifest
        channels = channels_of_rows(model_input, manifest.task, rows, manifest.encoder.neighbours)
        return np.stack([occlusion_map(self.runtime, of_row) for of_row in channels])

    def flagged(self, probabilities: Probabilities) -> npt.NDArray[np.bool_]:
        """Tells which labels of rows, shape (R, L), are at or above the threshold of the package."""
        manifest = self.package.manifest
        thresholds = np.array([manifest.thresholds[name] for name in manifest.task.label_names])
        flagged: npt.NDArray[np.bool_] = probabilities.astype(np.float64) >= thresholds
        return flagged

    def _by_interest(self, flagged: npt.NDArray[np.bool_], probabilities: Probabilities) -> list[int]:
        """Returns the flagged labels of a row: the one that sums up the others first, then the most probable one."""
        labels: list[int] = np.flatnonzero(flagged).tolist()
        sums_up = self.package.manifest.task.any_index
        return sorted(labels, key=lambda label: (label != sums_up, -probabilities[label]))

    def _row_evidence(
        self, values: Floats, labels: list[int], model_input: ModelInput, method: EvidenceMethod
    ) -> RowEvidence:
        seen = [label for label in labels if values[label].max() > 0]
        names = self.package.manifest.task.label_names
        peaks = tuple(_peak(values[label], names[label], model_input, method) for label in sorted(seen))
        shown = seen[:1] if self.for_pictures else []
        pictures = [stored_map(values[label], names[label], model_input, method) for label in shown]
        return RowEvidence(peaks, pictures[0] if pictures else None)


def _check_maps(maps: Floats, labels: int) -> None:
    if maps.ndim != 4 or maps.shape[1] != labels or maps.shape[2] != maps.shape[3]:
        raise PackageError(
            f"The encoder of the package gives maps of shape {maps.shape}; expected (slices, {labels}, C, C). Get the "
            "package again"
        )


def with_evidence(item: SliceResult, found: RowEvidence | None) -> SliceResult:
    """Returns the result of a slice with the evidence of its row, where there is any."""
    return item if found is None else replace(item, evidence=found.peaks, evidence_map=found.picture)


def method_for(maps: Floats | None) -> EvidenceMethod:
    """Returns how evidence is found for a network with such maps."""
    return "occlusion" if maps is None else "map"


def occlusion_map(runtime: Runtime, channels: Floats) -> Floats:
    """Covers squares of a slice in turn, each with what is usual in the slice, and measures how the logits fall.

    Args:
        runtime: The networks.
        channels: Of the slice, shape (C, H, W).

    Returns:
        How far the logit of every label falls, 0 where it does not, shape (L, COVERED_SIDE, COVERED_SIDE).
    """
    squares = _squares(channels)
    variants = np.repeat(channels[None], len(squares) + 1, axis=0)
    usual = _usual(channels, squares)
    for variant, (_, rows, columns) in zip(variants[1:], squares, strict=True):
        variant[:, rows, columns] = usual[:, None, None]
    logits = np.concatenate(
        [
            runtime.encode(variants[start : start + _COVERINGS_AT_ONCE]).slice_logits
            for start in range(0, len(variants), _COVERINGS_AT_ONCE)
        ]
    )
    falls = np.zeros((logits.shape[1], COVERED_SIDE**2), dtype=np.float32)
    falls[:, [place for place, _, _ in squares]] = np.maximum(logits[0] - logits[1:], 0).T
    return falls.reshape(-1, COVERED_SIDE, COVERED_SIDE)


def _squares(channels: Floats) -> list[tuple[int, slice, slice]]:
    """Returns the squares that hold something: place row by row, rows and columns."""
    sides = [np.rint(np.linspace(0, size, COVERED_SIDE + 1)).astype(int).tolist() for size in channels.shape[1:]]
    rows, columns = ([slice(start, stop) for start, stop in pairwise(side)] for side in sides)
    squares = [
        (place, *square)
        for place, square in enumerate((of_rows, of_columns) for of_rows in rows for of_columns in columns)
    ]
    return [square for square in squares if np.ptp(channels[:, square[1], square[2]], axis=(1, 2)).max() > _FLAT]


def _usual(channels: Floats, squares: list[tuple[int, slice, slice]]) -> Floats:
    """Returns the median of every channel over the squares, shape (C,)."""
    if not squares:
        return np.zeros(len(channels), dtype=np.float32)
    inside = [channels[:, rows, columns].reshape(len(channels), -1) for _, rows, columns in squares]
    usual: Floats = np.median(np.concatenate(inside, axis=1), axis=1).astype(np.float32)
    return usual


def peak_on_grid(values: Floats, size: int) -> tuple[float, float]:
    """Returns row and column, on the grid of the network input, of the centre of the cell with the most evidence.

    Args:
        values: Evidence, shape (C, C).
        size: Rows and columns of the grid.

    >>> peak_on_grid(np.array([[0.0, 0.0], [1.0, 0.0]], dtype=np.float32), 16)
    (11.5, 3.5)
    """
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    step = size / len(values)
    return float((row + 0.5) * step - 0.5), float((column + 0.5) * step - 0.5)


def _peak(values: Floats, label: str, model_input: ModelInput, method: EvidenceMethod) -> Evidence:
    row, column = model_input.to_original(*peak_on_grid(values, model_input.values.shape[-1]))
    return Evidence(label, round(float(row), 1), round(float(column), 1), round(float(values.max()), 4), method)


def stored_map(values: Floats, label: str, model_input: ModelInput, method: EvidenceMethod) -> EvidenceMap:
    """Turns the evidence of one row of the network input as the stored images are.

    Args:
        values: Evidence for the label, above 0 somewhere, shape (C, C).
        label: Its name.
        model_input: Where the grid lies in the stored images.
        method: How it was found.
    """
    turned = values.T if model_input.transposed else values
    turned = turned[:: -1 if model_input.step_px[0] < 0 else 1, :: -1 if model_input.step_px[1] < 0 else 1]
    ends = np.array([-0.5, model_input.values.shape[-1] - 0.5])
    rows, columns = model_input.to_original(ends, ends)
    levels = np.rint(255 * np.clip(turned / values.max(), 0, 1)).astype(np.uint8)
    return EvidenceMap(
        label=label,
        method=method,
        side=len(values),
        cells=zlib.compress(levels.tobytes()),
        top=float(rows.min()),
        left=float(columns.min()),
        bottom=float(rows.max()),
        right=float(columns.max()),
    )
