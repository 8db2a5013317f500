"""What is known of patients, studies, series or images beside their labels, from a CSV file: more subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slicewise.data.label_files import read_text_csv
from slicewise.errors import InputError, UsageError
from slicewise.evaluation.predictions import PredictionTable

KEYS = {"sop_uid": "sop_uids", "series_uid": "series_uids", "study_uid": "study_uids", "patient_id": "patient_ids"}
"""Column that names what a row is about -> field of the predictions; of several the first one counts."""


@dataclass(frozen=True, eq=False)
class AttributeFile:
    """A file of attributes.

    Attributes:
        path: The file.
        key: Column that names what a row is about, a key of `KEYS`.
        row_of: Row by what it is about.
        columns: Texts of every row by the name of the attribute.
    """

    path: Path
    key: str
    row_of: Mapping[str, int]
    columns: Mapping[str, Sequence[str]]

    def added_to(self, table: PredictionTable) -> PredictionTable:
        """Adds the attributes to those of a table; they take the place of those of the same name.

        Raises:
            InputError: If no row is about any of its slices.
        """
        rows = [self.row_of.get(value, -1) for value in getattr(table, KEYS[self.key])]
        if all(row < 0 for row in rows):
            raise InputError(f"{self.path}: not one {self.key} is among the predictions", reason="bad_predictions")
        added = {name: tuple(texts[row] if row >= 0 else "" for row in rows) for name, texts in self.columns.items()}
        return replace(table, attributes={**table.attributes, **added})


def read_attributes(path: Path) -> AttributeFile:
    """Reads a file of attributes.

    Args:
        path: CSV with one of the columns `sop_uid`, `series_uid` (or `series`), `study_uid`, `patient_id`, and one
            column an attribute, an empty cell where it is not known.

    Raises:
        UsageError: If there is no such file.
        InputError: If it names nothing, no attribute, or one thing twice.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; expected a CSV file")
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
    row_of: dict[str, int] = {}
    for row, value in enumerate((cell or "").strip() for cell in frame[key]):
        if row_of.setdefault(value, row) != row:
            raise InputError(
                f"{path}: row {row + 2}, column {key}: '{value}' stands twice; expected one row each",
                reason="bad_predictions",
            )
    return AttributeFile(path, key, row_of, {name: [(cell or "").strip() for cell in frame[name]] for name in names})
