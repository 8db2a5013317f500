"""Labels of slices in {0, 1, unknown}, found by SOP Instance UID and frame, or by series and slice index.

Each reader of a label file (`rsna.py`, `table.py`) brings its content into one frame and calls `LabelTable.from_frame`,
which merges duplicates and applies the task's rule for the label that sums up the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from slicewise.errors import LabelTableError
from slicewise.task import Task
from slicewise.volume import ScanWarning, SliceReference

UNKNOWN = -1
"""A label that is not known; it enters neither loss nor metric."""

Labels = npt.NDArray[np.int8]

_KEYS = ("sop_uid", "frame", "series_uid", "slice_index")


class LabelCounts(msgspec.Struct, frozen=True):
    """How often each value of one label occurs."""

    positive: int
    negative: int
    unknown: int


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of slices.

    Attributes:
        labels: Label names, in the order of the task.
        values: 0, 1 or -1 for unknown, shape (rows, labels).
        rows_by_frame: Row of a slice by SOP Instance UID and frame, which is 1 for single-frame images.
        rows_by_position: Row of a slice by series and slice index (in axial order, from 0 at the feet), for the slices
            that the label file does not name by SOP Instance UID.
        patients: Patient of every row, None where the file does not say it; None for a file without patients.
        warnings: What was odd in the label file and what was done about it.
    """

    labels: tuple[str, ...]
    values: Labels
    rows_by_frame: Mapping[tuple[str, int], int]
    rows_by_position: Mapping[tuple[str, int], int]
    patients: tuple[str | None, ...] | None = None
    warnings: tuple[ScanWarning, ...] = ()

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
        names = _row_names(merged)
        found = [*warnings, *conflicts, *_apply_any_rule(values, task.any_index, task.label_names, names)]
        sop_uids = merged["sop_uid"].to_list()
        frames = zip(sop_uids, merged["frame"].to_list(), strict=True)
        positions = zip(merged["series_uid"].to_list(), merged["slice_index"].to_list(), strict=True)
        return cls(
            labels=task.label_names,
            values=values,
            rows_by_frame={key: row for row, key in enumerate(frames) if sop_uids[row] is not None},
            rows_by_position={key: row for row, key in enumerate(positions) if sop_uids[row] is None},
            patients=tuple(merged["patient_id"].to_list()) if "patient_id" in frame.columns else None,
            warnings=tuple(found),
        )

    def rows_of(self, series_uid: str, slices: Sequence[SliceReference]) -> npt.NDArray[np.int64]:
        """Returns the row of every slice of a series, -1 where the table has none, shape (slices,).

        Args:
            series_uid: Series Instance UID.
            slices: All slices of the series, in axial order.
        """
        rows = np.full(len(slices), -1, dtype=np.int64)
        for index, item in enumerate(slices):
            row = self.rows_by_frame.get((item.sop_uid, item.frame), -1)
            rows[index] = row if row >= 0 else self.rows_by_position.get((series_uid, index), -1)
        return rows

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


def read_text_csv(path: Path) -> pl.DataFrame:
    """Reads a CSV with every column as text; an empty cell is null.

    Raises:
        LabelTableError: If the file cannot be read.
    """
    try:
        return pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LabelTableError(f"{path}: cannot be read as a CSV file: {error}") from error


def refuse_rows(frame: pl.DataFrame, wrong: pl.Expr, path: Path, column: str, expected: str) -> None:
    """Raises an error that names the first row for which `wrong` is true.

    Args:
        frame: Content of the label file, row by row.
        wrong: One boolean a row; null counts as false.
        path: The label file.
        column: The column that the message shows.
        expected: What it should hold.

    Raises:
        LabelTableError: If there is such a row. Rows are counted as spreadsheets do, the header is row 1.
    """
    found = frame.select(wrong.fill_null(value=False).arg_true()).to_series()
    if len(found):
        value = frame[column][found[0]]
        shown = "an empty cell" if value is None else f"'{value}'"
        raise LabelTableError(f"{path}: row {found[0] + 2}, column {column}: {shown}; {expected}")


def _merge(frame: pl.DataFrame, labels: Sequence[str]) -> tuple[pl.DataFrame, list[ScanWarning]]:
    """Merges the rows of one slice; labels on which they disagree become unknown."""
    missing: dict[str, type[pl.DataType]] = dict.fromkeys(("sop_uid", "series_uid", "patient_id"), pl.String)
    missing |= dict.fromkeys(("frame", "slice_index"), pl.Int64) | dict.fromkeys(labels, pl.Int8)
    frame = frame.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in missing.items() if name not in frame.columns
    ).with_columns(pl.when(pl.col("sop_uid").is_not_null()).then(pl.col("frame").fill_null(1)).alias("frame"))
    merged = frame.group_by(_KEYS, maintain_order=True).agg(
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
        warnings.append(ScanWarning("conflicting_labels", message + _examples(_row_names(conflicting))))
    agreed = merged.with_columns(
        pl.when(pl.col(name) == pl.col(f"max {name}")).then(pl.col(name)).alias(name) for name in labels
    )
    return agreed, warnings


def _apply_any_rule(
    values: Labels, any_index: int | None, labels: Sequence[str], names: Sequence[str]
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
        where = [names[row] for row in np.flatnonzero(contradiction)[:3]]
        warnings.append(ScanWarning("contradicting_labels", message + _examples(where)))
    if unexplained.any():
        message = f"{unexplained.sum()} slices have '{label}' 1 and every other label 0: kept as they are"
        where = [names[row] for row in np.flatnonzero(unexplained)[:3]]
        warnings.append(ScanWarning("unexplained_labels", message + _examples(where)))
    return warnings


def _row_names(frame: pl.DataFrame) -> list[str]:
    position = pl.concat_str(pl.col("series_uid"), pl.lit(" slice "), pl.col("slice_index").cast(pl.String))
    later = pl.when(pl.col("frame") > 1).then(pl.format("{} frame {}", "sop_uid", "frame"))
    return frame.select(pl.coalesce(later, "sop_uid", position)).to_series().to_list()


def _examples(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
