"""The files of the RSNA 2019 Intracranial Hemorrhage Detection challenge.

`stage_2_train.csv` and submissions share one form: columns `ID,Label` with one row a slice and label, as in
`ID_6431af929_epidural,0`. `ID_6431af929` is the SOP Instance UID of the slice (Flanders et al. 2020,
doi:10.1148/ryai.2020190211).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from slicewise.data.label_files import read_text_csv, refuse_rows
from slicewise.data.labels import LabelTable
from slicewise.data.rsna_blocks import read_blocks
from slicewise.errors import LabelTableError
from slicewise.files import write_atomically
from slicewise.task import Task
from slicewise.volume import ScanWarning

COLUMNS = ("ID", "Label")
MISSING_PROBABILITY = 0.5
"""What a submission says about a slice that was not scored."""

_ID = r"^(ID_[0-9a-f]{9})_(.+)$"


class SubmissionSummary(msgspec.Struct, frozen=True):
    """What a submission holds.

    Attributes:
        rows: Rows of the file.
        filled: Rows of the sample without a prediction, filled with `MISSING_PROBABILITY`.
        unused: Predictions that the sample does not ask for.
    """

    rows: int
    filled: int
    unused: int


def read_rsna(path: Path, task: Task) -> LabelTable:
    """Reads `stage_2_train.csv`.

    A row that stands twice is merged; where the two disagree, the label is unknown. Both are in the warnings.

    Args:
        path: The file.
        task: Its label names are the subtypes that the file must hold.

    Raises:
        LabelTableError: If the columns, an ID, a subtype or a value are not what the challenge's format asks for.
    """
    blocks = read_blocks(path, task.label_names)
    if blocks is not None:
        table = LabelTable.from_frame(blocks, task)
        repeated = (blocks.height - len(table.values)) * len(task.labels)
    else:
        frame, repeated = read_rows(path, task)
        table = LabelTable.from_frame(frame, task)
    if not repeated:
        return table
    warning = ScanWarning("duplicate_labels", f"{repeated} rows stand more than once and were merged")
    return replace(table, warnings=(warning, *table.warnings))


def read_rows(path: Path, task: Task) -> tuple[pl.DataFrame, int]:
    """Reads a label file in any order of its rows: the plain way, which names what does not fit.

    Returns:
        One row a row of the file, columns `sop_uid` and one a label, null but for the label of the row; and how many
        rows stand more than once.

    Raises:
        LabelTableError: As `read_rsna`.
    """
    frame = _read(path)
    wrong = pl.col("Label").is_null() | ~pl.col("Label").is_in(["0", "1"])
    refuse_rows(frame, wrong, path, "Label", "expected 0 or 1")
    frame = _split_ids(frame, path, task).with_columns(pl.col("Label").cast(pl.Int8))
    present = set(frame["subtype"].unique())
    derived = set() if task.any_rule is None else {task.any_rule.label}
    absent = [name for name in task.label_names if name not in present | derived]
    if absent:
        raise LabelTableError(
            f"{path}: column ID: no row for {', '.join(absent)}. "
            f"Expected one row a slice for each of {', '.join(task.label_names)}"
        )
    columns = [
        pl.when(pl.col("subtype") == name).then(pl.col("Label")).alias(name)
        for name in task.label_names
        if name in present
    ]
    return frame.select("sop_uid", *columns), frame.height - frame["ID"].n_unique()


def write_submission(
    path: Path,
    sop_uids: Sequence[str],
    probabilities: npt.NDArray[np.float32],
    task: Task,
    *,
    sample: Path | None = None,
) -> SubmissionSummary:
    """Writes predictions in the challenge's format.

    Args:
        path: The file to write.
        sop_uids: SOP Instance UID of every slice.
        probabilities: Shape (slices, labels), in the label order of the task.
        task: Its label names are the subtypes.
        sample: A sample submission: the file agrees with it in IDs, order and count.

    Raises:
        LabelTableError: If a slice is given twice or the sample is not in the challenge's format.
        ValueError: If a probability is not between 0 and 1.
    """
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("probabilities must be finite and between 0 and 1")
    ids = [f"{sop_uid}_{name}" for sop_uid in sop_uids for name in task.label_names]
    scored = pl.DataFrame({"ID": ids, "Label": probabilities.astype(np.float32).reshape(-1)})
    twice = scored.filter(pl.col("ID").is_duplicated())
    if twice.height:
        raise LabelTableError(f"{path}: {twice['ID'][0]} would stand twice: one slice was scored in two series")
    rows = scored if sample is None else _follow(scored, sample, task)
    filled = rows["Label"].null_count()
    with write_atomically(path) as temporary:
        rows.with_columns(pl.col("Label").fill_null(MISSING_PROBABILITY)).write_csv(temporary)
    return SubmissionSummary(rows=rows.height, filled=filled, unused=scored.height - _used(scored, rows))


def _follow(scored: pl.DataFrame, sample: Path, task: Task) -> pl.DataFrame:
    wanted = _split_ids(_read(sample), sample, task).select("ID")
    return wanted.join(scored, on="ID", how="left", maintain_order="left")


def _used(scored: pl.DataFrame, rows: pl.DataFrame) -> int:
    return scored.join(rows, on="ID", how="semi").height


def _read(path: Path) -> pl.DataFrame:
    frame = read_text_csv(path)
    if tuple(frame.columns) != COLUMNS:
        raise LabelTableError(
            f"{path}: the columns are {', '.join(frame.columns)}; expected {', '.join(COLUMNS)}. "
            "Other label files are read with --layout table"
        )
    return frame


def _split_ids(frame: pl.DataFrame, path: Path, task: Task) -> pl.DataFrame:
    wrong = pl.col("ID").is_null() | ~pl.col("ID").str.contains(_ID)
    refuse_rows(frame, wrong, path, "ID", "expected ID_<9 hexadecimal digits>_<subtype>")
    split = frame.with_columns(
        pl.col("ID").str.extract(_ID, 1).alias("sop_uid"), pl.col("ID").str.extract(_ID, 2).alias("subtype")
    )
    unknown = ~pl.col("subtype").is_in(list(task.label_names))
    refuse_rows(split, unknown, path, "ID", f"expected one of the subtypes {', '.join(task.label_names)}")
    return split
