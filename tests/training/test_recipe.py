from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
from PIL import Image

import slicewise
from slicewise.config import RunConfig, load_config
from slicewise.data.occupancy import MASKS, Occupancy, digest_of_masks
from slicewise.data.prepare import prepare
from slicewise.data.store import SERIES, Dataset, SeriesRecord, folder_name
from slicewise.data.writing import write_record
from slicewise.errors import ConfigError, DatasetError, TrainingError, UsageError
from slicewise.imaging.windows import apply_channels
from slicewise.inference.reference import read_reference
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.export import empty_encoder
from slicewise.models.fusion import FusionHead
from slicewise.package import REFERENCE, ModelPackage, load_package
from slicewise.progress import Progress
from slicewise.task import OCCUPANCY_STRIDE, load_task
from slicewise.training import packing
from slicewise.training.commit import source_commit
from slicewise.training.metrics_log import read_log
from slicewise.training.recipe import split_training_patients, start_training, train
from slicewise.training.run_folder import open_run
from tiny import write_tiny

Item = TypeVar("Item")
CONFIG = (
    "encoder.name=mobilenetv3_small_050",
    "stage1.epochs=2",
    "stage1.batch_size=16",
    "stage1.negative_share=0.5",
    "fusion.members=1",  # quick to export
    "fusion.epochs=3",
    "fusion.batch_size=2",
    "fusion.hidden_size=8",
    "hardware.checkpoint_minutes=0",
    "name=tiny",
)
# The squares are easy to find, but not in two epochs of five steps.
MAPS = ("encoder.map_channels=8", "stage1.epochs=80", "stage1.learning_rate=0.005", "hardware.checkpoint_minutes=9")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=20)
    prepare(folder / "dataset", "table", [images], labels, load_task(task), holdout=0.2, workers=1)
    return Dataset.open(folder / "dataset")


