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
from slicewise.models.features import SliceFeatures
from slicewise.models.fusion import FusionHead, build_head
from slicewise.models.losses import bce_total, series_logits, smooth, weighted_bce
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
            seed=_seed(context, "stage 2"),
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


class _Members(nn.Module):
    """A head as training sees it: what every member says."""

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (members, B, S, L)."""
        return self.head.member_logits(features)


def _initial_head(
    context: TrainingContext, network: DescriptorNetwork, features: Sequence[SeriesFeatures]
) -> FusionHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(context, "initial weights of stage 2"))
        head = build_head(
            context.config.fusion,
            descriptor_size=network.descriptor_size,
            summary_size=network.summary_size,
            labels=len(context.task.labels),
        )
    if context.init is not None:
        _start_from(head, context.init, context.task)
    # After the start: the statistics are those of this run's descriptors.
    head.fit_scale(torch.from_numpy(np.concatenate([item.descriptors for item in features])), _spacing(features))
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
        order = np.random.default_rng((_seed(context, "series"), epoch)).permutation(len(features))
        for start in range(first * batch_size, steps * batch_size, part_size):
            yield collate([features[index] for index in order[start : start + part_size]])

    def totals(batch: FusionBatch) -> Tensor:
        return torch.stack([_total(known, label_weights) for known in (batch.known, batch.series_known)])

    def loss(head: nn.Module, batch: FusionBatch, totals: Tensor) -> Tensor:
        return torch.stack([of_member(logits, batch, totals) for logits in head(batch.features)]).mean()

    def of_member(logits: Tensor, batch: FusionBatch, totals: Tensor) -> Tensor:
        targets = smooth(batch.targets, settings.label_smoothing)
        of_slices = _bce(logits, targets, batch.known, label_weights, totals[0])
        if settings.series_weight == 0:
            return of_slices
        highest = series_logits(logits, batch.features.mask)
        series_targets = smooth(batch.series_targets, settings.label_smoothing)
        of_series = _bce(highest, series_targets, batch.series_known, label_weights, totals[1])
        return of_slices + settings.series_weight * of_series

    def validate(members: nn.Module) -> dict[str, float]:
        assert isinstance(members, _Members)
        return score_logits(*apply_head(members.head, validation), context.task)

    return Stage(
        name="Stage 2",
        network=_Members(head),
        batches=batches,
        steps=steps,
        batch_size=batch_size,
        unit="series",
        totals=totals,
        loss=loss,
        schedule=settings,
        validate=validate,
    )


def _seed(context: TrainingContext, purpose: str) -> int:
    """Returns the seed for one purpose of stage 2; `fusion.seed` changes no other stage."""
    seed = context.config.fusion.seed
    return context.seed(f"{purpose}, seed {seed}" if seed else purpose)


def _spacing(features: Sequence[SeriesFeatures]) -> float:
    """Returns the median distance of adjacent slices, on the axial unit of the task."""
    distances = np.concatenate([np.diff(item.positions) for item in features])
    return float(np.median(distances)) if len(distances) else 1.0


def _total(known: Tensor, label_weights: Tensor) -> Tensor:
    return bce_total(known, label_weights, torch.ones(known.shape[:-1]))


def _bce(logits: Tensor, targets: Tensor, known: Tensor, label_weights: Tensor, total: Tensor) -> Tensor:
    return weighted_bce(logits, targets, known, label_weights, torch.ones(known.shape[:-1]), total=total)


def _start_from(head: FusionHead, init: ModelPackage, task: Task) -> None:
    # Another head, or other labels: it starts anew.
    if init.manifest.task.label_names != task.label_names or init.manifest.fusion.name != head.config.name:
        return
    # Its components are those of other descriptors: what was learned in their basis means nothing in this one.
    if head.config.inputs == "pca":
        return
    _, trained = load_networks(init)
    weights = trained.state_dict()
    shapes = {name: values.shape for name, values in head.state_dict().items()}
    if shapes == {name: values.shape for name, values in weights.items()}:
        head.load_state_dict(weights)
