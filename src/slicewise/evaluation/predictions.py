"""Predictions beside labels: one row for every original slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.errors import InputError
from slicewise.evaluation.metrics import Probabilities
from slicewise.task import Task

UNKNOWN = -1

Labels = npt.NDArray[np.int8]


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
class StudyGroups:
    """Which slices make up which study.

    Attributes:
        study: Index of the study of every slice, shape (n,).
        order: Slices, those of one study together, shape (n,).
        starts: Where in `order` each study starts, shape (studies,).
    """

    study: npt.NDArray[np.intp]
    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]


_TEXT_FIELDS = ("patient_ids", "study_uids", "series_uids", "sop_uids", "frames", "files", "slice_index")
_ARRAY_FIELDS = ("positions_mm", "probabilities", "targets")


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
        study_targets: Labels of the study of every slice, where studies are labelled by themselves, as by the readers
            of CQ500; like `targets`. None where only slices are.
        attributes: What subgroups are made of: one text a slice by the name of the attribute, "" where not known.
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
    study_targets: npt.NDArray[np.int8] | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
        for targets in (self.targets, self.study_targets):
            if targets is not None and not (targets.shape == shape and np.all(np.isin(targets, (UNKNOWN, 0, 1)))):
                raise ValueError(f"targets must be 0, 1 or -1 for unknown, of shape {shape}")
        for name, texts in self.attributes.items():
            if len(texts) != count:
                raise ValueError(f"attribute '{name}' has {len(texts)} entries for {count} slices")
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
        return ScoredRows(self.probabilities, self.targets, self.patient_codes)

    def studies(self, task: Task) -> ScoredRows:
        """Aggregates the slices of every study, of all its series together.

        Args:
            task: Its study rule says how probabilities are combined. A study has the label that it was given itself;
                else it is positive if one of its slices is positive, negative if all are known to be negative, and
                unknown otherwise.
        """
        if task.study_rule != "max":
            raise ValueError(f"study rule '{task.study_rule}' is not known; expected 'max'")
        groups = self.study_groups
        order, starts = groups.order, groups.starts
        if len(starts) == 0:
            return ScoredRows(self.probabilities, self.targets, groups.study)
        targets = self.targets[order]
        positive = np.logical_or.reduceat(targets == 1, starts, axis=0)
        negative = np.logical_and.reduceat(targets == 0, starts, axis=0)
        of_slices = np.where(positive, 1, np.where(negative, 0, UNKNOWN))
        if self.study_targets is not None:
            given = self.study_targets[order][starts]
            of_slices = np.where(given == UNKNOWN, of_slices, given)
        return ScoredRows(
            probabilities=np.maximum.reduceat(self.probabilities[order], starts, axis=0),
            targets=of_slices.astype(np.int8),
            patients=self.patient_codes[order][starts],
        )

    @cached_property
    def patient_codes(self) -> npt.NDArray[np.intp]:
        """Index of the patient of every slice, shape (n,)."""
        return _codes(self.patient_ids)

    @cached_property
    def study_groups(self) -> StudyGroups:
        """Which slices make up which study, in the order of `studies`."""
        # One patient's study: anonymisers have given one UID to several patients.
        study = _codes(tuple(zip(self.patient_ids, self.study_uids, strict=True)))
        order = np.argsort(study, kind="stable")
        return StudyGroups(study, order, np.flatnonzero(np.diff(study[order], prepend=-1)))


def concatenate(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Puts tables of different slices one below the other, as those of the folds of a cross-validation.

    What only some of them know, as labels of studies, is unknown for the others.

    Raises:
        ValueError: If the labels differ, or a slice stands in two tables.
    """
    first = tables[0]
    if any(table.label_names != first.label_names for table in tables):
        raise ValueError("tables of different labels cannot be joined")
    joined: dict[str, Any] = {
        name: tuple(chain.from_iterable(getattr(table, name) for table in tables)) for name in _TEXT_FIELDS
    }
    joined |= {name: np.concatenate([getattr(table, name) for table in tables]) for name in _ARRAY_FIELDS}
    if any(table.study_targets is not None for table in tables):
        joined["study_targets"] = np.concatenate(
            [
                np.full_like(table.targets, UNKNOWN) if table.study_targets is None else table.study_targets
                for table in tables
            ]
        )
    names = dict.fromkeys(chain.from_iterable(table.attributes for table in tables))
    joined["attributes"] = {
        name: tuple(chain.from_iterable(table.attributes.get(name, ("",) * len(table)) for table in tables))
        for name in names
    }
    warnings = tuple(dict.fromkeys(chain.from_iterable(table.warnings for table in tables)))
    return PredictionTable(label_names=first.label_names, warnings=warnings, **joined)


def _codes(items: Sequence[object]) -> npt.NDArray[np.intp]:
    index = {item: code for code, item in enumerate(dict.fromkeys(items))}
    return np.fromiter((index[item] for item in items), dtype=np.intp, count=len(items))
