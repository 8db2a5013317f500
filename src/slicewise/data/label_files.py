"""What the readers of label files share: a CSV as text, and errors that name row and column."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from slicewise.errors import LabelTableError


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
