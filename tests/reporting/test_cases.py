from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluated import simulated_table
from scored_dataset import grey_value_detector, small, write_dataset
from slicewise.data.store import SERIES, VALUES, Dataset, folder_name
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.scoring import predict_dataset
from slicewise.reporting.cases import MOST_CASES, NO_DATASET, make_cases, worst_rows
from slicewise.reporting.pictures import Picture
from slicewise.task import Task


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("dataset"), small(task), patients=12, test=12)


@pytest.fixture(scope="module")
def table(dataset: Dataset, task: Task) -> PredictionTable:
    return predict_dataset(grey_value_detector(small(task)), dataset)


def grey(picture: Picture) -> float:
    image = Image.open(io.BytesIO(base64.b64decode(picture.data_uri.partition(",")[2])))
    assert image.size == (picture.width, picture.height)
    return float(np.asarray(image).mean())


def test_the_worst_slices_come_first_and_one_a_patient(task: Task) -> None:
    table = simulated_table(task, noise=2.0)
    index, threshold = task.main_index, 0.3
    alarms, misses = worst_rows(table, index, threshold)
    values, targets = table.probabilities[:, index], table.targets[:, index]
    for rows, target, order in ((alarms, 0, -1), (misses, 1, 1)):
        assert 0 < len(rows) <= MOST_CASES
        assert all(targets[row] == target and (values[row] >= threshold) == (target == 0) for row in rows)
        assert len({table.patient_ids[row] for row in rows}) == len(rows)
        ranks = [float(order * values[row]) for row in rows]
        assert ranks == sorted(ranks)
        wrong = (targets == target) & ((values >= threshold) == (target == 0))
        assert ranks[0] == pytest.approx((order * values[wrong]).min())


def test_unknown_targets_are_neither_right_nor_wrong(task: Task) -> None:
    table = simulated_table(task)
    assert worst_rows(replace(table, targets=np.full_like(table.targets, -1)), 0, 0.5) == ([], [])


def test_a_case_is_shown_between_its_neighbours(dataset: Dataset, table: PredictionTable, task: Task) -> None:
    rows = [row for row, index in enumerate(table.slice_index) if index == 2][:1]
    cases, none = make_cases(table, task, (rows, []), dataset)
    (case,) = cases
    assert none == ()
    assert case.heading == "False positive 1"
    captions = [picture.caption for picture in case.pictures.pictures]
    assert captions == [
        f"{name}, averaged to a thick one" for name in ("Next slice below", "This slice", "Next slice above")
    ]
    record = next(record for record in dataset.records if record.series_uid == table.series_uids[rows[0]])
    expected = dataset.input(record).values[:, 0, 0] / task.channels[0].width * 255.0
    assert [grey(picture) for picture in case.pictures.pictures] == pytest.approx(expected, abs=3.0)
    assert all("window, center" in picture.alt for picture in case.pictures.pictures)
    assert ("Slice index", "2") in case.facts
    assert ("Position", "10.0 mm") in case.facts
    assert [label.truth for label in case.labels] == ["yes" if value == 1 else "no" for value in table.targets[rows[0]]]


def test_at_the_end_of_a_series_there_is_one_neighbour(dataset: Dataset, table: PredictionTable, task: Task) -> None:
    _, misses = make_cases(table, task, ([], [0, 5]), dataset)
    below, above = ([picture.caption.split(",")[0] for picture in case.pictures.pictures] for case in misses)
    assert below == ["This slice", "Next slice above"]
    assert above == ["Next slice below", "This slice"]


def test_without_pixels_the_reason_is_told(
    dataset: Dataset, table: PredictionTable, task: Task, tmp_path: Path
) -> None:
    def problem(table: PredictionTable, dataset: Dataset | None) -> str:
        ((case,), _) = make_cases(table, task, ([0], []), dataset)
        assert case.pictures.pictures == ()
        return case.pictures.problem

    assert problem(table, None) == NO_DATASET
    count = len(table)
    assert problem(replace(table, series_uids=("other",) * count), dataset) == "Its series is not in the dataset."
    renamed = tuple(f"other{row}" for row in range(count))
    assert problem(replace(table, sop_uids=renamed), dataset) == "It is not in its series of the dataset."
    copy = write_dataset(tmp_path, small(task), patients=12, test=12)
    (tmp_path / SERIES / folder_name(table.series_uids[0]) / VALUES).unlink()
    assert VALUES in problem(table, copy)
