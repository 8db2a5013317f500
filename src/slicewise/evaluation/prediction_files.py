"""`predictions.csv`, and predictions of any origin joined to a label file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import LabelTable
from slicewise.data.table import read_table
from slicewise.errors import InputError, LabelTableError, UsageError
from slicewise.evaluation.attributes import ATTRIBUTES
from slicewise.evaluation.predictions import UNKNOWN, PredictionTable
from slicewise.evaluation.triage import ARRIVAL
from slicewise.files import write_atomically
from slicewise.results_csv import SLICE_COLUMNS
from slicewise.task import Task

LABEL_PREFIX = "label_"
STUDY_LABEL_PREFIX = "study_label_"
ATTRIBUTE_PREFIX = "attribute_"

_TEXT_COLUMNS = ("patient_id", "study_uid", "series_uid", "sop_uid", "file")
_WHOLE_COLUMNS = ("frame", "slice_index")
_KEYS = ("series_uid", "sop_uid", "frame", "slice_index")


def write_predictions(path: Path, table: PredictionTable) -> None:
    """Writes `predictions.csv`: the columns of `slices.csv`, then one `label_<name>` a label, empty where unknown.

    Where studies have labels of their own, one `study_label_<name>` follows a label; then comes one `attribute_<name>`
    an attribute. Probabilities are written with all their digits: reading them gives the same metrics.
    """
    columns: dict[str, object] = {
        "patient_id": table.patient_ids,
        "study_uid": table.study_uids,
        "series_uid": table.series_uids,
        "sop_uid": table.sop_uids,
        "frame": table.frames,
        "file": table.files,
        "slice_index": table.slice_index,
        "position_mm": np.round(table.positions_mm, 3),
    }
    columns |= {name: table.probabilities[:, index] for index, name in enumerate(table.label_names)}
    columns |= {f"{LABEL_PREFIX}{name}": table.targets[:, index] for index, name in enumerate(table.label_names)}
    labels = [f"{LABEL_PREFIX}{name}" for name in table.label_names]
    if table.study_targets is not None:
        of_studies = [f"{STUDY_LABEL_PREFIX}{name}" for name in table.label_names]
        columns |= {name: table.study_targets[:, index] for index, name in enumerate(of_studies)}
        labels += of_studies
    columns |= {f"{ATTRIBUTE_PREFIX}{name}": texts for name, texts in table.attributes.items()}
    unknown = pl.col(labels).replace(UNKNOWN, None)
    with write_atomically(path) as temporary:
        pl.DataFrame(columns).with_columns(unknown, pl.col("position_mm").fill_nan(None)).write_csv(temporary)


def read_predictions(predictions: Path, labels: Path | None, task: Task) -> PredictionTable:
    """Reads predictions and joins them to labels.

    Rows are joined as `slicewise prepare` joins labels to scans: by `sop_uid`, else by series and `slice_index`. A
    prediction without a label row has unknown targets. The patient is the one of the label file, else `patient_id`
    of the predictions, else the series counts as a patient; without `study_uid` the series counts as a study. All of
    this is told in the `warnings` of the table.

    Args:
        predictions: CSV file with one probability column a label, as `slices.csv` of `slicewise predict`. Columns
            `study_label_<name>` are labels of the study, `attribute_<name>` attributes; so are those named in
            `attributes.ATTRIBUTES`, and arrival_minutes, without that prefix.
        labels: Label file as in `slicewise.data.table`, or None to take the columns `label_<name>` of `predictions`.
        task: Names the labels.

    Raises:
        UsageError: If a file does not exist.
        InputError: If a file cannot be used; the message names the row and the column.
    """
    for path in (predictions, labels):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: there is no such file; expected a CSV file")
    frame = _read_frame(predictions, task)
    warnings: list[str] = []
    if labels is None:
        targets = _own_targets(frame, predictions, task, LABEL_PREFIX)
    else:
        table = read_table(labels, task)
        rows = _matching_rows(frame, table)
        if not np.any(rows >= 0):
            raise LabelTableError(
                f"{labels}: not one row fits a slice of {predictions}, by sop_uid or by series and slice_index. "
                "Are these labels of other scans?"
            )
        warnings += [warning.message for warning in table.warnings] + _unmatched(rows, len(table.values))
        targets = np.where((rows >= 0)[:, None], table.values[rows], UNKNOWN).astype(np.int8)
        frame = _with_patients_of(frame, table, rows, labels)
    frame, missing = _with_fallbacks(frame, predictions)
    return PredictionTable(
        label_names=task.label_names,
        patient_ids=tuple(frame["patient_id"]),
        study_uids=tuple(frame["study_uid"]),
        series_uids=tuple(frame["series_uid"]),
        sop_uids=tuple(frame["sop_uid"]),
        frames=tuple(frame["frame"]),
        files=tuple(frame["file"]),
        slice_index=tuple(frame["slice_index"]),
        positions_mm=frame["position_mm"].to_numpy(),
        probabilities=frame.select(task.label_names).to_numpy(),
        targets=targets,
        warnings=(*warnings, *missing),
        study_targets=_study_targets(frame, predictions, task),
        attributes=_attributes(frame),
    )


def _read_frame(path: Path, task: Task) -> pl.DataFrame:
    """Reads predictions with typed columns; columns and cells that are not there are null."""
    frame = read_text_csv(path)
    frame = frame.with_columns(pl.col(name).str.strip_chars().replace("", None) for name in frame.columns)
    if "series_uid" not in frame.columns and "series" in frame.columns:
        frame = frame.rename({"series": "series_uid"})
    missing = [name for name in task.label_names if name not in frame.columns]
    if "sop_uid" not in frame.columns and not {"series_uid", "slice_index"} <= set(frame.columns):
        missing.insert(0, "sop_uid, or series_uid and slice_index")
    if missing:
        raise InputError(
            f"{path}: the columns are {', '.join(frame.columns)}; expected sop_uid, or series_uid and slice_index, and "
            f"one probability column for each of {', '.join(task.label_names)}. Missing: {', '.join(missing)}",
            reason="bad_predictions",
        )
    if frame.is_empty():
        raise InputError(f"{path}: holds no rows below its header", reason="bad_predictions")
    absent = [name for name in SLICE_COLUMNS if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)
    for name in _WHOLE_COLUMNS:
        number = pl.col(name).cast(pl.Int64, strict=False)
        refuse_rows(frame, pl.col(name).is_not_null() & number.is_null(), path, name, "expected a whole number")
    position = pl.col("position_mm").cast(pl.Float64, strict=False)
    refuse_rows(frame, pl.col("position_mm").is_not_null() & position.is_null(), path, "position_mm", "expected mm")
    for name in task.label_names:
        in_range = pl.col(name).cast(pl.Float64, strict=False).is_between(0.0, 1.0).fill_null(value=False)
        refuse_rows(frame, ~in_range, path, name, "expected a probability in [0, 1]")
    frame = frame.with_columns(
        *(pl.col(name).cast(pl.Int64) for name in _WHOLE_COLUMNS),
        *(pl.col(name).cast(pl.Float64) for name in ("position_mm", *task.label_names)),
    ).with_columns(pl.col("frame").fill_null(1))
    shown = "sop_uid" if frame["sop_uid"].null_count() == 0 else "slice_index"
    refuse_rows(frame, pl.struct(_KEYS).is_duplicated(), path, shown, "the slice stands twice, expected one row")
    return frame


def _attributes(frame: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    columns = {name: name for name in (*ATTRIBUTES, ARRIVAL) if name in frame.columns}
    columns |= {
        name.removeprefix(ATTRIBUTE_PREFIX): name for name in frame.columns if name.startswith(ATTRIBUTE_PREFIX)
    }
    return {name: tuple(frame[column].fill_null("")) for name, column in columns.items()}


def _study_targets(frame: pl.DataFrame, path: Path, task: Task) -> npt.NDArray[np.int8] | None:
    if not any(name.startswith(STUDY_LABEL_PREFIX) for name in frame.columns):
        return None
    targets = _own_targets(frame, path, task, STUDY_LABEL_PREFIX)
    of_study = pl.struct(f"{STUDY_LABEL_PREFIX}{name}" for name in task.label_names)
    torn = of_study.n_unique().over("patient_id", "study_uid") > 1
    refuse_rows(frame, torn, path, "study_uid", "a study has one label, its rows have several")
    return targets


def _own_targets(frame: pl.DataFrame, path: Path, task: Task, prefix: str) -> npt.NDArray[np.int8]:
    columns = [f"{prefix}{name}" for name in task.label_names]
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise LabelTableError(f"{path}: expected the columns {', '.join(columns)}. Missing: {', '.join(missing)}")
    for name in columns:
        refuse_rows(frame, ~pl.col(name).is_in(["0", "1"]), path, name, "expected 0, 1 or an empty cell for unknown")
    return frame.select(pl.col(columns).cast(pl.Int8).fill_null(UNKNOWN)).to_numpy()


def _matching_rows(frame: pl.DataFrame, table: LabelTable) -> npt.NDArray[np.intp]:
    """Returns the row of the label table of every prediction, -1 where it has none."""

    def row_of(series_uid: str | None, sop_uid: str | None, number: int, slice_index: int | None) -> int:
        row = table.rows_by_frame.get((sop_uid, number), -1) if sop_uid is not None else -1
        if row < 0 and series_uid is not None and slice_index is not None:
            row = table.rows_by_position.get((series_uid, slice_index), -1)
        return row

    return np.array([row_of(*keys) for keys in frame.select(_KEYS).iter_rows()], dtype=np.intp)


def _unmatched(rows: npt.NDArray[np.intp], labelled: int) -> list[str]:
    without_label, without_prediction = int((rows < 0).sum()), labelled - len(np.unique(rows[rows >= 0]))
    warnings = []
    if without_label:
        warnings.append(f"{without_label} of {len(rows)} predicted slices have no label row and enter no metric")
    if without_prediction:
        warnings.append(f"{without_prediction} of {labelled} labelled slices have no prediction and enter no metric")
    return warnings


def _with_patients_of(frame: pl.DataFrame, table: LabelTable, rows: npt.NDArray[np.intp], path: Path) -> pl.DataFrame:
    """Takes the patients of the label file, for whole series: a slice without a label row has the patient too."""
    if table.patients is None:
        return frame
    found: Sequence[str | None] = [table.patients[row] if row >= 0 else None for row in rows]
    labelled = pl.Series("labelled", found, dtype=pl.String)
    one_series = pl.coalesce("series_uid", "sop_uid")
    frame = frame.with_columns(labelled)
    torn = pl.col("labelled").drop_nulls().n_unique().over(one_series) > 1
    refuse_rows(frame, torn, path, "labelled", "a series belongs to one patient, its label rows name several")
    return frame.with_columns(
        pl.coalesce(pl.col("labelled").drop_nulls().first().over(one_series), "patient_id").alias("patient_id")
    )


def _with_fallbacks(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Fills in ids that are not known, and tells what stands for a patient and for a study."""
    warnings = []
    for name, what in (("patient_id", "patient"), ("study_uid", "study")):
        without = frame[name].null_count()
        if without:
            refuse_rows(
                frame, pl.coalesce(name, "series_uid").is_null(), path, name, "expected it, or series_uid in its place"
            )
            warnings.append(f"{without} of {len(frame)} slices have no {name}: their series counts as a {what}")
    position = pl.format("{} slice {}", "series_uid", "slice_index")
    frame = frame.with_columns(
        pl.coalesce("patient_id", "series_uid").alias("patient_id"),
        pl.coalesce("study_uid", "series_uid").alias("study_uid"),
        pl.coalesce("sop_uid", position).alias("sop_uid"),
    ).with_columns(pl.col(_TEXT_COLUMNS).fill_null(""), pl.col("slice_index").fill_null(0))
    return frame.with_columns(pl.col("position_mm").fill_null(np.nan)), warnings
