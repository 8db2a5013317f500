"""The layouts of label files, each with its reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from slicewise.data.bhx import read_bhx
from slicewise.data.cq500 import read_cq500
from slicewise.data.labels import LabelTable
from slicewise.data.rsna import read_rsna
from slicewise.data.table import read_table
from slicewise.errors import UsageError
from slicewise.task import Task

LAYOUTS: Mapping[str, Callable[[Path, Task], LabelTable]] = {
    "rsna": read_rsna,
    "cq500": read_cq500,
    "bhx": read_bhx,
    "table": read_table,
}


def read_labels(layout: str, labels: Path | None, task: Task, reads: Path | None = None) -> LabelTable:
    """Reads the label file of a layout.

    Args:
        layout: A key of `LAYOUTS`.
        labels: The file; without one every label is unknown.
        task: The labels.
        reads: The readers' findings of CQ500, which tell the boxes of BHX what is negative.

    Raises:
        UsageError: If the layout is not known, or `reads` does not belong to it.
        LabelTableError: If a file cannot be used.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}' is not known. Expected one of: {', '.join(LAYOUTS)}")
    if reads is not None and (layout != "bhx" or labels is None):
        raise UsageError(
            f"--reads {reads}: goes with --layout bhx and its --labels, the file of the boxes. With --layout cq500 the "
            "readers' findings are the labels themselves"
        )
    if labels is None:
        return LabelTable.empty(task.label_names)
    return read_bhx(labels, task, reads) if layout == "bhx" else LAYOUTS[layout](labels, task)
