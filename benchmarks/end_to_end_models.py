"""The networks of `end_to_end.py`: both read adjacent slices at once and answer for every one of them.

Each takes channels in [0, 1] of shape (B, S, C, H, W) and returns logits of shape (B, S, L); S may be any number.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from slicewise.models.encoder import INPUT_MEAN, INPUT_STD, DescriptorNetwork

ENCODER_BATCH = 32
"""Slices that the encoder reads at once in prediction, as in the package."""


class CnnLstm(nn.Module):
    """A bidirectional LSTM over the descriptors of slices (Nguyen et al. 2020), our own reading.

    Args:
        encoder: Describes slices; its slice classifier is not used.
        labels: L.
        hidden_size: Units of the LSTM in either direction.
        dropout: Dropout on what the LSTM reads, and on what the classifier reads.
    """

    def __init__(self, encoder: DescriptorNetwork, labels: int, hidden_size: int = 96, dropout: float = 0.3) -> None:
        super().__init__()
        self.encoder = cast("nn.Module", encoder.encoder)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(encoder.descriptor_size, hidden_size, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * hidden_size, labels)

    def forward(self, channels: Tensor) -> Tensor:
        """Returns logits (B, S, L)."""
        slices = ((channels - INPUT_MEAN) / INPUT_STD).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        parts = (slices,) if self.training else torch.split(slices, ENCODER_BATCH)
        descriptors = torch.cat([self.encoder(part) for part in parts]).reshape(*channels.shape[:2], -1)
        hidden, _ = self.lstm(self.dropout(descriptors))
        logits: Tensor = self.classifier(self.dropout(hidden))
        return logits


class SliceCnn3d(nn.Module):
    """A residual network of factorised 3D convolutions (R(2+1)D, Tran et al. 2018) that keeps every slice.

    Slices are halved in the plane five times and never along the axis; what is left of them is averaged in the plane.

    Args:
        channels: C.
        labels: L.
        widths: Channels of the stem and of every stage after it.
        dropout: Dropout on what the classifier reads.
    """

    def __init__(
        self, channels: int, labels: int, widths: tuple[int, ...] = (24, 32, 64, 128, 224), dropout: float = 0.3
    ) -> None:
        super().__init__()
        stem = nn.Conv3d(channels, widths[0], (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False)
        self.stages = nn.Sequential(
            stem,
            *_norm_and_activation(widths[0]),
            *(Block2Plus1d(inputs, outputs) for inputs, outputs in pairwise(widths)),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], labels)

    def forward(self, channels: Tensor) -> Tensor:
        """Returns logits (B, S, L)."""
        standardised = ((channels - INPUT_MEAN) / INPUT_STD).transpose(1, 2)
        features = self.stages(standardised.contiguous(memory_format=torch.channels_last_3d))
        pooled = features.mean(dim=(3, 4)).transpose(1, 2)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class Block2Plus1d(nn.Module):
    """Two convolutions in the plane, each followed by one along the axis, beside a shortcut; halves the plane.

    Args:
        inputs: Channels that it reads.
        outputs: Channels that it makes.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_factorised(inputs, outputs, stride=2),
            *_norm_and_activation(outputs),
            *_factorised(outputs, outputs, stride=1),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool3d((1, 2, 2), ceil_mode=True),
            nn.Conv3d(inputs, outputs, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Returns features of half the rows and columns."""
        return nn.functional.relu(self.residual(features) + self.shortcut(features))


def _factorised(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        *_norm_and_activation(outputs),
        nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0), bias=False),
    )


def _norm_and_activation(width: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm3d(width), nn.ReLU(inplace=True)
