from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from slicewise.config import RunConfig, load_config
from slicewise.data.prepare import prepare
from slicewise.data.store import Dataset
from slicewise.errors import DatasetError
from slicewise.progress import no_progress
from slicewise.task import load_task
from slicewise.training.context import CALIBRATION_PART, TrainingContext
from slicewise.training.descriptors import SeriesFeatures, describe
from slicewise.training.folds import describe_unseen
from slicewise.training.hardware import one_cpu
from slicewise.training.recipe import split_training_patients
from slicewise.training.run_folder import RunFolder, RunRecord
from slicewise.training.stage1 import train_stage1
from slicewise.training.stage2 import apply_head, train_stage2
from slicewise.training.validation import score_logits
from tiny import write_tiny

CONFIG = (
    "encoder.name=mobilenetv3_small_050",
    "stage1.steps=80",
    "stage1.batch_size=16",
    "stage1.learning_rate=0.005",
    "stage1.validation_slices=0",
    "split.method=kfold",
    "split.folds=3",
    "split.encoder=0.6",
    "split.fusion=0.25",
    "fusion.name=bigru",
    "fusion.members=1",
    "fusion.epochs=30",
    "fusion.batch_size=4",
    "fusion.hidden_size=16",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=60)
    prepare(folder / "dataset", "table", [images], labels, load_task(task), holdout=0.3, workers=1)
    return Dataset.open(folder / "dataset")


def context_of(dataset: Dataset, folder: Path, config: RunConfig) -> TrainingContext:
    record = RunRecord(config, dataset.task.name, dataset.digest(), "", "cpu", {})
    parts = split_training_patients(dataset, config)
    return TrainingContext(dataset, parts, RunFolder(folder, record), one_cpu(), None, no_progress)


def test_every_patient_but_those_who_calibrate_is_in_one_fold(dataset: Dataset) -> None:
    config = load_config(None, CONFIG)
    parts = split_training_patients(dataset, config)
    split = split_training_patients(dataset, load_config(None, (*CONFIG, "split.method=split")))
    assert set(parts.values()) == {"fold1", "fold2", "fold3", "calibration"}
    calibrating = [patient for patient, part in parts.items() if part == "calibration"]
    assert calibrating == [patient for patient, part in split.items() if part == "calibration"]
    sizes = [list(parts.values()).count(f"fold{number}") for number in (1, 2, 3)]
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(DatasetError, match="folds"):
        split_training_patients(dataset, load_config(None, (*CONFIG, "split.folds=60")))


@pytest.mark.parametrize("inputs", ["descriptor", "compact"])
def test_stage_2_of_folds_loses_nothing_on_the_encoder_that_ships_and_new_patients(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory, inputs: str
) -> None:
    # Both cases share the encoders: only the head differs.
    folder = tmp_path_factory.getbasetemp() / "folds"
    shutil.rmtree(folder / "stage2", ignore_errors=True)
    context = context_of(dataset, folder, load_config(None, (*CONFIG, f"fusion.inputs={inputs}")))
    network = train_stage1(context, context.encoder_records(), (), context.run.stage1)
    features = describe_unseen(context, network)
    assert sum(len(item.positions) for item in features) == sum(
        len(record.row_positions_mm) for record in context.encoder_records()
    )
    head = train_stage2(context, network, features, describe(context, network, context.records(CALIBRATION_PART)))
    new = [record for record in dataset.records if dataset.splits[record.patient_id] == "test"]
    described = describe(context, network, new)
    fused = score_logits(*apply_head(head, described), dataset.task)
    single = score_logits(*single_slices(described), dataset.task)
    # Eighteen new patients: more than this would not be chance.
    assert fused["weighted_log_loss"] <= 1.05 * single["weighted_log_loss"]
    assert fused["auroc_square"] >= single["auroc_square"] - 0.05
    if inputs == "descriptor":
        check_alignment(context.run)


def single_slices(features: list[SeriesFeatures]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([item.slice_logits for item in features]), np.concatenate([item.labels for item in features])


def check_alignment(run: RunFolder) -> None:
    for number in range(3):
        with (run.fold(number) / "alignment.csv").open() as stream:
            (row,) = csv.DictReader(stream)
        assert 0 < float(row["explained_variance_unseen"]) <= 1
        assert float(row["explained_variance_seen"]) <= 1
