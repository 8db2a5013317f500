"""Stage 1, descriptor extraction: a 2D network learns from single slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slicewise.data.batches import SliceBatch
from slicewise.data.datasets import EpochBatches, SliceDataset
from slicewise.data.store import SeriesRecord
from slicewise.errors import ConfigError, DatasetError
from slicewise.imaging.channels import channel_count
from slicewise.models.depthwise import keep_depthwise_in_float32
from slicewise.models.encoder import DescriptorNetwork, build_encoder, synchronise_batch_norm
from slicewise.models.export import load_networks, round_to_stored_precision
from slicewise.models.losses import bce_total, occupancy_loss, smooth, weighted_bce
from slicewise.package import ModelPackage
from slicewise.task import Task
from slicewise.training.checkpoint import load_weights, save_weights
from slicewise.training.context import TrainingContext
from slicewise.training.loop import Stage, fit
from slicewise.training.run_folder import WEIGHTS
from slicewise.training.validation import score_logits

VALIDATION_BATCH = 32


def train_stage1(
    context: TrainingContext,
    records: Sequence[SeriesRecord],
    validation: Sequence[SeriesRecord],
    folder: Path,
    name: str = "Stage 1",
) -> DescriptorNetwork:
    """Trains a network of stage 1, or loads the one that a folder holds.

    Args:
        context: The training run.
        records: Series whose slices it learns from.
        validation: Series of other patients, on which every epoch is measured.
        folder: Gets the weights, and all else that `fit` writes.
        name: For progress and log.

    Returns:
        The network on the CPU, its weights rounded to what the package stores.

    Raises:
        DatasetError: If no slice has a known label.
        TrainingError: If the loss is not finite.
    """
    weights, hardware = folder / WEIGHTS, context.hardware
    if not hardware.on_first(weights.is_file):
        network = initial_network(context)
        fit(
            descriptor_stage(context, network, records, validation, name),
            hardware=hardware,
            seed=context.seed("stage 1"),
            folder=folder,
            checkpoint_minutes=context.config.hardware.checkpoint_minutes,
            progress=context.progress,
        )
        network = network.to("cpu").to(memory_format=torch.contiguous_format)
        round_to_stored_precision(network)
        hardware.on_first(lambda: save_weights(network, weights))
    # Also what was just trained is read back: a run that resumes goes on from the same network.
    trained = initial_network(context)
    load_weights(trained, weights)
    return trained.eval()


def initial_network(context: TrainingContext) -> DescriptorNetwork:
    """Builds the network of stage 1 as its training starts: from random, ImageNet's or another model's weights.

    Raises:
        ConfigError: If the model that it should start from does not fit.
    """
    task = context.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("initial weights of stage 1"))
        network = build_encoder(
            context.encoder,
            channels=channel_count(task, context.encoder.neighbours),
            size=task.preprocessing.size,
            labels=len(task.labels),
        )
    if context.init is not None:
        _start_from(network, context.init, task)
    return network


def descriptor_stage(
    context: TrainingContext,
    network: DescriptorNetwork,
    records: Sequence[SeriesRecord],
    validation: Sequence[SeriesRecord],
    name: str,
) -> Stage[SliceBatch]:
    """Returns stage 1 as the training loop takes it.

    Args:
        context: The training run.
        network: The network of stage 1; it is trained in place.
        records: Series whose slices it learns from.
        validation: Series of other patients.
        name: For progress and log.

    Raises:
        ConfigError: If a batch cannot be cut into equal parts.
        DatasetError: If no slice has a known label.
    """
    settings, hardware = context.config.stage1, context.hardware
    slices = SliceDataset(
        context.dataset,
        records,
        settings.augment,
        neighbours=context.encoder.neighbours,
        masks=network.pyramid is not None and settings.map_weight > 0,
        seed=context.seed("slices"),
    )
    if len(slices) == 0:
        raise DatasetError("no slice of the training patients has a known label. Prepare the dataset with --labels")
    parts = settings.accumulate * hardware.ranks
    batches = EpochBatches(slices, settings, parts=parts, workers=context.config.hardware.workers)
    if batches.batch_size == 0 or settings.batch_size % parts:
        raise ConfigError(
            f"stage1.batch_size: {settings.batch_size} slices a step cannot be cut into {parts} equal parts for "
            f"{hardware.ranks} devices and stage1.accumulate={settings.accumulate}, or there are fewer training slices"
        )
    validate = _validation(context, validation)
    if settings.keep == "best" and (validate is None or context.config.split.method == "kfold"):
        raise ConfigError(
            "stage1.keep: 'best' needs labelled slices of patients that neither train stage 1 nor calibrate: set "
            "stage1.validation_slices above 0 and split.method='split', or keep the 'last' weights"
        )
    if hardware.ranks > 1 and hardware.device.type == "cuda":
        synchronise_batch_norm(network)
    if hardware.device.type == "cpu" and hardware.precision == torch.bfloat16:
        keep_depthwise_in_float32(network)
    label_weights = torch.tensor(context.task.loss_weights)

    def of_epoch(epoch: int, first: int) -> Iterator[SliceBatch]:
        return batches.of_epoch(epoch, first, hardware.rank, hardware.ranks)

    def totals(batch: SliceBatch) -> Tensor:
        return torch.stack(
            [bce_total(batch.known, label_weights, batch.weights), torch.tensor(float(len(batch.known)))]
        )

    def loss(network: nn.Module, batch: SliceBatch, totals: Tensor) -> Tensor:
        device = hardware.device
        outputs = network(batch.channels.to(device, memory_format=torch.channels_last))
        of_labels = weighted_bce(
            outputs.slice_logits.float(),
            smooth(batch.labels.to(device), settings.label_smoothing),
            batch.known.to(device),
            label_weights.to(device),
            batch.weights.to(device),
            total=totals[0],
        )
        if outputs.maps is None:
            return of_labels
        maps, has_masks = outputs.maps.float(), batch.has_masks.to(device)
        return of_labels + settings.map_weight * occupancy_loss(maps, batch.occupancy.to(device), has_masks, totals[1])

    return Stage(
        name=name,
        network=network.to(memory_format=torch.channels_last),
        batches=of_epoch,
        steps=batches.steps,
        batch_size=batches.batch_size,
        unit="slice",
        totals=totals,
        loss=loss,
        schedule=settings,
        validate=validate,
        keep_best=settings.keep == "best",
    )


def _validation(
    context: TrainingContext, records: Sequence[SeriesRecord]
) -> Callable[[nn.Module], dict[str, float]] | None:
    """Returns what scores a network on a fixed draw of slices; None where no label is known or none is asked for."""
    slices = SliceDataset(context.dataset, records, None, neighbours=context.encoder.neighbours, seed=0)
    order = np.random.default_rng(context.seed("validation")).permutation(len(slices))
    chosen = np.sort(order[: context.config.stage1.validation_slices])
    if len(chosen) == 0:
        return None

    @torch.inference_mode()
    def validate(network: nn.Module) -> dict[str, float]:
        logits = []
        for batch in slices.batches(chosen, VALIDATION_BATCH):
            channels = batch.channels.to(context.hardware.device, memory_format=torch.channels_last)
            logits.append(network(channels).slice_logits.float().cpu().numpy())
        return score_logits(np.concatenate(logits), slices.labels[chosen], context.task)

    return validate


def _start_from(network: DescriptorNetwork, init: ModelPackage, task: Task) -> None:
    if len(init.manifest.task.channels) != len(task.channels):
        raise ConfigError(
            f"--init: that model reads {len(init.manifest.task.channels)} channels, the task has {len(task.channels)}"
        )
    trained, _ = load_networks(init)
    try:
        network.encoder.load_state_dict(trained.encoder.state_dict())
    except RuntimeError as error:
        theirs = init.manifest.encoder
        raise ConfigError(
            f"--init: that model has encoder.name='{theirs.name}', encoder.pooling='{theirs.pooling}' and "
            f"encoder.neighbours={theirs.neighbours}. Set the same"
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
