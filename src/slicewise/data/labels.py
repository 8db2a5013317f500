"""Labels of slices in {0, 1, unknown}, found by SOP Instance UID and frame, or by series and slice index.

Each reader of a label file (`rsna.py`, `table.py`) brings its content into one frame and calls `LabelTable.from_frame`,
which merges duplicates and applies the task's rule for the label that sums up the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from slicewise.errors import LabelTableError
from slicewise.imaging.overrides import patient_name
from slicewise.task import Task
from slicewise.volume import ScanWarning, SliceReference

UNKNOWN = -1
"""A label that is not known; it enters neither loss nor metric."""

Labels = npt.NDArray[np.int8]

KEY_COLUMNS = {"sop_uid": pl.String, "frame": pl.Int64, "series_uid": pl.String, "slice_index": pl.Int64}
"""What names a slice: SOP Instance UID and frame, or series and slice index."""


class LabelCounts(msgspec.Struct, frozen=True):
    """How often each value of one label occurs."""

    positive: int
    negative: int
    unknown: int

    def __add__(self, other: LabelCounts) -> LabelCounts:
        """Adds two counts."""
        return LabelCounts(self.positive + other.positive, self.negative + other.negative, self.unknown + other.unknown)


class Box(msgspec.Struct, frozen=True):
    """A rectangle around a finding, in pixels of the original image.

    Attributes:
        label: What is in it: a label of the task, or another word of the label file, as "chronic".
        row: Row of its upper side.
        column: Column of its left side.
        height: Rows that it spans.
        width: Columns that it spans.
        extrapolated: It was not drawn but carried over from another slice.
    """

    label: str
    row: float
    column: float
    height: float
    width: float
    extrapolated: bool = False


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of slices and of studies.

    Attributes:
        labels: Label names, in the order of the task.
        values: 0, 1 or -1 for unknown, shape (rows, labels).
        keys: The slice of every row, columns `KEY_COLUMNS`: SOP Instance UID and frame, else series and slice index.
        patients: Patient of every row, None where the file does not say it; None for a file without patients.
        warnings: What was odd in the label file and what was done about it.
        study_values: Labels of studies, shape (studies, labels); None where the file has none.
        rows_by_study: Row of a study by its patient, as `imaging.overrides.patient_name` returns it: where studies are
            labelled, a patient has one.
        denied_by_study: A slice has no finding that its study has not.
        boxes: Rectangles by SOP Instance UID and frame.
        undecided: Labels of a slice that stay unknown whatever the study says, by SOP Instance UID and frame.
    """

    labels: tuple[str, ...]
    values: Labels
    keys: pl.DataFrame
    patients: tuple[str | None, ...] | None = None
    warnings: tuple[ScanWarning, ...] = ()
    study_values: Labels | None = None
    rows_by_study: Mapping[str, int] = field(default_factory=dict)
    denied_by_study: bool = False
    boxes: Mapping[tuple[str, int], tuple[Box, ...]] = field(default_factory=dict)
    undecided: Mapping[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, task: Task, warnings: Iterable[ScanWarning] = ()) -> LabelTable:
        """Builds the table.

        Args:
            frame: One or several rows a slice. Columns `sop_uid`, or `series_uid` and `slice_index`, or all three where
                either the first or the other two are null; optional `frame`, which is 1 where it is null; optional
                `patient_id`; one integer column a label with 0, 1 and null for unknown. The label that sums up the
                others may be missing.
            task: Names and order of the labels.
            warnings: What the reader found odd.

        Raises:
            LabelTableError: If one slice belongs to two patients.
        """
        merged, conflicts = _merge(frame, task.label_names)
        values = np.ascontiguousarray(merged.select(task.label_names).fill_null(UNKNOWN).to_numpy(), dtype=np.int8)
        keys = merged.select(list(KEY_COLUMNS))
        return cls(
            labels=task.label_names,
            values=values,
            keys=keys,
            patients=tuple(merged["patient_id"].to_list()) if "patient_id" in frame.columns else None,
            warnings=(*warnings, *conflicts, *_apply_any_rule(values, task.any_index, task.label_names, keys)),
        )

    @classmethod
    def empty(cls, labels: Sequence[str]) -> LabelTable:
        """Returns a table without rows: every label is unknown."""
        return cls(tuple(labels), np.empty((0, len(labels)), dtype=np.int8), pl.DataFrame(schema=KEY_COLUMNS))

    @cached_property
    def rows_by_frame(self) -> Mapping[tuple[str, int], int]:
        """Row of a slice by SOP Instance UID and frame, which is 1 for single-frame images."""
        sop_uids = self.keys["sop_uid"].to_list()
        frames = zip(sop_uids, self.keys["frame"].to_list(), strict=True)
        return {key: row for row, key in enumerate(frames) if sop_uids[row] is not None}

    @cached_property
    def rows_by_position(self) -> Mapping[tuple[str, int], int]:
        """Row of a slice by series and slice index, for the slices that the file does not name by SOP Instance UID."""
        named = self.keys.with_row_index("row").filter(pl.col("sop_uid").is_null())
        positions = zip(named["series_uid"].to_list(), named["slice_index"].to_list(), strict=True)
        return dict(zip(positions, named["row"].to_list(), strict=True))

    def rows_of(self, series_uid: str, slices: Sequence[SliceReference]) -> npt.NDArray[np.int64]:
        """Returns the row of every slice of a series, -1 where the table has none, shape (slices,).

        Args:
            series_uid: Series Instance UID.
            slices: All slices of the series, in axial order.
        """
        rows = np.full(len(slices), -1, dtype=np.int64)
        for index, item in enumerate(slices):
            row = self.rows_by_frame.get((item.sop_uid, item.frame), -1)
            rows[index] = row if row >= 0 else self.rows_by_position.get((series_uid, item.slice_index), -1)
        return rows

    def study_labels(self, patient_id: str) -> tuple[int, ...]:
        """Returns the labels of the study of a patient, -1 where unknown; () where the file has none of studies."""
        if self.study_values is None:
            return ()
        row = self.rows_by_study.get(patient_name(patient_id))
        return (UNKNOWN,) * len(self.labels) if row is None else tuple(self.study_values[row].tolist())

    def values_of(self, rows: npt.NDArray[np.int64]) -> Labels:
        """Returns the labels of rows, -1 where unknown and for row -1, shape (rows, labels)."""
        found = np.full((len(rows), len(self.labels)), UNKNOWN, dtype=np.int8)
        found[rows >= 0] = self.values[rows[rows >= 0]]
        return found

    def patient_of(self, series_uid: str, slices: Sequence[SliceReference]) -> str | None:
        """Returns the patient that the label file gives for a series, None where it gives none.

        Raises:
            LabelTableError: If it gives several.
        """
        if self.patients is None:
            return None
        rows = self.rows_of(series_uid, slices)
        found = sorted({patient for row in rows[rows >= 0] if (patient := self.patients[row]) is not None})
        if len(found) > 1:
            raise LabelTableError(
                f"column patient_id: the slices of series {series_uid} belong to {len(found)} patients: "
                f"{', '.join(found[:3])}. A series belongs to one patient: correct the label file"
            )
        return found[0] if found else None


