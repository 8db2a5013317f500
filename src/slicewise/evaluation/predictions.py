"""Predictions beside labels: one row for every original slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.errors import InputError
from slicewise.evaluation.metrics import Probabilities
from slicewise.task import Task

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows of one level, slices or studies, that metrics compare with their targets.

    Attributes:
        probabilities: Shape (n, labels).
        targets: Shape (n, labels), in {0, 1} with -1 for unknown.
        patients: Index of the patient of every row, shape (n,); the same index on every level of one table.
    """

    probabilities: Probabilities
    targets: npt.NDArray[np.int8]
    patients: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Calibrated probabilities and targets of slices, in any order.

    Attributes:
        label_names: Names of the labels, in the order of the columns of `probabilities` and `targets`.
        patient_ids: Patient of every slice.
        study_uids: Study Instance UID of every slice.
        series_uids: Series Instance UID of every slice.
        sop_uids: SOP Instance UID of every slice.
        frames: Frame number within the instance, from 1.
        files: Path of every slice relative to the input; "" where it is not known.
        slice_index: Index in axial order within the series, from 0.
        positions_mm: Position along the slice normal, shape (n,); nan where it is not known.
        probabilities: Shape (n, labels), in [0, 1].
        targets: Shape (n, labels), in {0, 1} with -1 for unknown.
        warnings: What a reader of the metrics should know about how the table came about.
    """

    label_names: tuple[str, ...]
    patient_ids: tuple[str, ...]
    study_uids: tuple[str, ...]
    series_uids: tuple[str, ...]
    sop_uids: tuple[str, ...]
    frames: tuple[int, ...]
    files: tuple[str, ...]
    slice_index: tuple[int, ...]
    positions_mm: npt.NDArray[np.float64]
    probabilities: Probabilities
    targets: npt.NDArray[np.int8]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the table.

        Raises:
            ValueError: If a field does not have one entry a slice, a slice stands twice or a target is not 0, 1 or -1.
            InputError: If a probability is nan or outside [0, 1]; the message names the slice and the label.
        """
        count, shape = len(self), (len(self), len(self.label_names))
        for name in ("patient_ids", "study_uids", "series_uids", "frames", "files", "slice_index", "positions_mm"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {count} slices")
        if self.probabilities.shape != shape or self.targets.shape != shape:
            raise ValueError(f"probabilities {self.probabilities.shape} and targets {self.targets.shape} need {shape}")
        if not np.all(np.isin(self.targets, (UNKNOWN, 0, 1))):
            raise ValueError("targets must be 0, 1 or -1 for unknown")
        if len(set(self.slice_keys())) != count:
            raise ValueError("a slice stands twice in the table")
        # Written so that nan fails as well.
        wrong = np.argwhere(~((self.probabilities >= 0.0) & (self.probabilities <= 1.0)))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(
                f"row {row + 1} (slice {self.sop_uids[row]}), column '{self.label_names[column]}': the probability is "
                f"{self.probabilities[row, column]}; expected a number in [0, 1]",
                reason="bad_predictions",
            )

    def __len__(self) -> int:
        """Returns the number of slices."""
        return len(self.sop_uids)

    def slice_keys(self) -> Sequence[tuple[str, str, int]]:
        """Returns what identifies every slice: series, instance and frame."""
        return list(zip(self.series_uids, self.sop_uids, self.frames, strict=True))

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients, each once, in the order of `ScoredRows.patients`."""
        return tuple(dict.fromkeys(self.patient_ids))

    def slices(self) -> ScoredRows:
        """Returns the slices."""
        return ScoredRows(self.probabilities, self.targets, _codes(self.patient_ids))

    def studies(self, task: Task) -> ScoredRows:
        """Aggregates the slices of every study, of all its series together.

        Args:
            task: Its study rule says how probabilities are combined. A study is positive if one of its slices is
                positive, negative if all are known to be negative, else unknown.
        """
        if task.study_rule != "max":
            raise ValueError(f"study rule '{task.study_rule}' is not known; expected 'max'")
        # One patient's study: anonymisers have given one UID to several patients.
        study = _codes(tuple(zip(self.patient_ids, self.study_uids, strict=True)))
        order = np.argsort(study, kind="stable")
        starts = np.flatnonzero(np.diff(study[order], prepend=-1))
        if len(starts) == 0:
            return ScoredRows(self.probabilities, self.targets, study)
        targets = self.targets[order]
        positive = np.logical_or.reduceat(targets == 1, starts, axis=0)
        negative = np.logical_and.reduceat(targets == 0, starts, axis=0)
        return ScoredRows(
            probabilities=np.maximum.reduceat(self.probabilities[order], starts, axis=0),
            targets=np.where(positive, 1, np.where(negative, 0, UNKNOWN)).astype(np.int8),
            patients=_codes(self.patient_ids)[order][starts],
        )


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Puts tables of different slices one below the other, as those of the folds of a cross-validation.

    Raises:
        ValueError: If the labels differ, or a slice stands in two tables.
    """
    first = tables[0]
    if any(table.label_names != first.label_names for table in tables):
        raise ValueError("tables of different labels cannot be joined")
    columns = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
    arrays = ("positions_mm", "probabilities", "targets")
    joined: dict[str, Any] = {
        name: tuple(chain.from_iterable(getattr(table, name) for table in tables)) for name in columns
    }
    joined |= {name: np.concatenate([getattr(table, name) for table in tables]) for name in arrays}
    warnings = tuple(dict.fromkeys(chain.from_iterable(table.warnings for table in tables)))
    return PredictionTable(label_names=first.label_names, warnings=warnings, **joined)


def _codes(items: Sequence[object]) -> npt.NDArray[np.intp]:
    index = {item: code for code, item in enumerate(dict.fromkeys(items))}
    return np.fromiter((index[item] for item in items), dtype=np.intp, count=len(items))