@pytest.fixture(scope="module")
def masked_dataset(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same series; masks tell where their squares are."""
    path = tmp_path_factory.mktemp("masked") / "dataset"
    shutil.copytree(dataset.path, path)
    for record in dataset.records:
        write_masks(path, record, squares_of(dataset, record))
    return Dataset.open(path)


def squares_of(dataset: Dataset, record: SeriesRecord) -> Occupancy:
    """Share of every cell that differs from the even inside of the head as squares do, in rows that are labelled."""
    cells = dataset.task.preprocessing.size // OCCUPANCY_STRIDE
    values = dataset.input(record).values
    labels = dataset.row_labels(record)
    masks = np.zeros((*labels.shape, cells, cells), dtype=np.uint8)
    for label, seen in ((1, (values > 90) & (values < 400)), (2, (values < -10) & (values > -200))):
        shares = seen.reshape(-1, cells, OCCUPANCY_STRIDE, cells, OCCUPANCY_STRIDE).mean(axis=(2, 4))
        masks[:, label] = np.rint(255 * shares) * (labels[:, label, None, None] == 1)
    masks[:, 0] = masks[:, 1:].max(axis=1)
    return masks


def write_masks(path: Path, record: SeriesRecord, masks: Occupancy) -> None:
    np.save(path / SERIES / folder_name(record.series_uid) / MASKS, masks)
    write_record(path, msgspec.structs.replace(record, masks_digest=digest_of_masks(masks)))


@pytest.fixture(autouse=True)
def _quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    # The export to ONNX has tests of its own and takes longer than all the rest here.
    def weights(network: DescriptorNetwork | FusionHead, **_: int) -> bytes:
        return safetensors.torch.save(network.state_dict())

    monkeypatch.setattr(packing, "export_encoder", weights)
    monkeypatch.setattr(packing, "export_fusion", weights)


def config(*overrides: str) -> RunConfig:
    return load_config(None, (*CONFIG, *overrides))


def stopping(stage: str, after: int) -> Progress:
    def progress(items: Iterable[Item], *, description: str, **_: object) -> Iterator[Item]:
        for count, item in enumerate(items, start=1):
            yield item
            if description == stage and count == after:
                raise KeyboardInterrupt

    return progress


def run(dataset: Dataset, path: Path, *overrides: str) -> ModelPackage:
    return load_package(train(dataset, path, config(*overrides)))


@pytest.mark.parametrize(
    ("stage", "after"), [("Stage 1", 1), ("Stage 1", 4), ("Descriptors", 2), ("Stage 2", 1), ("Stage 2", 4)]
)
def test_an_interrupted_run_ends_in_the_same_model(dataset: Dataset, tmp_path: Path, stage: str, after: int) -> None:
    whole = run(dataset, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "cut", config(), progress=stopping(stage, after))
    assert not (tmp_path / "cut" / "package").exists()
    resumed = load_package(train(dataset, tmp_path / "cut", config(), resume=True))
    assert resumed.digest == whole.digest


def test_masks_train_maps_that_localise(masked_dataset: Dataset, tmp_path: Path) -> None:
    package = run(masked_dataset, tmp_path / "run", *MAPS)
    assert package.manifest.encoder.map_channels == 8
    assert package.manifest.summary_size == 2 * len(masked_dataset.task.labels)
    network = empty_encoder(package.manifest)
    safetensors.torch.load_model(network, tmp_path / "run" / "stage1" / "network.safetensors")
    network.eval()
    maps, masks = [], []
    for record in masked_dataset.records:
        if masked_dataset.splits[record.patient_id] == "test":
            values = masked_dataset.input(record).values.astype(np.float32)
            with torch.inference_mode():
                found = network(torch.from_numpy(apply_channels(values, masked_dataset.task.channels))).maps
            assert found is not None
            maps.append(found[:, 0].sigmoid().numpy().astype(np.float64))
            masks.append(masked_dataset.masks(record)[:, 0] / 255)
    predicted, truth = np.concatenate(maps), np.concatenate(masks)
    # Better than the best map that does not depend on the slice.
    fixed = np.broadcast_to(truth.mean(axis=0), truth.shape)
    assert cross_entropy(predicted, truth) < 0.85 * cross_entropy(fixed, truth)


def cross_entropy(shares: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    clipped = np.clip(shares, 1e-6, 1 - 1e-6)
    excess = truth * np.log(truth.clip(1e-6) / clipped) + (1 - truth) * np.log((1 - truth).clip(1e-6) / (1 - clipped))
    return float(excess.mean())


def test_an_interrupted_run_with_masks_ends_in_the_same_model(masked_dataset: Dataset, tmp_path: Path) -> None:
    whole = run(masked_dataset, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(masked_dataset, tmp_path / "cut", config(), progress=stopping("Stage 1", 3))
    assert load_package(train(masked_dataset, tmp_path / "cut", config(), resume=True)).digest == whole.digest


def test_other_masks_are_another_dataset(masked_dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(masked_dataset.path, tmp_path / "dataset")
    record = masked_dataset.records[0]
    write_masks(tmp_path / "dataset", record, 255 - masked_dataset.masks(record))
    assert Dataset.open(tmp_path / "dataset").digest() != masked_dataset.digest()


def test_without_masks_no_maps_are_made(dataset: Dataset, masked_dataset: Dataset, tmp_path: Path) -> None:
    without = run(dataset, tmp_path / "without")
    assert (without.manifest.encoder.map_channels, without.manifest.summary_size) == (0, 0)
    for number, unwanted in enumerate(("encoder.map_channels=0", "stage1.map_weight=0")):
        package = run(masked_dataset, tmp_path / f"unwanted-{number}", unwanted)
        assert (package.manifest.encoder.map_channels, package.manifest.summary_size) == (0, 0)


def test_settings_of_pace_may_change_on_the_way(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "run", config(), progress=stopping("Stage 1", 2))
    train(dataset, tmp_path / "run", config("hardware.checkpoint_minutes=9"), resume=True)
    with pytest.raises(UsageError, match=r"config\.stage1\.epochs is 2 there and 3 here"):
        train(dataset, tmp_path / "run", config("stage1.epochs=3"), resume=True)


def test_patients_of_the_first_model_train_the_encoder_alone(dataset: Dataset, tmp_path: Path) -> None:
    first = split_training_patients(dataset, config())
    init = run(dataset, tmp_path / "run")
    with pytest.raises(DatasetError, match=r"0 training patients \(beside 16 that .* --init has seen"):
        split_training_patients(dataset, config("seed=3"), init)
    task, images, labels = write_tiny(tmp_path / "more", patients=12, seed=1)
    shutil.copytree(dataset.path.parent / "images", images, dirs_exist_ok=True)
    with labels.open("a") as both:
        both.writelines((dataset.path.parent / "labels.csv").read_text().splitlines(keepends=True)[1:])
    prepare(tmp_path / "both", "table", [images], labels, load_task(task), workers=1)
    parts = split_training_patients(Dataset.open(tmp_path / "both"), config(), init)
    assert {parts[patient] for patient in first} == {"encoder"}
    assert {part for patient, part in parts.items() if patient not in first} == {"encoder", "fusion", "calibration"}


def test_damaged_weights_of_stage_1_are_named(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "package")
    (tmp_path / "run" / "stage1" / "network.safetensors").write_bytes(bytes(100))
    with pytest.raises(TrainingError, match=r"network\.safetensors: cannot be read"):
        train(dataset, tmp_path / "run", config(), resume=True)


def test_damaged_descriptors_are_made_again(dataset: Dataset, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "run")
    for number, path in enumerate(sorted((tmp_path / "run" / "descriptors").rglob("*.npz"))):
        path.write_bytes((b"", bytes(1000), path.read_bytes()[:-50])[number % 3])
    shutil.rmtree(tmp_path / "run" / "package")
    again = load_package(train(dataset, tmp_path / "run", config(), resume=True))
    assert again.digest == whole.digest


def test_an_unknown_head_is_refused_before_training(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no head 'lstm'"):
        train(dataset, tmp_path / "run", config("fusion.name=lstm"))
    with pytest.raises(
        ConfigError, match=r"'chained' can be compared .*not packed. Choose one of: bigru, chain, conv, none"
    ):
        train(dataset, tmp_path / "run", config("fusion.name=chained"))
    assert not (tmp_path / "run").exists()


def test_another_calibration_takes_the_same_stage_1(dataset: Dataset, tmp_path: Path) -> None:
    plain = run(dataset, tmp_path / "plain")
    other = config("calibration.prior={square=0.1}", "calibration.shrinkage=0.5")
    package = load_package(train(dataset, tmp_path / "other", other, reuse_stage1=tmp_path / "plain"))
    assert package.manifest.calibration.scale[0] == pytest.approx(0.5 * plain.manifest.calibration.scale[0])
    assert package.manifest.provenance.config["calibration"] == {"prior": {"square": 0.1}, "shrinkage": 0.5}
    assert "prior stated: square 0.1" in package.manifest.threshold_rule
    with pytest.raises(ConfigError, match="no label 'squares'"):
        train(dataset, tmp_path / "wrong", config("calibration.prior={squares=0.1}"))
    assert not (tmp_path / "wrong").exists()


def test_an_encoder_that_cannot_be_built_leaves_no_run_behind(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resnet19"):
        train(dataset, tmp_path / "run", config("encoder.name=resnet19"))
    assert not (tmp_path / "run").exists()


def test_terms_and_gaps_are_stated(dataset: Dataset, tmp_path: Path) -> None:
    package = run(dataset, tmp_path / "run", "license=Apache-2.0", "description=Squares drawn by a program")
    assert package.files["LICENSE"].decode().lstrip().startswith("Apache License")
    notice = package.files["NOTICE"].decode()
    assert "Squares drawn by a program" in notice
    assert "not a medical device" in notice
    other = run(dataset, tmp_path / "other")
    assert other.manifest.license == "not stated"
    assert "LICENSE" not in other.files


def test_a_run_folder_tells_all(dataset: Dataset, tmp_path: Path) -> None:
    # The validation of stage 2 are the calibration patients: all of them enter log loss and package alike.
    package = run(dataset, tmp_path / "run", "stage1.keep=best", "stage1.ema=0.5")
    record = open_run(tmp_path / "run").record
    assert record.versions["slicewise"] == slicewise.__version__
    assert record.commit == source_commit()
    for stage, epochs in (("stage1", 2), ("stage2", 3)):
        folder = tmp_path / "run" / stage
        log = read_log(folder / "log.csv")
        assert log["epoch"] == list(range(1, epochs + 1))
        assert {"loss", "learning_rate", "validation_weighted_log_loss", "validation_auroc_square"} <= log.keys()
        with Image.open(folder / "curves.png") as picture:
            assert picture.width > 500
        assert list((folder / "tensorboard").iterdir())
        assert {"checkpoint.pt", "best.safetensors"} <= {path.name for path in folder.iterdir()}
    last = read_log(tmp_path / "run" / "stage2" / "log.csv")["validation_weighted_log_loss"][-1]
    uncalibrated = package.manifest.metrics["weighted_log_loss_on_calibration_patients_uncalibrated"]
    assert last == pytest.approx(uncalibrated, rel=1e-3)


def test_what_cannot_be_cut_or_chosen_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage1\.batch_size: 16 slices a step cannot be cut into 3 equal parts"):
        train(dataset, tmp_path / "parts", config("stage1.accumulate=3"))
    with pytest.raises(ConfigError, match=r"stage1\.keep: 'best' needs labelled slices"):
        train(dataset, tmp_path / "best", config("stage1.keep=best", "stage1.validation_slices=0"))
    with pytest.raises(ConfigError, match=r"split\.method='split'"):
        train(dataset, tmp_path / "folds", config("stage1.keep=best", "split.method=kfold", "split.folds=2"))
    with pytest.raises(ConfigError, match=r"fusion\.batch_size: 2 series a step cannot be cut into 3"):
        train(dataset, tmp_path / "fusion", config("fusion.accumulate=3"))


def test_a_damaged_series_stops_training_and_is_named(dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.path, tmp_path / "dataset")
    for path in (tmp_path / "dataset" / SERIES).glob("*/values.npy"):
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"values\.npy: cannot be read"):
        train(Dataset.open(tmp_path / "dataset"), tmp_path / "run", config())
    assert not (tmp_path / "run" / "package").exists()


def test_folds_resume_to_the_same_model(dataset: Dataset, tmp_path: Path) -> None:
    options = ("split.method=kfold", "split.folds=2")
    whole = run(dataset, tmp_path / "whole", *options)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "cut", config(*options), progress=stopping("Stage 1 without fold 2 of 2", 3))
    assert load_package(train(dataset, tmp_path / "cut", config(*options), resume=True)).digest == whole.digest
    reused = train(dataset, tmp_path / "reused", config(*options, "fusion.epochs=2"), reuse_stage1=tmp_path / "whole")
    assert load_package(reused).manifest.provenance.patients == whole.manifest.provenance.patients
    assert not (tmp_path / "reused" / "stage1-fold1" / "log.csv").exists()


def test_a_package_remembers_what_it_was_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    package = run(dataset, tmp_path / "run")
    for record in dataset.records:
        trained = dataset.splits[record.patient_id] == "train"
        assert package.has_seen_content(record.values_digest) == trained
        assert package.has_seen_study(record.study_uid) == trained
    task, images, labels = write_tiny(tmp_path / "more", patients=20, seed=1)
    prepare(tmp_path / "second", "table", [images], labels, load_task(task), workers=1)
    second = Dataset.open(tmp_path / "second")
    context = start_training(second, tmp_path / "continued", config(), init=package)
    manifest = msgspec.structs.replace(package.manifest, provenance=packing._provenance(context))
    continued = ModelPackage(manifest, "", {})
    for record in dataset.records:
        assert continued.has_seen_study(record.study_uid) == (dataset.splits[record.patient_id] == "train")
    for record in second.records:
        assert continued.has_seen(record.patient_id)
        assert continued.has_seen_study(record.study_uid)
        assert continued.has_seen_content(record.values_digest)


def test_a_package_knows_what_it_says_of_its_calibration_patients(dataset: Dataset, tmp_path: Path) -> None:
    package = run(dataset, tmp_path / "run")
    reference = read_reference(package)
    assert reference is not None
    assert reference.patients == package.manifest.provenance.patients["calibration"]
    parts = split_training_patients(dataset, config())
    records = [record for record in dataset.records if parts.get(record.patient_id) == "calibration"]
    assert reference.scores["slice"].rows == sum(len(record.row_positions_mm) for record in records)
    assert reference.scores["study"].rows == len(records)
    assert len(reference.space.mean) == package.manifest.descriptor_size
    assert len(package.files[REFERENCE]) < 500_000
