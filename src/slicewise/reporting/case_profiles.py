"""Axial profiles of an evaluation: the series of the worst cases, and a typical one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from slicewise.evaluation.metrics import log_losses
from slicewise.evaluation.predictions import PredictionTable
from slicewise.reporting.profile import Curve, axial_profile_svg
from slicewise.task import Task

PROFILES_A_KIND = 2
"""So many series of the worst false positives are shown, and as many of the worst false negatives."""

_Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SeriesProfile:
    """The profile of one series.

    Attributes:
        heading: Why it is shown.
        facts: What identifies it.
        svg: The profile, for the page.
    """

    heading: str
    facts: tuple[tuple[str, str], ...]
    svg: Markup


class SeriesOfTable:
    """Which slices of a table make up which series."""

    def __init__(self, table: PredictionTable) -> None:
        """Groups the slices by patient, study and series."""
        self._table = table
        keys = zip(table.patient_ids, table.study_uids, table.series_uids, strict=True)
        numbers: dict[tuple[str, str, str], int] = {}
        self.number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)

    def rows(self, number: int) -> _Rows:
        """Returns the rows of a series in axial order."""
        rows = np.flatnonzero(self.number == number)
        index = np.array(self._table.slice_index)[rows]
        ordered: _Rows = rows[np.argsort(index, kind="stable")]
        return ordered

    def typical(self, label: int) -> int | None:
        """Returns the series of median log loss among those with slices with and without the finding, if any."""
        targets = self._table.targets[:, label]
        known = targets >= 0
        count = np.bincount(self.number[known], minlength=int(self.number.max(initial=-1)) + 1)
        positive = np.bincount(self.number[targets == 1], minlength=len(count))
        losses = log_losses(
            self._table.probabilities[known, label].astype(np.float64), targets[known].astype(np.float64)
        )
        total = np.bincount(self.number[known], losses, len(count))
        mixed = np.flatnonzero((positive > 0) & (positive < count))
        if len(mixed) == 0:
            return None
        ordered = mixed[np.argsort(total[mixed] / count[mixed], kind="stable")]
        return int(ordered[(len(ordered) - 1) // 2])


def make_profiles(
    table: PredictionTable,
    task: Task,
    cases: tuple[Sequence[int], Sequence[int]],
    thresholds: Mapping[str, float],
) -> tuple[SeriesProfile, ...]:
    """Draws the profiles of the series of the worst cases, and of a typical one, each series once.

    Args:
        table: Predictions and labels.
        task: Names of the labels and the unit of the axis.
        cases: Rows of the worst false positives and false negatives, the worst first.
        thresholds: Of every label.
    """
    series = SeriesOfTable(table)
    chosen: dict[int, list[str]] = {}
    for kind, rows in zip(("false positive", "false negative"), cases, strict=True):
        for place, row in enumerate(rows[:PROFILES_A_KIND], start=1):
            chosen.setdefault(int(series.number[row]), []).append(f"{kind} {place}")
    typical = series.typical(task.main_index)
    if typical is not None:
        chosen.setdefault(typical, []).append("a typical series, of median log loss")
    return tuple(
        _profile(
            table, task, series.rows(number), thresholds, heading=", ".join(reasons), element_id=f"profile-{place}"
        )
        for place, (number, reasons) in enumerate(chosen.items(), start=1)
    )


def _profile(
    table: PredictionTable, task: Task, rows: _Rows, thresholds: Mapping[str, float], *, heading: str, element_id: str
) -> SeriesProfile:
    positions = table.positions_mm[rows]
    in_mm = task.axial_unit == "mm" and bool(np.isfinite(positions).all() and (np.diff(positions) >= 0).all())
    names = [f"index {table.slice_index[row]}" for row in rows]
    if in_mm:
        names = [f"{name} ({position:.1f} mm)" for name, position in zip(names, positions, strict=True)]
    curves = [
        Curve(
            label.display,
            thresholds[label.name],
            tuple(table.probabilities[rows, index].tolist()),
            tuple((table.targets[rows, index] == 1).tolist()),
        )
        for index, label in enumerate(task.labels)
    ]
    svg = axial_profile_svg(
        positions.tolist() if in_mm else [float(place) for place in range(len(rows))],
        names,
        curves,
        element_id=element_id,
        axis_title=f"{'Position along the slice normal (mm)' if in_mm else 'Slice'}, feet to head",
    )
    first = rows[0]
    facts = (("Patient ID", table.patient_ids[first] or "not given"), ("Series UID", table.series_uids[first]))
    return SeriesProfile(heading[0].upper() + heading[1:], facts, Markup(svg))  # noqa: S704  it escapes every text
