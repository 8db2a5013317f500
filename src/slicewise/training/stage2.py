"""Stage 2, axial fusion: a small head learns from the descriptors of adjacent slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from slicewise.errors import ConfigError
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.export import load_networks, round_to_stored_precision
from slicewise.models.fusion import FusionHead, build_head
from slicewise.models.losses import bce_total, smooth, weighted_bce
from slicewise.package import ModelPackage
from slicewise.task import Task
from slicewise.training.context import TrainingContext
from slicewise.training.descriptors import FusionBatch, SeriesFeatures, collate
from slicewise.training.hardware import one_cpu
from slicewise.training.loop import Stage, fit
from slicewise.training.validation import score_logits


def train_stage2(
    context: TrainingContext,
    network: DescriptorNetwork,
    features: Sequence[SeriesFeatures],
    validation: Sequence[SeriesFeatures],
) -> FusionHead:
    """Trains the head that the configuration names, on the CPU.

    Args:
        context: The training run.
        network: The trained network of stage 1.
        features: What it says about patients that it has not seen.
        validation: What it says about others, on whom every epoch is measured.

    Returns:
        The head, its weights rounded to what the package stores.

    Raises:
        TrainingError: If the loss is not finite.
    """
    head = _initial_head(context, network, features)
    if any(values.requires_grad for values in head.parameters()):
        fit(
            _stage(context, head, features, validation),
            # Stage 2 is small: full precision on the CPU is fast enough and repeats bit for bit.
            hardware=one_cpu(),
            seed=context.seed("stage 2"),
            folder=context.run.stage2,
            checkpoint_minutes=context.config.hardware.checkpoint_minutes,
            progress=context.progress,
        )
        round_to_stored_precision(head)
    return head.eval()


@torch.inference_mode()
def apply_head(
    head: FusionHead, features: Sequence[SeriesFeatures]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Runs a head over series.

    Returns:
        Uncalibrated logits and labels of all their slices, each of shape (slices, labels).
    """
    head.eval()
    logits = [head(collate([item]).features)[0].numpy() for item in features]
    return np.concatenate(logits), np.concatenate([item.labels for item in features])


def _initial_head(
    context: TrainingContext, network: DescriptorNetwork, features: Sequence[SeriesFeatures]
) -> FusionHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("initial weights of stage 2"))
        head = build_head(
            context.config.fusion,
            descriptor_size=network.descriptor_size,
            summary_size=network.summary_size,
            labels=len(context.task.labels),
        )
    if context.init is not None:
        _start_from(head, context.init, context.task)
    # After the start: the statistics are those of this run's descriptors.
    head.fit_scale(torch.from_numpy(np.concatenate([item.descriptors for item in features])))
    return head


def _stage(
    context: TrainingContext,
    head: FusionHead,
    features: Sequence[SeriesFeatures],
    validation: Sequence[SeriesFeatures],
) -> Stage[FusionBatch]:
    settings = context.config.fusion
    part_size = min(settings.batch_size, len(features)) // settings.accumulate
    if part_size == 0 or settings.batch_size % settings.accumulate:
        raise ConfigError(
            f"fusion.batch_size: {settings.batch_size} series a step cannot be cut into {settings.accumulate} equal "
            "parts (fusion.accumulate), or there are fewer series"
        )
    batch_size = part_size * settings.accumulate
    steps = len(features) // batch_size
    label_weights = torch.tensor(context.task.loss_weights)

    def batches(epoch: int, first: int) -> Iterator[FusionBatch]:
        order = np.random.default_rng((context.seed("series"), epoch)).permutation(len(features))
        for start in range(first * batch_size, steps * batch_size, part_size):
            yield collate([features[index] for index in order[start : start + part_size]])

    def totals(batch: FusionBatch) -> Tensor:
        return bce_total(batch.known, label_weights, torch.ones(batch.known.shape[:-1]))[None]

    def loss(head: nn.Module, batch: FusionBatch, totals: Tensor) -> Tensor:
        logits = head(batch.features)
        targets = smooth(batch.targets, settings.label_smoothing)
        ones = torch.ones(logits.shape[:-1])
        return weighted_bce(logits, targets, batch.known, label_weights, ones, total=totals[0])

    def validate(head: nn.Module) -> dict[str, float]:
        assert isinstance(head, FusionHead)
        return score_logits(*apply_head(head, validation), context.task)

    return Stage(
        name="Stage 2",
        network=head,
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        unit="series",
        totals=totals,
        loss=loss,
        schedule=settings,
        validate=validate,
    )


def _start_from(head: FusionHead, init: ModelPackage, task: Task) -> None:
    # Another head, or other labels: it starts anew.
    if init.manifest.task.label_names != task.label_names or init.manifest.fusion.name != head.config.name:
        return
    _, trained = load_networks(init)
    weights = trained.state_dict()
    shapes = {name: values.shape for name, values in head.state_dict().items()}
    if shapes == {name: values.shape for name, values in weights.items()}:
        head.load_state_dict(weights)
