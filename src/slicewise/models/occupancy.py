"""Occupancy maps: where in a slice the findings of every label are, on a coarse grid.

A small feature pyramid (Lin et al. 2017) over the stages of the encoder. It is what dense supervision trains; its maps
localise, and their peaks and areas are the summaries of a slice that the slice classifier and axial fusion read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slicewise.errors import ConfigError

SUMMARIES_A_LABEL = 2
# The share of cells that a finding fills is small: maps begin there and not at one half.
_INITIAL_LOGIT = -5.0
_LARGEST_LOGIT = 10.0


@dataclass(frozen=True)
class EncoderStage:
    """One stage of an encoder whose features the pyramid reads.

    Attributes:
        index: Its place among the stages of the encoder.
        stride: Pixels of the input a cell, along rows and columns.
        channels: Number of its features.
    """

    index: int
    stride: int
    channels: int


class OccupancyPyramid(nn.Module):
    """From the features of several stages of an encoder to occupancy logits of every label.

    Args:
        stages: The stages, fine to coarse.
        width: Channels of the pyramid.
        labels: Number of labels L.
    """

    def __init__(self, stages: Sequence[EncoderStage], width: int, labels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(stage.channels, width, kernel_size=1) for stage in stages)
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.output = nn.Conv2d(width, labels, kernel_size=1)
        nn.init.constant_(_bias(self.output), _INITIAL_LOGIT)

    def forward(self, features: Sequence[Tensor], cells: int) -> Tensor:
        """Returns occupancy logits (N, L, cells, cells) from features (N, C, H, W) of every stage."""
        merged = self.lateral[-1](features[-1])
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(features[:-1]), strict=True):
            merged = lateral(finer) + nn.functional.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        if merged.shape[-1] != cells:
            merged = nn.functional.interpolate(merged, size=(cells, cells), mode="nearest")
        logits: Tensor = self.output(self.smooth(merged))
        return logits


def summarise(maps: Tensor) -> Tensor:
    """Returns peak and area of occupancy maps.

    Args:
        maps: Occupancy logits, shape (N, L, H, W).

    Returns:
        Shape (N, 2 L): for every label the highest logit, then for every label log(1 + cells that are filled).
    """
    peaks = maps.flatten(2).amax(dim=2).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    areas = torch.log1p(maps.sigmoid().sum(dim=(2, 3)))
    return torch.cat([peaks, areas], dim=1)


def encoder_stages(encoder: nn.Module, name: str, stride: int) -> tuple[EncoderStage, ...]:
    """Finds the stages of a timm encoder that the pyramid reads, fine to coarse: the last one of every stride.

    Args:
        encoder: The encoder.
        name: Its name, for messages.
        stride: Pixels a cell of the maps; finer stages are left out.

    Raises:
        ConfigError: If the encoder does not give the features of its stages, or has none so coarse.
    """
    found = getattr(encoder, "feature_info", None)
    if not hasattr(encoder, "forward_intermediates") or found is None:
        raise ConfigError(
            f"encoder.name: timm's '{name}' does not give the features of its stages, which occupancy maps need. "
            "Set encoder.map_channels=0 to train without dense supervision, or choose another encoder"
        )
    stages = {
        int(info["reduction"]): EncoderStage(index, int(info["reduction"]), int(info["num_chs"]))
        for index, info in enumerate(found)
    }
    chosen = tuple(stages[key] for key in sorted(stages) if key >= stride)
    if not chosen:
        raise ConfigError(
            f"encoder.name: '{name}' has no stage of {stride} pixels or more a cell, which occupancy maps need. Set "
            "encoder.map_channels=0 to train without dense supervision, or choose another encoder"
        )
    return chosen


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
