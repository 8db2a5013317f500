"""The boxes of BHX around the hemorrhages of CQ500, as labels of slices.

Reis et al. 2020, "Brain Hemorrhage Extended (BHX)", doi:10.13026/9cft-hg92. Columns `SOPInstanceUID`, `labelName`,
`labelType`, and the box: `data` = {'x': .., 'y': .., 'width': .., 'height': ..} in pixels, or one column each.

What a box says: three neuroradiologists drew boxes *sparsely* on thick slices of the studies with a hemorrhage; by
Image Position they were extrapolated to the slices of the other series. So a box makes its slice positive, and a slice
without one is **not** negative: it is unknown. Negatives come from the study alone: where most readers of CQ500 deny a
finding for the study (`reads.csv`), no slice of it has one. A box "Chronic" is no acute hemorrhage: whether the slice
counts as subdural, or as any hemorrhage, stays unknown.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from slicewise.data.cq500 import FINDINGS, read_cq500
from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import Box, LabelTable
from slicewise.errors import LabelTableError
from slicewise.task import Task
from slicewise.volume import ScanWarning

CHRONIC = "chronic"
UNDECIDED_BY_CHRONIC = ("any", "subdural")
_SIDES = ("x", "y", "width", "height")


def read_bhx(path: Path, task: Task, reads: Path | None = None) -> LabelTable:
    """Reads one of the CSV files of BHX.

    Args:
        path: The file.
        task: Its labels must be among those of CQ500.
        reads: `reads.csv` of CQ500, which makes the slices negative of whose study most readers deny a finding.

    Raises:
        LabelTableError: If a column or value is not what the format asks for; the message names the row.
    """
    frame = read_text_csv(path)
    _check_columns(frame, path, task)
    frame = frame.with_columns(pl.col("labelName").str.strip_chars().str.to_lowercase().alias("label"))
    wrong = ~pl.col("label").is_in([*task.label_names, CHRONIC])
    refuse_rows(frame, wrong | pl.col("label").is_null(), path, "labelName", "expected a kind of hemorrhage or Chronic")
    refuse_rows(frame, pl.col("SOPInstanceUID").is_null(), path, "SOPInstanceUID", "expected a UID")
    boxes = _boxes(frame, path)
    acute = frame.filter(pl.col("label") != CHRONIC)
    # Null where nothing was drawn: a box says what is there, never what is not.
    content = acute.select(
        pl.col("SOPInstanceUID").alias("sop_uid"),
        *(pl.when(pl.col("label") == name).then(1).cast(pl.Int8).alias(name) for name in task.label_names),
    )
    table = LabelTable.from_frame(content.group_by("sop_uid", maintain_order=True).max(), task, _extrapolated(boxes))
    chronic = set(frame.filter(pl.col("label") == CHRONIC)["SOPInstanceUID"])
    undecided = tuple(index for index, name in enumerate(task.label_names) if name in UNDECIDED_BY_CHRONIC)
    table = replace(table, boxes=boxes, undecided={(sop_uid, 1): undecided for sop_uid in sorted(chronic)})
    if reads is None:
        message = "without the readers' findings of CQ500 no slice is known to be negative: name reads.csv as well"
        return replace(table, warnings=(*table.warnings, ScanWarning("no_negatives", message)))
    studies = read_cq500(reads, task)
    return replace(
        table,
        study_values=studies.study_values,
        rows_by_study=studies.rows_by_study,
        denied_by_study=True,
        warnings=(*table.warnings, *studies.warnings),
    )


def _check_columns(frame: pl.DataFrame, path: Path, task: Task) -> None:
    foreign = [name for name in task.label_names if name not in FINDINGS]
    if foreign:
        raise LabelTableError(f"{path}: BHX has no boxes of '{foreign[0]}' of task '{task.name}'")
    sides = [] if "data" in frame.columns else list(_SIDES)
    missing = [name for name in ("SOPInstanceUID", "labelName", *sides) if name not in frame.columns]
    if missing:
        raise LabelTableError(
            f"{path}: the columns are {', '.join(frame.columns)}; expected SOPInstanceUID, labelName, labelType and "
            f"data (or x, y, width, height), as in BHX. Missing: {', '.join(missing)}"
        )


def _boxes(frame: pl.DataFrame, path: Path) -> dict[tuple[str, int], tuple[Box, ...]]:
    kinds = frame["labelType"].fill_null("") if "labelType" in frame.columns else pl.Series([""] * frame.height)
    found: dict[tuple[str, int], list[Box]] = {}
    for row, (content, sop_uid, label, kind) in enumerate(
        zip(frame.iter_rows(named=True), frame["SOPInstanceUID"], frame["label"], kinds, strict=True)
    ):
        x, y, width, height = _sides(content, path, row)
        box = Box(label, row=y, column=x, height=height, width=width, extrapolated="extrapol" in kind.lower())
        found.setdefault((sop_uid, 1), []).append(box)
    return {key: tuple(items) for key, items in found.items()}


def _sides(content: dict[str, Any], path: Path, row: int) -> tuple[float, float, float, float]:
    try:
        cell = ast.literal_eval(content["data"] or "") if "data" in content else content
        x, y, width, height = (float(cell[side]) for side in _SIDES)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise LabelTableError(
            f"{path}: row {row + 2}, column data: '{str(content.get('data'))[:60]}'; expected "
            "{'x': .., 'y': .., 'width': .., 'height': ..}"
        ) from error
    if not (width > 0 and height > 0 and abs(x) < 1e5 and abs(y) < 1e5 and width < 1e5 and height < 1e5):
        raise LabelTableError(
            f"{path}: row {row + 2}, column data: a box of {width:g} x {height:g} pixels at {x:g}, {y:g}"
        )
    return x, y, width, height


def _extrapolated(boxes: dict[tuple[str, int], tuple[Box, ...]]) -> list[ScanWarning]:
    counts = Counter(box.extrapolated for items in boxes.values() for box in items)
    if not counts[True]:
        return []
    message = f"{counts[True]} of {counts.total()} boxes were not drawn but extrapolated from thicker slices"
    return [ScanWarning("extrapolated_boxes", message)]
