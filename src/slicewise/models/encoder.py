"""Stage 1: the network that turns one slice into a descriptor and slice logits.

Encoders come from timm (Apache-2.0) through this one adapter; any of its model names works.
"""

from __future__ import annotations

import difflib
from typing import Any

import timm
from torch import Tensor, nn

from slicewise.config import EncoderConfig
from slicewise.errors import ConfigError, UsageError

# Mean and standard deviation of ImageNet's grey values, which pretrained weights expect of an input in [0, 1].
INPUT_MEAN, INPUT_STD = 0.449, 0.226


class DescriptorNetwork(nn.Module):
    """A timm encoder with a linear slice classifier on its pooled features (Ngo et al. 2022, stage 1).

    Args:
        encoder: Network from (N, C, H, W) to pooled features (N, D).
        descriptor_size: D.
        labels: Number of labels L.
    """

    def __init__(self, encoder: nn.Module, descriptor_size: int, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.slice_classifier = nn.Linear(descriptor_size, labels)
        self.descriptor_size = descriptor_size
        self.summary_size = 0

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Describes slices.

        Args:
            channels: Shape (N, C, H, W), in [0, 1].

        Returns:
            Descriptors (N, D), slice logits (N, L) and summaries (N, M), the last one empty without occupancy maps.
        """
        descriptors = self.encoder((channels - INPUT_MEAN) / INPUT_STD)
        return descriptors, self.slice_classifier(descriptors), descriptors[:, :0]


def build_encoder(config: EncoderConfig, *, channels: int, size: int, labels: int) -> DescriptorNetwork:
    """Builds the network of stage 1.

    Args:
        config: Name of the encoder, and whether it starts from ImageNet weights, adapted to the channel count.
        channels: Channels of the input.
        size: Rows and columns of the input; only encoders of a fixed input size use it.
        labels: Number of labels.

    Raises:
        ConfigError: If timm has no such encoder.
        UsageError: If the pretrained weights cannot be had.
    """
    if not timm.is_model(config.name):
        similar = ", ".join(difflib.get_close_matches(config.name, timm.list_models())) or "see timm.list_models()"
        raise ConfigError(f"encoder.name: timm has no model '{config.name}'. Similar names: {similar}")
    encoder = _create(config, channels=channels, size=size)
    return DescriptorNetwork(encoder, _descriptor_size(encoder), labels)


def _descriptor_size(encoder: nn.Module) -> int:
    # Some encoders, as MobileNetV3, widen the pooled features once more before the classifier.
    size = getattr(encoder, "head_hidden_size", None) or encoder.num_features
    assert isinstance(size, int)
    return size


def _create(config: EncoderConfig, *, channels: int, size: int) -> nn.Module:
    fixed = timm.get_pretrained_cfg(config.name, allow_unregistered=True)
    arguments: dict[str, Any] = {"img_size": size} if fixed is not None and fixed.fixed_input_size else {}
    if config.pooling:
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
    return encoder
