"""What predictions share with training data: patients, studies, series, images. It is looked for before any figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slicewise.data.label_files import read_text_csv
from slicewise.errors import InputError
from slicewise.evaluation.predictions import PredictionTable

SHARED_COLUMNS = {
    "patient_id": ("patient_ids", "patients"),
    "study_uid": ("study_uids", "studies"),
    "series_uid": ("series_uids", "series"),
    "sop_uid": ("sop_uids", "images"),
}
"""Column of a training list -> the field of predictions with the same ids, and what they are called."""


def shared_with_training(table: PredictionTable, training: Path) -> tuple[str, ...]:
    """Compares predictions with a list of what a model was trained on.

    Args:
        table: The predictions.
        training: CSV with any of the columns `patient_id`, `study_uid`, `series_uid` (or `series`) and `sop_uid`, as
            `slices.csv` of a prepared dataset or a label file.

    Returns:
        One sentence for every kind of id that both have; empty where nothing is shared.

    Raises:
        InputError: If the file has none of the columns.
    """
    frame = read_text_csv(training)
    if "series_uid" not in frame.columns and "series" in frame.columns:
        frame = frame.rename({"series": "series_uid"})
    columns = [name for name in SHARED_COLUMNS if name in frame.columns]
    if not columns:
        raise InputError(
            f"{training}: the columns are {', '.join(frame.columns)}; expected at least one of "
            f"{', '.join(SHARED_COLUMNS)}, the ids of what the model was trained on",
            reason="bad_predictions",
        )
    found = []
    for column in columns:
        field, what = SHARED_COLUMNS[column]
        own: Sequence[str] = getattr(table, field)
        known = {value.strip() for value in frame[column].drop_nulls().to_list()} - {""}
        shared = sorted(set(own) & known)
        if shared:
            found.append(f"{len(shared)} of {len(set(own))} {what} were trained on (as {shared[0]!r})")
    return tuple(found)
