"""The shipped task of MR, from files to what the network reads."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.uid import MRImageStorage

from dicom_files import INTERCEPT, head_values, write_series
from slicewise.data.prepare import prepare
from slicewise.data.store import Dataset
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.series import choose_series
from slicewise.task import load_task
from slicewise.volume import Volume

TASK = load_task("mri_tumor")

MR: dict[str, Any] = {
    "SOPClassUID": MRImageStorage,
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "SeriesDescription": "AX FLAIR",
    "ConvolutionKernel": None,
    "RescaleSlope": None,
    "RescaleIntercept": None,
}


def signals() -> npt.NDArray[np.float32]:
    """Returns what a scanner stores of a head: shape (slices, rows, columns), none in the air, no two slices equal."""
    return np.maximum(head_values(), 0)


def write_flair(folder: Path) -> None:
    write_series(folder, values=signals() + np.float32(INTERCEPT), **MR)  # without a rescale the signals are stored


def only_series(path: Path) -> tuple[Volume, ModelInput]:
    """Reads what the task chooses of the one study below a path."""
    with take_inventory([path], modality=TASK.series.modality) as inventory:
        assert list(inventory.rejections()) == []
        (study,) = inventory.studies()
    (series,) = [item.series for item in choose_series(study, TASK.series) if item.chosen]
    volume, rejected = load_volume(series)
    assert rejected == ()
    return volume, preprocess(volume, TASK.preprocessing)


def test_a_dicom_series_without_a_rescale_is_read(tmp_path: Path) -> None:
    write_flair(tmp_path)
    volume, model_input = only_series(tmp_path)
    np.testing.assert_array_equal(volume.values, signals())
    assert (volume.modality, volume.warnings, model_input.warnings) == ("MR", (), ())
    reference = np.median(volume.values[volume.values > volume.values.mean()])
    assert model_input.intensity_scale == pytest.approx(1000 / reference)
    assert model_input.values.min() == 0


def test_a_ct_of_the_same_study_is_left_out(tmp_path: Path) -> None:
    write_flair(tmp_path / "mr")
    write_series(tmp_path / "ct", series_uid="1.2.3")
    volume, _ = only_series(tmp_path)
    assert volume.modality == "MR"
    with take_inventory([tmp_path], modality="MR") as inventory:
        (study,) = inventory.studies()
    assert sorted(item.reason for item in choose_series(study, TASK.series)) == ["chosen", "wrong_modality"]


def test_a_nifti_file_gives_the_same_input_as_dicom(tmp_path: Path) -> None:
    write_flair(tmp_path / "dicom")
    stored = signals().astype(np.int16).transpose(2, 1, 0)
    image = nibabel.Nifti1Image(stored, np.diag([-3.5, -3.5, 5.0, 1.0]))  # type: ignore[no-untyped-call]
    nibabel.save(image, tmp_path / "flair.nii.gz")
    (_, expected), (volume, found) = only_series(tmp_path / "dicom"), only_series(tmp_path / "flair.nii.gz")
    assert (volume.modality, volume.warnings, found.warnings) == ("MR", (), ())
    assert found.intensity_scale == expected.intensity_scale
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.fixture
def lower_grade_glioma(shared_data: Path) -> Path:
    folder = shared_data / "mri_lgg"
    if not folder.is_dir():
        pytest.skip("real MRI for tests (../shared/data/mri_lgg) is not here")
    return folder


def test_real_series_are_prepared_with_their_labels(lower_grade_glioma: Path, tmp_path: Path) -> None:
    images = sorted((lower_grade_glioma / "flair").glob("*.nii.gz"))[::16]
    names = [path.name.removesuffix(".nii.gz") for path in images]
    slices: Counter[str] = Counter()
    positive: Counter[str] = Counter()
    with (lower_grade_glioma / "labels.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            slices[row["series"]] += 1
            positive[row["series"]] += int(row["tumor"])

    summary = prepare(tmp_path / "dataset", "table", images, lower_grade_glioma / "labels.csv", TASK)
    assert (summary.series, summary.unlabelled_slices) == (len(images), 0)
    assert (summary.unreadable, summary.not_chosen) == (0, 0)
    dataset = Dataset.open(tmp_path / "dataset")
    assert sorted(record.series_uid for record in dataset.records) == names
    for record in dataset.records:
        labels = record.label_array[:, 0]
        assert len(labels) == slices[record.series_uid]
        assert set(labels.tolist()) == {0, 1}
        assert labels.sum() == positive[record.series_uid] > 0
        assert (record.volume_warnings, record.input_warnings) == ((), ())
        values = dataset.input(record).values
        assert len(values) == len(labels)  # no slices are averaged
        assert values.min() >= 0
        assert np.median(values[values > values.mean()]) == pytest.approx(1000, abs=50)