def count_labels(values: Labels, labels: Sequence[str]) -> dict[str, LabelCounts]:
    """Counts the values of every label.

    Args:
        values: Shape (slices, labels).
        labels: Label names.
    """
    return {
        name: LabelCounts(
            positive=int((values[:, index] == 1).sum()),
            negative=int((values[:, index] == 0).sum()),
            unknown=int((values[:, index] == UNKNOWN).sum()),
        )
        for index, name in enumerate(labels)
    }


def _merge(frame: pl.DataFrame, labels: Sequence[str]) -> tuple[pl.DataFrame, list[ScanWarning]]:
    """Merges the rows of one slice, at the place of the first; labels on which they disagree become unknown."""
    given = [name for name in KEY_COLUMNS if name in frame.columns]
    frame = _completed(frame, labels).with_row_index("row")
    repeated = frame.group_by(given).len().filter(pl.col("len") > 1).select(given)
    if not repeated.height:  # nearly always, and label files have millions of rows
        return frame, []
    single = frame.join(repeated, on=given, how="anti", nulls_equal=True)
    merged, conflicts = _merge_repeated(frame.join(repeated, on=given, how="semi", nulls_equal=True), labels)
    return pl.concat([single, merged.select(single.columns)]).sort("row"), conflicts


def _completed(frame: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """Adds the columns that are missing; a slice with a SOP Instance UID and no frame is the first frame."""
    wanted = {**KEY_COLUMNS, "patient_id": pl.String, **dict.fromkeys(labels, pl.Int8)}
    return frame.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in frame.columns
    ).with_columns(pl.when(pl.col("sop_uid").is_not_null()).then(pl.col("frame").fill_null(1)).alias("frame"))


