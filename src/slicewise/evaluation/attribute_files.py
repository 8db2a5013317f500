"""What is known of patients, studies, series or images beside their labels, from a CSV file: more subgroups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slicewise.data.label_files import read_text_csv
from slicewise.errors import InputError
from slicewise.evaluation.predictions import PredictionTable

KEYS = {"sop_uid": "sop_uids", "series_uid": "series_uids", "study_uid": "study_uids", "patient_id": "patient_ids"}
"""Column that names what a row is about -> field of the predictions; of several the first one counts."""


def with_attributes(table: PredictionTable, path: Path) -> PredictionTable:
    """Adds the columns of a file to the attributes of a table; they take the place of those of the same name.

    Args:
        table: Predictions.
        path: CSV with one of the columns `sop_uid`, `series_uid` (or `series`), `study_uid`, `patient_id`, and one
            column an attribute, an empty cell where it is not known.

    Raises:
        InputError: If the file names nothing, no attribute, or one thing twice; or if no row fits a slice.
    """
    frame = read_text_csv(path)
    if "series_uid" not in frame.columns and "series" in frame.columns:
        frame = frame.rename({"series": "series_uid"})
    key = next((name for name in KEYS if name in frame.columns), None)
    names = [name for name in frame.columns if name not in KEYS]
    if key is None or not names:
        raise InputError(
            f"{path}: the columns are {', '.join(frame.columns)}; expected one of {', '.join(KEYS)}, and a column for "
            "each attribute",
            reason="bad_predictions",
        )
    ids = [(value or "").strip() for value in frame[key]]
    row_of: dict[str, int] = {}
    for row, value in enumerate(ids):
        if row_of.setdefault(value, row) != row:
            raise InputError(
                f"{path}: row {row + 2}, column {key}: '{value}' stands twice; expected one row each",
                reason="bad_predictions",
            )
    rows = [row_of.get(value, -1) for value in getattr(table, KEYS[key])]
    if all(row < 0 for row in rows):
        raise InputError(f"{path}: not one {key} is among the predictions", reason="bad_predictions")
    columns = {name: [(value or "").strip() for value in frame[name]] for name in names}
    added = {name: tuple(texts[row] if row >= 0 else "" for row in rows) for name, texts in columns.items()}
    return replace(table, attributes={**table.attributes, **added})
