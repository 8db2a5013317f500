"""The worst cases of an evaluation: slices on which the model is most wrong, as pictures between their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slicewise.errors import DatasetError
from slicewise.evaluation.predictions import PredictionTable
from slicewise.imaging.neighbours import neighbour_rows
from slicewise.imaging.windows import apply_channels
from slicewise.progress import Progress, no_progress
from slicewise.reporting.pictures import Picture, PictureSet, jpeg_data_uri
from slicewise.reporting.wording import probability_text
from slicewise.task import Task

if TYPE_CHECKING:  # predictions from files are shown without the libraries that this imports
    from slicewise.data.store import Dataset, SeriesRecord

MOST_CASES = 6
"""At most so many false positives are shown, and as many false negatives; one slice a patient."""

NO_DATASET = "Pictures need the prepared dataset that was scored; these predictions came without one."

_PLACES = ("Next slice below", "This slice", "Next slice above")
_TRUTH = {1: "yes", 0: "no", -1: "unknown"}


@dataclass(frozen=True)
class CaseLabel:
    """One label of a slice: its probability, and whether the finding is there in words."""

    display: str
    probability: str
    truth: str


@dataclass(frozen=True)
class Case:
    """A slice on which the model is wrong.

    Attributes:
        row: Its row of the table.
        heading: Kind and place among its kind.
        facts: What identifies it.
        labels: All labels, in order.
        pictures: The slice between its neighbours, or why they cannot be shown.
    """

    row: int
    heading: str
    facts: tuple[tuple[str, str], ...]
    labels: tuple[CaseLabel, ...]
    pictures: PictureSet


def worst_rows(table: PredictionTable, index: int, threshold: float) -> tuple[list[int], list[int]]:
    """Returns the rows of the worst false positives and false negatives, the worst first, at most one a patient.

    Args:
        table: Predictions and labels.
        index: The label.
        threshold: Rows with at least this probability are flagged.
    """
    values, targets = table.probabilities[:, index], table.targets[:, index]
    alarms = np.flatnonzero((targets == 0) & (values >= threshold))
    misses = np.flatnonzero((targets == 1) & (values < threshold))
    return (
        _one_a_patient(table, alarms[np.argsort(-values[alarms], kind="stable")].tolist()),
        _one_a_patient(table, misses[np.argsort(values[misses], kind="stable")].tolist()),
    )


def make_cases(
    table: PredictionTable,
    task: Task,
    rows: tuple[Sequence[int], Sequence[int]],
    dataset: Dataset | None,
    progress: Progress = no_progress,
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Returns false positives and false negatives with their pictures.

    Args:
        table: Predictions and labels.
        task: Names of the labels.
        rows: Of the false positives and of the false negatives, as `worst_rows` gives them.
        dataset: Where the pixels are; None for no pictures.
        progress: Reports slices.
    """
    painter = None if dataset is None else _Painter(dataset)
    work = [(kind, place, row) for kind, found in enumerate(rows) for place, row in enumerate(found, start=1)]
    cases: tuple[list[Case], list[Case]] = ([], [])
    for kind, place, row in progress(work, description="pictures", total=len(work)):
        pictures = PictureSet((), NO_DATASET) if painter is None else painter.pictures(table, row)
        heading = f"{('False positive', 'False negative')[kind]} {place}"
        cases[kind].append(Case(row, heading, _facts(table, row), _labels(table, task, row), pictures))
    return tuple(cases[0]), tuple(cases[1])


class _Painter:
    """Makes pictures of the slices of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._records = {(item.patient_id, item.study_uid, item.series_uid): item for item in dataset.records}

    def pictures(self, table: PredictionTable, row: int) -> PictureSet:
        """Returns a slice between its neighbours, in the first window of the task."""
        record = self._records.get((table.patient_ids[row], table.study_uids[row], table.series_uids[row]))
        if record is None:
            return PictureSet((), "Its series is not in the dataset.")
        place = _place(record, table.sop_uids[row], table.frames[row])
        if place is None:
            return PictureSet((), "It is not in its series of the dataset.")
        middle = record.slab_of_slice[place]
        below, _, above = neighbour_rows(np.array(record.duplicate_rank), 1)[middle].tolist()
        try:
            shown = self._dataset.input_rows(record, [below, middle, above])
        except DatasetError as error:
            return PictureSet((), str(error))
        pixels = apply_channels(shown, self._dataset.task.channels[:1])[:, 0]
        found = zip(_PLACES, (below, middle, above), pixels, strict=True)
        # At an end of the series a slice is its own neighbour.
        return PictureSet(
            tuple(
                self._picture(name, record, grey)
                for name, other, grey in found
                if other != middle or name == _PLACES[1]
            )
        )

    def _picture(self, name: str, record: SeriesRecord, grey: np.typing.NDArray[np.float32]) -> Picture:
        channel, unit = self._dataset.task.channels[0], self._dataset.task.preprocessing.unit
        size = self._dataset.task.preprocessing.size
        averaged = len(record.slices) > len(record.row_positions_mm)
        return Picture(
            caption=f"{name}{', averaged to a thick one' if averaged else ''}",
            alt=f"{name}, {channel.name} window, center {channel.center:g}, width {channel.width:g} {unit}",
            data_uri=jpeg_data_uri(grey, size, size),
            width=size,
            height=size,
        )


def _one_a_patient(table: PredictionTable, rows: Sequence[int]) -> list[int]:
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(table.patient_ids[row], row)
        if len(first) == MOST_CASES:
            break
    return list(first.values())


def _place(record: SeriesRecord, sop_uid: str, frame: int) -> int | None:
    places = (place for place, item in enumerate(record.slices) if (item.sop_uid, item.frame) == (sop_uid, frame))
    return next(places, None)


def _facts(table: PredictionTable, row: int) -> tuple[tuple[str, str], ...]:
    position = table.positions_mm[row]
    facts = [
        ("Patient ID", table.patient_ids[row] or "not given"),
        ("Study UID", table.study_uids[row] or "not given"),
        ("Series UID", table.series_uids[row] or "not given"),
        ("Slice index", str(table.slice_index[row])),
    ]
    if np.isfinite(position):
        facts.append(("Position", f"{position:.1f} mm"))
    if table.files[row]:
        facts.append(("File", table.files[row]))
    return tuple(facts)


def _labels(table: PredictionTable, task: Task, row: int) -> tuple[CaseLabel, ...]:
    return tuple(
        CaseLabel(
            label.display,
            probability_text(float(table.probabilities[row, index])),
            _TRUTH[int(table.targets[row, index])],
        )
        for index, label in enumerate(task.labels)
    )