def _merge_repeated(frame: pl.DataFrame, labels: Sequence[str]) -> tuple[pl.DataFrame, list[ScanWarning]]:
    merged = frame.group_by(list(KEY_COLUMNS), maintain_order=True).agg(
        pl.col("row").min(),
        *(pl.col(name).min().alias(name) for name in labels),
        *(pl.col(name).max().alias(f"max {name}") for name in labels),
        pl.col("patient_id").drop_nulls().first(),
        pl.col("patient_id").drop_nulls().n_unique().alias("patients"),
    )
    torn = merged.filter(pl.col("patients") > 1)
    if torn.height:
        raise LabelTableError(
            f"column patient_id: {_row_names(torn)[0]} belongs to {torn['patients'][0]} patients. "
            "A slice belongs to one patient: correct the label file"
        )
    disagree = [pl.col(name) != pl.col(f"max {name}") for name in labels]
    conflicting = merged.filter(pl.any_horizontal(disagree))
    warnings = []
    if conflicting.height:
        message = f"{conflicting.height} slices have rows that disagree about a label, which counts as unknown"
        warnings.append(ScanWarning("conflicting_labels", message + _examples(conflicting)))
    agreed = merged.with_columns(
        pl.when(pl.col(name) == pl.col(f"max {name}")).then(pl.col(name)).alias(name) for name in labels
    )
    return agreed, warnings


def _apply_any_rule(
    values: Labels, any_index: int | None, labels: Sequence[str], keys: pl.DataFrame
) -> list[ScanWarning]:
    """Fills in the label that sums up the others, in place: 1 if one of them is 1, 0 if all are 0."""
    if any_index is None or len(labels) == 1:
        return []
    summary, others = values[:, any_index], np.delete(values, any_index, axis=1)
    positive, negative = (others == 1).any(axis=1), (others == 0).all(axis=1)
    contradiction = (summary == 0) & positive
    unexplained = (summary == 1) & negative
    summary[(summary == UNKNOWN) & positive] = 1
    summary[(summary == UNKNOWN) & negative] = 0
    values[contradiction] = UNKNOWN
    label, warnings = labels[any_index], []
    if contradiction.any():
        message = (
            f"{contradiction.sum()} slices have '{label}' 0 and another label 1: all their labels count as unknown"
        )
        warnings.append(ScanWarning("contradicting_labels", message + _examples(keys.filter(contradiction))))
    if unexplained.any():
        message = f"{unexplained.sum()} slices have '{label}' 1 and every other label 0: kept as they are"
        warnings.append(ScanWarning("unexplained_labels", message + _examples(keys.filter(unexplained))))
    return warnings


def _row_names(keys: pl.DataFrame) -> list[str]:
    position = pl.concat_str(pl.col("series_uid"), pl.lit(" slice "), pl.col("slice_index").cast(pl.String))
    later = pl.when(pl.col("frame") > 1).then(pl.format("{} frame {}", "sop_uid", "frame"))
    return keys.select(pl.coalesce(later, "sop_uid", position)).to_series().to_list()


def _examples(keys: pl.DataFrame) -> str:
    return f" ({', '.join(_row_names(keys.head(3)))}{', ...' if keys.height > 3 else ''})"
