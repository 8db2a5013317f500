from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from evaluated import SLICES, simulated_table
from slicewise.evaluation.metrics import log_loss
from slicewise.reporting.case_profiles import SeriesOfTable, make_profiles
from slicewise.task import Task


def test_series_are_told_apart_by_their_patient(task: Task) -> None:
    table = simulated_table(task, patients=4)
    one_name = replace(table, series_uids=("1",) * len(table), study_uids=("1",) * len(table))
    assert SeriesOfTable(one_name).number.tolist() == [row // SLICES for row in range(len(table))]


def test_rows_of_a_series_are_in_axial_order(task: Task) -> None:
    table = simulated_table(task, patients=4)
    backwards = replace(table, slice_index=tuple(SLICES - 1 - index for index in table.slice_index))
    rows = SeriesOfTable(backwards).rows(2)
    assert rows.tolist() == list(range(3 * SLICES - 1, 2 * SLICES - 1, -1))


def test_the_typical_series_has_the_median_log_loss(task: Task) -> None:
    table, index = simulated_table(task), task.main_index
    series = SeriesOfTable(table)
    losses = {}
    for number in range(series.number.max() + 1):
        rows = series.rows(number)
        if 0 < (table.targets[rows, index] == 1).sum() < len(rows):
            losses[number] = log_loss(table.probabilities[rows, index], table.targets[rows, index])
    typical = series.typical(index)
    assert typical is not None
    assert sum(loss < losses[typical] for loss in losses.values()) == (len(losses) - 1) // 2
    assert SeriesOfTable(simulated_table(task, patients=1)).typical(index) is None


def test_profiles_mark_the_known_slices_of_every_series_once(task: Task) -> None:
    table, index = simulated_table(task), task.main_index
    thresholds = dict.fromkeys(task.label_names, 0.3)
    series = SeriesOfTable(table)
    typical = series.typical(index)
    assert typical is not None
    row = int(series.rows(typical)[0])
    profiles = make_profiles(table, task, ([row], [0]), thresholds)
    assert [profile.heading for profile in profiles] == [
        "False positive 1, a typical series, of median log loss",
        "False negative 1",
    ]
    known = int((table.targets[series.rows(typical), index] == 1).sum())
    assert f"{known} slices are known to have the finding." in profiles[0].svg
    assert 'class="known"' in profiles[0].svg
    assert ('id="profile-1-title"' in profiles[0].svg, 'id="profile-2-title"' in profiles[1].svg) == (True, True)
    assert "<script" not in profiles[0].svg


def test_positions_are_used_where_they_ascend_in_mm(task: Task) -> None:
    table, thresholds = simulated_table(task, patients=2), dict.fromkeys(task.label_names, 0.3)
    assert "(mm)" in make_profiles(table, task, ([0], []), thresholds)[0].svg
    for positions in (np.full(len(table), np.nan), -table.positions_mm):
        assert "(mm)" not in make_profiles(replace(table, positions_mm=positions), task, ([0], []), thresholds)[0].svg
    by_index = msgspec.structs.replace(task, axial_unit="index")
    assert "(mm)" not in make_profiles(table, by_index, ([0], []), thresholds)[0].svg
