from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from conftest import ManifestMaker
from slicewise.config import EncoderConfig, load_config
from slicewise.data.prepare import prepare
from slicewise.data.store import Dataset
from slicewise.data.writing import write_masks
from slicewise.errors import ConfigError
from slicewise.models.depthwise import Float32Conv2d
from slicewise.models.encoder import DescriptorNetwork, build_encoder
from slicewise.models.export import export_encoder, export_fusion, round_to_stored_precision
from slicewise.models.fusion import FusionHead, build_head
from slicewise.package import ENCODER, FUSION, ModelPackage
from slicewise.progress import no_progress
from slicewise.task import OCCUPANCY_STRIDE, load_task
from slicewise.training.context import FUSION_PART, TrainingContext
from slicewise.training.hardware import resolve_hardware
from slicewise.training.recipe import split_training_patients
from slicewise.training.run_folder import RunRecord, start_run
from slicewise.training.stage1 import descriptor_stage, initial_network, train_stage1
from tiny import write_tiny

NAME, MAP_CHANNELS = "mobilenetv3_small_050", 8
# So small a step that the weights stay those that the run starts from.
STILL = (f"encoder.name={NAME}", "stage1.epochs=1", "stage1.learning_rate=1e-12", "stage1.batch_size=16")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=8)
    prepare(folder / "dataset", "table", [images], labels, load_task(task), workers=1)
    return Dataset.open(folder / "dataset")


def trained_network(dataset: Dataset, map_channels: int) -> DescriptorNetwork:
    torch.manual_seed(1)
    network = build_encoder(
        EncoderConfig(name=NAME, map_channels=map_channels),
        channels=len(dataset.task.channels),
        size=dataset.task.preprocessing.size,
        labels=len(dataset.task.labels),
    )
    round_to_stored_precision(network)
    return network.eval()


def package_of(dataset: Dataset, map_channels: int, make_manifest: ManifestMaker) -> ModelPackage:
    task, network = dataset.task, trained_network(dataset, map_channels)
    head = untrained_head(network)
    manifest = make_manifest(encoder=NAME, map_channels=map_channels, head=head, task=task)
    return ModelPackage(manifest, "0" * 64, exported(dataset, map_channels))


@functools.cache  # the export takes seconds
def exported(dataset: Dataset, map_channels: int) -> dict[str, bytes]:
    task, network = dataset.task, trained_network(dataset, map_channels)
    encoder = export_encoder(network, channels=len(task.channels), size=task.preprocessing.size)
    return {ENCODER: encoder, FUSION: export_fusion(untrained_head(network))}


def untrained_head(network: DescriptorNetwork) -> FusionHead:
    config = load_config(None, ["fusion.name=none"]).fusion
    sizes = {"descriptor_size": network.descriptor_size, "summary_size": network.summary_size}
    return build_head(config, **sizes, labels=network.slice_classifier.out_features)


def start_from(dataset: Dataset, folder: Path, init: ModelPackage, *overrides: str) -> DescriptorNetwork:
    config = load_config(None, (*STILL, *overrides))
    record = RunRecord(config, dataset.task.name, dataset.digest(), init.digest, "cpu", {})
    parts = split_training_patients(dataset, config)
    run = start_run(folder, record, resume=False)
    context = TrainingContext(dataset, parts, run, resolve_hardware(config.hardware), init, no_progress)
    return train_stage1(context, context.encoder_records(), context.records(FUSION_PART), run.stage1)


@pytest.mark.parametrize("theirs", [0, MAP_CHANNELS])
def test_a_run_starts_from_all_weights_that_both_have(
    dataset: Dataset, tmp_path: Path, make_manifest: ManifestMaker, theirs: int
) -> None:
    before = trained_network(dataset, theirs)
    init = package_of(dataset, theirs, make_manifest)
    network = start_from(dataset, tmp_path / "run", init, f"encoder.map_channels={MAP_CHANNELS}")
    # Maps that are trained are kept, though no series has masks; none are made where none were and nothing trains them.
    assert (network.pyramid is None) == (theirs == 0)
    after, trained = network.state_dict(), before.state_dict()
    assert after.keys() == trained.keys()
    for name in trained:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], trained[name], rtol=2e-3, atol=1e-5, msg=name)
    stored = safetensors.torch.load_file(tmp_path / "run" / "stage1" / "network.safetensors")
    assert stored.keys() == after.keys()


def test_summaries_that_are_new_count_for_nothing_at_first(
    dataset: Dataset, tmp_path: Path, make_manifest: ManifestMaker
) -> None:
    before = trained_network(dataset, 0)
    shutil.copytree(dataset.path, tmp_path / "masked")
    for record in dataset.records:
        cells = dataset.task.preprocessing.size // OCCUPANCY_STRIDE
        masks = np.zeros((len(record.row_positions_mm), len(dataset.task.labels), cells, cells), dtype=np.uint8)
        write_masks(tmp_path / "masked", record, masks)
    masked = Dataset.open(tmp_path / "masked")
    init = package_of(dataset, 0, make_manifest)
    network = start_from(masked, tmp_path / "run", init, f"encoder.map_channels={MAP_CHANNELS}")
    assert network.pyramid is not None
    size = network.descriptor_size
    weight = network.slice_classifier.weight
    torch.testing.assert_close(weight[:, :size], before.slice_classifier.weight, rtol=2e-3, atol=1e-5)
    assert weight[:, size:].abs().max() < 1e-6


def test_maps_that_are_not_wanted_are_left_out(dataset: Dataset, tmp_path: Path, make_manifest: ManifestMaker) -> None:
    before = trained_network(dataset, MAP_CHANNELS)
    init = package_of(dataset, MAP_CHANNELS, make_manifest)
    network = start_from(dataset, tmp_path / "run", init, "encoder.map_channels=0")
    assert network.pyramid is None
    size = network.descriptor_size
    torch.testing.assert_close(
        network.slice_classifier.weight, before.slice_classifier.weight[:, :size], rtol=2e-3, atol=1e-5
    )


def test_maps_of_another_width_are_refused(dataset: Dataset, tmp_path: Path, make_manifest: ManifestMaker) -> None:
    init = package_of(dataset, MAP_CHANNELS, make_manifest)
    with pytest.raises(ConfigError, match=r"encoder\.map_channels=8, the configuration 16"):
        start_from(dataset, tmp_path / "run", init, "encoder.map_channels=16")


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_depthwise_convolutions_stay_in_float32_where_bfloat16_trains(
    dataset: Dataset, tmp_path: Path, precision: str
) -> None:
    config = load_config(None, (f"encoder.name={NAME}", f"hardware.precision={precision}", "hardware.device=cpu"))
    record = RunRecord(config, dataset.task.name, dataset.digest(), "", "cpu", {})
    run = start_run(tmp_path / "run", record, resume=False)
    parts = split_training_patients(dataset, config)
    context = TrainingContext(dataset, parts, run, resolve_hardware(config.hardware), None, no_progress)
    network = initial_network(context)
    descriptor_stage(context, network, context.encoder_records(), (), "Stage 1")
    depthwise = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1]
    assert depthwise
    assert all(isinstance(layer, Float32Conv2d) == (precision == "bfloat16") for layer in depthwise)
