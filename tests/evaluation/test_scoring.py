from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.special import expit

from scored_dataset import grey_value_detector, small, write_dataset
from slicewise.data.store import Dataset
from slicewise.errors import UsageError
from slicewise.evaluation.scoring import leakage, leakage_search, predict_dataset, select_records
from slicewise.task import Label, Task


@pytest.fixture
def dataset(tmp_path: Path, task: Task) -> Dataset:
    return write_dataset(tmp_path / "dataset", small(task), patients=5, test=2)


def test_every_original_slice_of_the_test_patients_has_a_row(dataset: Dataset) -> None:
    table = predict_dataset(grey_value_detector(dataset.task), dataset)
    assert table.patients == ("P3", "P4")
    assert table.slice_index == (0, 1, 2, 3, 4, 5) * 2
    assert table.sop_uids[:2] == ("ID_000300000", "ID_000300001")
    assert table.files[0] == "3/0.dcm"
    assert table.study_uids[0] == "1.2.3"
    assert table.series_uids[0] == "1.2.3.1"
    assert table.positions_mm[:6].tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert table.warnings == ()
    np.testing.assert_array_equal(table.targets[:6], dataset.records[3].label_array)


def test_probabilities_are_those_of_the_slab_of_the_slice(dataset: Dataset) -> None:
    table = predict_dataset(grey_value_detector(dataset.task), dataset)
    grey = dataset.input(dataset.records[3]).values[:, 0, 0]
    # The first channel of the task is the brain window, 0 to 80 HU.
    expected = np.repeat(expit(8.0 * (grey / 80.0 - 0.5)), 2)
    np.testing.assert_allclose(table.probabilities[:6, 0], expected, rtol=1e-5)


def test_all_patients_on_request(dataset: Dataset) -> None:
    table = predict_dataset(grey_value_detector(dataset.task), dataset, "all")
    assert len(table.patients) == 5
    assert len(table) == 30


def test_patients_of_the_training_are_refused(dataset: Dataset) -> None:
    detector = grey_value_detector(dataset.task, seen=("P0", "P4", "somebody"))
    with pytest.raises(UsageError, match=r"1 of 2 patients were seen in training.*--allow-seen-patients"):
        predict_dataset(detector, dataset)
    with pytest.raises(UsageError, match=r"2 of 5 patients were seen"):
        predict_dataset(detector, dataset, "all")
    table = predict_dataset(detector, dataset, allow_seen_patients=True)
    assert len(table) == 12
    held_out = [record for record in dataset.records if dataset.splits[record.patient_id] == "test"]
    assert leakage(detector, held_out) == ("1 of 2 patients were seen in training",)
    assert leakage_search(detector).startswith("patients, by their ids alone,")


def test_a_model_of_another_task_is_refused(dataset: Dataset) -> None:
    other = msgspec.structs.replace(
        dataset.task,
        labels=(msgspec.structs.replace(dataset.task.labels[0], name="cyst"), dataset.task.labels[1]),
    )
    assert isinstance(other.labels[0], Label)
    with pytest.raises(UsageError, match="labels edema, lesion, the model 'grey' has cyst, lesion"):
        select_records(grey_value_detector(other), dataset, "test")


def test_a_model_of_another_preprocessing_is_refused(dataset: Dataset) -> None:
    other = msgspec.structs.replace(
        dataset.task, preprocessing=msgspec.structs.replace(dataset.task.preprocessing, pixel_mm=2.0)
    )
    with pytest.raises(UsageError, match="other preprocessing"):
        select_records(grey_value_detector(other), dataset, "test")


def test_a_dataset_without_test_patients_is_refused(tmp_path: Path, task: Task) -> None:
    dataset = write_dataset(tmp_path / "dataset", small(task), patients=2, test=0)
    with pytest.raises(UsageError, match=r"--holdout.*--split all"):
        select_records(grey_value_detector(dataset.task), dataset, "test")


def test_slices_count_as_their_file_does(dataset: Dataset) -> None:
    # As in NIfTI files that are stored from the head down.
    records = [
        msgspec.structs.replace(
            record,
            slices=tuple(
                msgspec.structs.replace(item, slice_index=5 - index) for index, item in enumerate(record.slices)
            ),
        )
        for record in dataset.records
    ]
    table = predict_dataset(grey_value_detector(dataset.task), replace(dataset, records=tuple(records)))
    assert table.slice_index == (5, 4, 3, 2, 1, 0) * 2
