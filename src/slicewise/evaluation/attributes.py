"""What is known of every slice of a prepared dataset beside its labels: what subgroups of an evaluation are made of.

Everything comes from the records of the series, in memory, but for the volume of hemorrhage: where masks are known,
they are read once, and of series without the finding not at all. Values of images are never read.

| attribute | text of a slice |
|---|---|
| slice_thickness_mm | Slice Thickness of the header, else the median spacing of its series |
| spacing_mm | median spacing of the positions of its series |
| manufacturer, kernel | as `imaging.acquisition` reads them |
| tilt_degrees | angle between the slice normal and the patient's axis |
| matrix | rows x columns of the original image |
| age_years, sex | of the patient at the time of the study |
| finding_ml | volume of the findings within its series, where it has masks; 0 without a finding |
| subtypes | how many findings it shows: "none", "single" or "several", beside the label that sums up the others |
| axial_place | "first or last two" rows of the network input in its series, which lack neighbours, or "between" |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slicewise.imaging.acquisition import Acquisition
from slicewise.imaging.geometry import median_spacing_mm
from slicewise.task import OCCUPANCY_STRIDE, Task

if TYPE_CHECKING:  # `evaluate --predictions` works without the libraries that this imports
    from slicewise.data.store import Dataset, SeriesRecord

ATTRIBUTES = (
    "slice_thickness_mm",
    "spacing_mm",
    "manufacturer",
    "kernel",
    "tilt_degrees",
    "matrix",
    "age_years",
    "sex",
    "finding_ml",
    "subtypes",
    "axial_place",
)
"""Names of the attributes, in the order of every table."""

NONE, SINGLE, SEVERAL = "none", "single", "several"
END, BETWEEN = "first or last two", "between"
UNKNOWN = ""

_CONTEXT_ROWS = 2
_FULL_CELL = 255
_MM3_A_ML = 1000.0


def slice_attributes(dataset: Dataset, records: Sequence[SeriesRecord]) -> dict[str, tuple[str, ...]]:
    """Returns the attributes of every original slice.

    Args:
        dataset: A prepared dataset.
        records: Series of it.

    Returns:
        One text a slice by attribute, series by series and in axial order, as `scoring.prediction_table` has them;
        numbers in plain units, "" where an attribute is not known.

    Raises:
        DatasetError: If masks are damaged.
    """
    columns: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
    for record in records:
        slices = len(record.slices)
        for name, text in _of_series(dataset, record).items():
            columns[name] += [text] * slices
        columns["subtypes"] += _subtypes(record, dataset.task)
        columns["axial_place"] += _axial_places(record)
    return {name: tuple(texts) for name, texts in columns.items()}


def finding_ml(dataset: Dataset, record: SeriesRecord) -> float | None:
    """Returns the volume of the findings within a series, in ml.

    A cell of the masks counts with the share of it that the label which sums up the others fills (without one: that any
    label fills most), times its area, times how far its row reaches: half-way to the rows beside it.

    Returns:
        0 for a series that is known to have no finding; None without masks, or where positions are no millimetres.

    Raises:
        DatasetError: If the masks are damaged.
    """
    task = dataset.task
    if _is_negative(record, task):
        return 0.0
    if not record.masks_digest or task.axial_unit != "mm":
        return None
    reach_mm = _reach_mm(record)
    if reach_mm is None:
        return None
    masks = dataset.masks(record)
    shares = masks.max(axis=1) if task.any_index is None else masks[:, task.any_index]
    filled = shares.sum(axis=(1, 2), dtype=np.float64) / _FULL_CELL
    cell_mm2 = (OCCUPANCY_STRIDE * task.preprocessing.pixel_mm) ** 2
    return float(filled @ reach_mm) * cell_mm2 / _MM3_A_ML


def _of_series(dataset: Dataset, record: SeriesRecord) -> dict[str, str]:
    """Returns the attributes that all slices of a series share."""
    acquisition = record.acquisition or Acquisition()
    in_mm = dataset.task.axial_unit == "mm"
    spacing = median_spacing_mm(record.positions_mm) if in_mm else None
    thickness = acquisition.slice_thickness_mm
    return {
        "slice_thickness_mm": _number(spacing if thickness is None else thickness, 3),
        "spacing_mm": _number(spacing, 3),
        "manufacturer": acquisition.manufacturer,
        "kernel": acquisition.kernel,
        "tilt_degrees": _number(record.tilt_degrees, 1),
        "matrix": f"{record.matrix[0]} x {record.matrix[1]}",
        "age_years": _number(acquisition.age_years, 1),
        "sex": acquisition.sex,
        "finding_ml": _number(finding_ml(dataset, record), 3),
    }


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{round(value, digits) + 0.0:.10g}"


def _is_negative(record: SeriesRecord, task: Task) -> bool:
    """Tells whether a series is known to show no finding, by the labels of its study or of all its slices."""
    labels = slice(None) if task.any_index is None else task.any_index
    if record.study_labels and np.all(np.array(record.study_labels)[labels] == 0):
        return True
    return bool(np.all(record.label_array[:, labels] == 0))


def _reach_mm(record: SeriesRecord) -> npt.NDArray[np.float64] | None:
    """Returns how much of the axis every row of the network input stands for, in mm; further rows at a place: nothing.

    The first and the last row reach as far out as in, a single one as far as its slice is thick; None where that is not
    known.
    """
    positions = np.array(record.row_positions_mm)
    first = np.array(record.duplicate_rank) == 0
    steps = np.diff(positions[first])
    if not len(steps):
        thickness = record.acquisition.slice_thickness_mm if record.acquisition is not None else None
        return None if thickness is None else np.where(first, thickness, 0.0)
    reach = np.zeros(len(positions))
    reach[first] = (np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]])) / 2
    return reach


def _subtypes(record: SeriesRecord, task: Task) -> list[str]:
    """Counts the findings of every slice; those of the study where only studies are labelled."""
    values = record.label_array
    if record.study_labels and np.all(values < 0):
        values = np.tile(np.array(record.study_labels, dtype=np.int8), (len(values), 1))
    if task.any_index is not None and values.shape[1] > 1:
        values = np.delete(values, task.any_index, axis=1)
    positive, unknown = (values == 1).sum(axis=1), (values < 0).sum(axis=1)
    return [_subtypes_text(*counts) for counts in zip(positive.tolist(), unknown.tolist(), strict=True)]


def _subtypes_text(positive: int, unknown: int) -> str:
    if positive > 1:
        return SEVERAL
    if unknown:
        return UNKNOWN
    return SINGLE if positive else NONE


def _axial_places(record: SeriesRecord) -> list[str]:
    places, place_of_row = np.unique(np.array(record.row_positions_mm), return_inverse=True)
    place_of_slice = place_of_row[np.array(record.slab_of_slice)]
    is_end = (place_of_slice < _CONTEXT_ROWS) | (place_of_slice >= len(places) - _CONTEXT_ROWS)
    return [END if item else BETWEEN for item in is_end.tolist()]
