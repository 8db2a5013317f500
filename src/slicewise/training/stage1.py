"""Stage 1, descriptor extraction: a 2D network learns from single slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from slicewise.data.datasets import SliceBatch, SliceDataset, epoch_indices, slice_batches
from slicewise.data.store import SeriesRecord
from slicewise.errors import ConfigError, DatasetError, TrainingError
from slicewise.files import write_bytes_atomically
from slicewise.imaging.channels import channel_count
from slicewise.models.encoder import DescriptorNetwork, build_encoder
from slicewise.models.export import load_networks, round_to_stored_precision
from slicewise.models.losses import occupancy_loss, weighted_bce
from slicewise.package import ModelPackage
from slicewise.task import Task
from slicewise.training.context import TrainingContext
from slicewise.training.loop import Stage, fit


def train_stage1(context: TrainingContext, records: Sequence[SeriesRecord]) -> DescriptorNetwork:
    """Trains the network of stage 1, or loads the one that the run folder holds.

    Args:
        context: The training run.
        records: Series whose slices it learns from.

    Returns:
        The network on the CPU, its weights rounded to what the package stores.

    Raises:
        DatasetError: If no slice has a known label.
        TrainingError: If the loss is not finite.
    """
    network = _initial_network(context)
    weights = context.run.stage1_weights
    if weights.is_file():
        return _load_weights(network, weights)
    fit(
        _stage(context, network, records),
        hardware=context.hardware,
        seed=context.seed("stage 1"),
        folder=context.run.stage1,
        checkpoint_minutes=context.config.hardware.checkpoint_minutes,
        progress=context.progress,
    )
    network = network.to("cpu").to(memory_format=torch.contiguous_format)
    round_to_stored_precision(network)
    write_bytes_atomically(weights, safetensors.torch.save(network.state_dict()))
    return network.eval()


def _load_weights(network: DescriptorNetwork, weights: Path) -> DescriptorNetwork:
    try:
        safetensors.torch.load_model(network, weights)
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise TrainingError(f"{weights}: cannot be read: {error}. Remove it to train stage 1 again") from error
    return network.eval()


def _initial_network(context: TrainingContext) -> DescriptorNetwork:
    task = context.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("initial weights of stage 1"))
        network = build_encoder(
            context.encoder,
            channels=channel_count(task),
            size=task.preprocessing.size,
            labels=len(task.labels),
        )
    if context.init is not None:
        _start_from(network, context.init, task)
    return network


def _stage(context: TrainingContext, network: DescriptorNetwork, records: Sequence[SeriesRecord]) -> Stage[SliceBatch]:
    settings, device = context.config.stage1, context.hardware.device
    slices = SliceDataset(
        context.dataset,
        records,
        settings.augment,
        masks=network.pyramid is not None and settings.map_weight > 0,
        seed=context.seed("slices"),
    )
    if len(slices) == 0:
        raise DatasetError("no slice of the training patients has a known label. Prepare the dataset with --labels")
    epoch_size = len(epoch_indices(slices, 0, settings.negative_share))
    batch_size = min(settings.batch_size, epoch_size)
    label_weights = torch.tensor(context.task.loss_weights, device=device)

    def batches(epoch: int, first: int) -> Iterator[SliceBatch]:
        return slice_batches(
            slices,
            epoch=epoch,
            first=first,
            batch_size=batch_size,
            negative_share=settings.negative_share,
            workers=context.config.hardware.workers,
        )

    def loss(network: nn.Module, batch: SliceBatch) -> Tensor:
        assert isinstance(network, DescriptorNetwork)
        outputs = network.describe(batch.channels.to(device, memory_format=torch.channels_last))
        of_labels = weighted_bce(
            outputs.slice_logits.float(),
            batch.labels.to(device),
            batch.known.to(device),
            label_weights,
            batch.weights.to(device),
        )
        if outputs.maps is None or not batch.has_masks.any():
            return of_labels
        of_maps = occupancy_loss(outputs.maps.float(), batch.occupancy.to(device), batch.has_masks.to(device))
        return of_labels + settings.map_weight * of_maps

    channels_last = network.to(memory_format=torch.channels_last)
    return Stage("Stage 1", channels_last, batches, epoch_size // batch_size, loss, settings)


def _start_from(network: DescriptorNetwork, init: ModelPackage, task: Task) -> None:
    if len(init.manifest.task.channels) != len(task.channels):
        raise ConfigError(
            f"--init: that model reads {len(init.manifest.task.channels)} channels, the task has {len(task.channels)}"
        )
    trained, _ = load_networks(init)
    try:
        network.encoder.load_state_dict(trained.encoder.state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"--init: that model's encoder is '{init.manifest.encoder.name}' with pooling "
            f"'{init.manifest.encoder.pooling}'; set encoder.name and encoder.pooling to the same"
        ) from error
    if init.manifest.task.label_names == task.label_names:
        _take_classifier(network.slice_classifier, trained.slice_classifier)
        if network.pyramid is not None and trained.pyramid is not None:
            network.pyramid.load_state_dict(trained.pyramid.state_dict())


@torch.no_grad()
def _take_classifier(classifier: nn.Linear, trained: nn.Linear) -> None:
    """Takes the weights of all inputs that both have: one of the networks may lack the summaries, which come last."""
    shared = min(classifier.in_features, trained.in_features)
    classifier.weight.zero_()
    classifier.weight[:, :shared] = trained.weight[:, :shared]
    classifier.bias.copy_(trained.bias)
