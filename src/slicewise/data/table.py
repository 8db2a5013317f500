"""A label file of any dataset: one row a slice, one column a label, as CSV or Parquet.

Columns `series, slice_index` or `sop_uid` (which wins where all are there) name the slice, `sop_uid` with `frame` (1
where it is not given) that of a multi-frame image; the columns that the task names are labels, an empty cell is
unknown; `patient_id` is optional; all other columns are metadata.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import LabelTable
from slicewise.errors import LabelTableError
from slicewise.task import Task
from slicewise.volume import ScanWarning

# Libraries write whole numbers as "1.0" as soon as the column has an empty cell.
_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


def read_table(path: Path, task: Task) -> LabelTable:
    """Reads a label file.

    Args:
        path: CSV, or Parquet if the name ends with ".parquet".
        task: Names the label columns. The column of the label that sums up the others may be missing.

    Raises:
        LabelTableError: If a column is missing or a value does not fit; the message names row and column.
    """
    frame = _read_parquet(path) if path.suffix == ".parquet" else read_text_csv(path)
    frame = frame.with_columns(_stripped(name) for name in frame.columns)
    _check_columns(frame, path, task)
    labels = [name for name in task.label_names if name in frame.columns]
    keys = _keys(frame, path)
    patients = [pl.col("patient_id")] if "patient_id" in frame.columns else []
    content = frame.select(*keys, *patients, *(_labels(frame, name, path) for name in labels))
    warnings = []
    duplicates = content.height - content.select(key.meta.output_name() for key in keys).n_unique()
    if duplicates:
        message = f"{duplicates} rows name a slice that stands before and were merged with it"
        warnings.append(ScanWarning("duplicate_labels", message))
    if not patients:
        message = (
            "the label file has no column patient_id: PatientID counts as the patient, or the series where it is empty"
        )
        warnings.append(ScanWarning("no_patient_id", message))
    return LabelTable.from_frame(content, task, warnings)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
        return frame.with_columns(
            pl.col(name).cast(pl.Int64) if kind == pl.Boolean else pl.col(name) for name, kind in frame.schema.items()
        ).cast(pl.String)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LabelTableError(f"{path}: cannot be read as a Parquet file: {error}") from error


def _stripped(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def _check_columns(frame: pl.DataFrame, path: Path, task: Task) -> None:
    columns = set(frame.columns)
    derived = set() if task.any_rule is None else {task.any_rule.label}
    missing = [name for name in task.label_names if name not in columns | derived]
    keyed = "sop_uid" in columns or {"series", "slice_index"} <= columns
    if missing or not keyed:
        raise LabelTableError(
            f"{path}: the columns are {', '.join(frame.columns)}; expected sop_uid, or series and slice_index, and "
            f"the labels {', '.join(task.label_names)}. Missing: "
            f"{', '.join(missing if keyed else ['sop_uid, or series and slice_index', *missing])}"
        )
    # The CSV reader renames the second column of a name; which of the two is meant cannot be known.
    twice = [name for name in ("sop_uid", "frame", *task.label_names) if f"{name}_duplicated_0" in columns]
    if twice:
        raise LabelTableError(f"{path}: column {twice[0]} stands twice. Remove one of the two")


def _keys(frame: pl.DataFrame, path: Path) -> list[pl.Expr]:
    expected = "the row names no slice: expected sop_uid, or series and slice_index"
    named = pl.col("sop_uid").is_not_null() if "sop_uid" in frame.columns else pl.lit(value=False)
    sop = [pl.col("sop_uid"), _frame_number(frame, path)] if "sop_uid" in frame.columns else []
    if not {"series", "slice_index"} <= set(frame.columns):
        refuse_rows(frame, ~named, path, "sop_uid", expected)
        return sop
    index = pl.col("slice_index").cast(pl.Int64, strict=False)
    wrong = pl.col("slice_index").is_not_null() & (index.is_null() | (index < 0))
    refuse_rows(frame, wrong, path, "slice_index", "expected a whole number from 0 on")
    refuse_rows(frame, ~named & pl.col("series").is_null(), path, "series", expected)
    refuse_rows(frame, ~named & index.is_null(), path, "slice_index", expected)
    # A SOP Instance UID wins over the position.
    return [
        *sop,
        pl.when(~named).then(pl.col("series")).alias("series_uid"),
        pl.when(~named).then(index).alias("slice_index"),
    ]


def _frame_number(frame: pl.DataFrame, path: Path) -> pl.Expr:
    """Frame of the rows that name their slice by SOP Instance UID."""
    if "frame" not in frame.columns:
        return pl.lit(1, dtype=pl.Int64).alias("frame")
    number, named = pl.col("frame").cast(pl.Int64, strict=False), pl.col("sop_uid").is_not_null()
    wrong = named & pl.col("frame").is_not_null() & (number.is_null() | (number < 1))
    refuse_rows(frame, wrong, path, "frame", "expected a whole number from 1 on, or an empty cell for 1")
    return pl.when(named).then(number.fill_null(1)).alias("frame")


def _labels(frame: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    wrong = ~pl.col(name).is_in(list(_VALUES))
    refuse_rows(frame, wrong, path, name, "expected 0, 1 or an empty cell for unknown")
    return pl.col(name).replace_strict(_VALUES, default=None, return_dtype=pl.Int8)
