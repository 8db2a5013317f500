"""The readers' findings of CQ500, `reads.csv`: labels of studies by the majority of three radiologists.

Chilamkurthy et al. 2018, doi:10.1016/S0140-6736(18)31645-3. The file has one row a scan: `name`, and for each reader
R1, R2 and R3 a column a finding, as in `R1:ICH`. It says nothing about single slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import KEY_COLUMNS, UNKNOWN, Labels, LabelTable
from slicewise.errors import LabelTableError
from slicewise.imaging.overrides import patient_name
from slicewise.task import Task
from slicewise.volume import ScanWarning

FINDINGS = {
    "any": "ICH",
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
"""Label of the task -> finding of the readers."""

READERS = ("R1", "R2", "R3")


@dataclass(frozen=True, eq=False)
class Reads:
    """What every reader says of every scan.

    Attributes:
        names: Name of every scan, as `imaging.overrides.patient_name` returns it.
        labels: Label names, in the order of the task.
        values: 0, 1 or -1 where a reader says nothing, shape (scans, readers, labels), readers as in `READERS`.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    values: Labels

    @property
    def majority(self) -> Labels:
        """What most of the readers who say something say, -1 for a tie, shape (scans, labels)."""
        present, given = (self.values == 1).sum(axis=1), (self.values != UNKNOWN).sum(axis=1)
        return np.where(2 * present > given, 1, np.where(2 * present < given, 0, UNKNOWN)).astype(np.int8)


def read_cq500(path: Path, task: Task) -> LabelTable:
    """Reads `reads.csv`.

    A finding is present where most of the readers who give it say so, absent where most say not; a tie is unknown.
    All labels of slices are unknown: that a study has no hemorrhage of a kind is left to `bhx.py` to use.

    Args:
        path: The file.
        task: Its labels must be among `FINDINGS`.

    Raises:
        LabelTableError: If the task has other labels, or a column or value is not what the format asks for.
    """
    reads = read_reads(path, task)
    values = reads.majority
    return LabelTable(
        labels=task.label_names,
        values=np.empty((0, len(task.labels)), dtype=np.int8),
        keys=pl.DataFrame(schema=KEY_COLUMNS),
        study_values=values,
        rows_by_study={name: row for row, name in enumerate(reads.names)},
        warnings=_contradictions(values, task, reads.names),
    )


def read_reads(path: Path, task: Task) -> Reads:
    """Reads what every single reader says in `reads.csv`.

    Args:
        path: The file.
        task: Its labels must be among `FINDINGS`.

    Raises:
        LabelTableError: As `read_cq500`.
    """
    frame = read_text_csv(path)
    _check_columns(frame, path, task)
    names = [patient_name(name or "") for name in frame["name"]]
    twice = frame.filter(pl.Series(names, dtype=pl.String).is_duplicated())
    if twice.height:
        raise LabelTableError(f"{path}: column name: {twice['name'][0]} stands twice. Expected one row a scan")
    columns = [f"{reader}:{FINDINGS[name]}" for reader in READERS for name in task.label_names]
    for column in columns:
        refuse_rows(frame, ~pl.col(column).is_in(["0", "1"]), path, column, "expected 0, 1 or an empty cell")
    values = frame.select(pl.col(columns).cast(pl.Int8).fill_null(UNKNOWN)).to_numpy()
    shape = (frame.height, len(READERS), len(task.label_names))
    return Reads(tuple(names), task.label_names, np.ascontiguousarray(values, dtype=np.int8).reshape(shape))


def _check_columns(frame: pl.DataFrame, path: Path, task: Task) -> None:
    foreign = [name for name in task.label_names if name not in FINDINGS]
    if foreign:
        raise LabelTableError(
            f"{path}: the readers of CQ500 say nothing about '{foreign[0]}' of task '{task.name}'. Expected a task "
            f"with labels among {', '.join(FINDINGS)}"
        )
    wanted = ["name", *(f"{reader}:{FINDINGS[name]}" for reader in READERS for name in task.label_names)]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise LabelTableError(f"{path}: has no column {', '.join(missing[:3])}; expected reads.csv of CQ500")
    refuse_rows(frame, pl.col("name").is_null(), path, "name", "expected the name of a scan, as CQ500-CT-0")


def _contradictions(values: Labels, task: Task, names: tuple[str, ...]) -> tuple[ScanWarning, ...]:
    """Tells where the label that sums up the others disagrees with them; the readers' majority stays as it is."""
    if task.any_index is None:
        return ()
    others = np.delete(values, task.any_index, axis=1)
    rows = np.flatnonzero((values[:, task.any_index] == 0) & (others == 1).any(axis=1))
    if not len(rows):
        return ()
    message = (
        f"{len(rows)} studies have '{task.label_names[task.any_index]}' 0 and another finding 1 (as {names[rows[0]]})"
    )
    return (ScanWarning("contradicting_labels", message),)
