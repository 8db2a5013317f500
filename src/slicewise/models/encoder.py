"""Stage 1: the network that turns one slice into a descriptor and slice logits.

Encoders come from timm (Apache-2.0) through this one adapter; any of its model names works.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import timm
import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from slicewise.config import EncoderConfig
from slicewise.errors import ConfigError, UsageError
from slicewise.models.occupancy import SUMMARIES_A_LABEL, EncoderStage, OccupancyPyramid, encoder_stages, summarise
from slicewise.models.pooling import GEM, use_generalised_mean
from slicewise.task import OCCUPANCY_STRIDE

# Mean and standard deviation of ImageNet's grey values, which pretrained weights expect of an input in [0, 1].
INPUT_MEAN, INPUT_STD = 0.449, 0.226


class SliceOutputs(NamedTuple):
    """What stage 1 says about slices.

    Attributes:
        descriptors: Pooled features, shape (N, D).
        slice_logits: Shape (N, L).
        summaries: Peaks and areas of the occupancy maps, shape (N, M); M is 0 without maps.
        maps: Occupancy logits, shape (N, L, H / OCCUPANCY_STRIDE, W / OCCUPANCY_STRIDE), None without maps.
    """

    descriptors: Tensor
    slice_logits: Tensor
    summaries: Tensor
    maps: Tensor | None


class DescriptorNetwork(nn.Module):
    """A timm encoder with a linear slice classifier on its pooled features (Ngo et al. 2022, stage 1).

    With a pyramid, the classifier also reads the summaries of its occupancy maps.

    Args:
        encoder: Network from (N, C, H, W) to pooled features (N, D).
        descriptor_size: D.
        labels: Number of labels L.
        stages: Stages of the encoder that occupancy maps are made from; none makes no maps.
        map_channels: Width of the pyramid.
    """

    encoder: Any  # the methods that timm adds to a module have no types

    def __init__(
        self,
        encoder: nn.Module,
        descriptor_size: int,
        labels: int,
        stages: Sequence[EncoderStage] = (),
        map_channels: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.descriptor_size = descriptor_size
        self.summary_size = SUMMARIES_A_LABEL * labels if stages else 0
        self.slice_classifier = nn.Linear(descriptor_size + self.summary_size, labels)
        self.pyramid = OccupancyPyramid(stages, map_channels, labels) if stages else None
        self._indices = [stage.index for stage in stages]

    def forward(self, channels: Tensor) -> SliceOutputs:
        """Describes slices.

        Args:
            channels: Shape (N, C, H, W), in [0, 1].
        """
        standardised = (channels - INPUT_MEAN) / INPUT_STD
        if self.pyramid is None:
            descriptors = self.encoder(standardised)
            return SliceOutputs(descriptors, self.slice_classifier(descriptors), descriptors[:, :0], None)
        features, of_stages = self.encoder.forward_intermediates(standardised, indices=self._indices)
        descriptors = self.encoder.forward_head(features)
        maps = self.pyramid(of_stages, channels.shape[-1] // OCCUPANCY_STRIDE)
        summaries = summarise(maps)
        slice_logits = self.slice_classifier(torch.cat([descriptors, summaries], dim=1))
        return SliceOutputs(descriptors, slice_logits, summaries, maps)


def build_encoder(config: EncoderConfig, *, channels: int, size: int, labels: int) -> DescriptorNetwork:
    """Builds the network of stage 1.

    Args:
        config: Name of the encoder, whether it starts from ImageNet weights, adapted to the channel count, and whether
            it makes occupancy maps.
        channels: Channels of the input.
        size: Rows and columns of the input; only encoders of a fixed input size use it.
        labels: Number of labels.

    Raises:
        ConfigError: If timm has no such encoder, or it cannot make occupancy maps.
        UsageError: If the pretrained weights cannot be had.
    """
    if not timm.is_model(config.name):
        similar = ", ".join(difflib.get_close_matches(config.name, timm.list_models())) or "see timm.list_models()"
        raise ConfigError(f"encoder.name: timm has no model '{config.name}'. Similar names: {similar}")
    encoder = _create(config, channels=channels, size=size)
    stages = encoder_stages(encoder, config.name, OCCUPANCY_STRIDE) if config.map_channels else ()
    return DescriptorNetwork(encoder, _descriptor_size(encoder), labels, stages, config.map_channels)


def synchronise_batch_norm(network: DescriptorNetwork) -> None:
    """Makes batch normalisation take its statistics from the batches of all processes, in place."""
    for name, child in network.named_children():
        setattr(network, name, convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]  # untyped in timm


def _descriptor_size(encoder: nn.Module) -> int:
    # Some encoders, as MobileNetV3, widen the pooled features once more before the classifier.
    size = getattr(encoder, "head_hidden_size", None) or encoder.num_features
    assert isinstance(size, int)
    return size


def _create(config: EncoderConfig, *, channels: int, size: int) -> nn.Module:
    fixed = timm.get_pretrained_cfg(config.name, allow_unregistered=True)
    arguments: dict[str, Any] = {"img_size": size} if fixed is not None and fixed.fixed_input_size else {}
    if config.pooling and config.pooling != GEM:
        arguments["global_pool"] = config.pooling
    try:
        encoder: nn.Module = timm.create_model(
            config.name, pretrained=config.pretrained, in_chans=channels, num_classes=0, **arguments
        )
    except Exception as error:
        if not config.pretrained:
            raise
        raise UsageError(
            f"encoder.pretrained: the ImageNet weights of '{config.name}' cannot be loaded ({type(error).__name__}: "
            f"{error}). They are downloaded once; connect this machine to a network, or set encoder.pretrained=false"
        ) from error
    if config.pooling == GEM:
        use_generalised_mean(encoder, config.name)
    return encoder
