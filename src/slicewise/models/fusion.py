"""Stage 2, axial fusion: heads that classify every slice from the features of its neighbours.

A head is one registered class. Each takes `SliceFeatures` and returns logits (B, S, L), adds a correction to the logits
of the slice classifier (the residual path that keeps rare labels from getting worse), and never lets padding change the
output at a slice. The layers of Ngo et al. 2022 are not public; these are our own reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.errors import ConfigError
from slicewise.models.features import SliceFeatures

# Typical distance of adjacent slices: brings differences of positions to about 1.
TYPICAL_SPACING = 5.0


class FusionHead(nn.Module):
    """Base of all heads: what a head is built from.

    Args:
        config: Sizes of the head.
        descriptor_size: D.
        summary_size: M, 0 where stage 1 has no occupancy maps.
        labels: L.
    """

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__()
        self.config = config
        self.descriptor_size = descriptor_size
        self.summary_size = summary_size
        self.labels = labels

    @property
    def read_descriptors(self) -> int:
        """How many features of a descriptor the head reads: D, or 0 for compact inputs."""
        return self.descriptor_size if self.config.inputs == "descriptor" else 0

    def fit_scale(self, descriptors: Tensor) -> None:
        """Learns what the head needs to know of the distribution of the descriptors.

        Args:
            descriptors: All training slices, shape (N, D).
        """


HEADS: dict[str, type[FusionHead]] = {}
Head = TypeVar("Head", bound=type[FusionHead])


def register_head(name: str) -> Callable[[Head], Head]:
    """Registers a head under the name that `fusion.name` selects."""

    def register(head: Head) -> Head:
        HEADS[name] = head
        return head

    return register


def build_head(config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> FusionHead:
    """Builds the head that the configuration names.

    Raises:
        ConfigError: If no head has that name.
    """
    if config.name not in HEADS:
        raise ConfigError(f"fusion.name: there is no head '{config.name}'. Expected one of: {', '.join(HEADS)}")
    return HEADS[config.name](config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)


@register_head("none")
class SingleSlice(FusionHead):
    """The single-slice baseline: the logits of the slice classifier as they are."""

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns the slice logits (B, S, L)."""
        return features.slice_logits


class DescriptorProjection(nn.Module):
    """Standardises descriptors with fixed statistics, then projects them together with logits and summaries.

    Args:
        descriptor_size: D, 0 to read no descriptors.
        others: Number of further inputs a slice (logits and summaries).
        hidden_size: Size of the output.
        dropout: Dropout on descriptors.
        noise: Standard deviation of Gaussian noise on standardised descriptors, in training.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, descriptor_size: int, others: int, hidden_size: int, *, dropout: float, noise: float) -> None:
        super().__init__()
        # An empty buffer is in no ONNX file to load it back from.
        self.register_buffer("mean", torch.zeros(descriptor_size), persistent=descriptor_size > 0)
        self.register_buffer("deviation", torch.ones(descriptor_size), persistent=descriptor_size > 0)
        self.dropout = nn.Dropout(dropout)
        self.noise = noise
        self.linear = nn.Linear(descriptor_size + others, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def fit(self, descriptors: Tensor) -> None:
        """Takes mean and standard deviation from the training descriptors (N, D), if it reads descriptors."""
        if not len(self.mean):
            return
        self.mean.copy_(descriptors.mean(dim=0))
        self.deviation.copy_(descriptors.std(dim=0, unbiased=False).clamp_min(1e-3))

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns projected features (B, S, hidden_size)."""
        inputs = [features.slice_logits, features.summaries]
        if len(self.mean):
            inputs.insert(0, self._standardised(features.descriptors))
        return nn.functional.gelu(self.norm(self.linear(torch.cat(inputs, dim=-1))))

    def _standardised(self, descriptors: Tensor) -> Tensor:
        standardised = (descriptors - self.mean) / self.deviation
        if self.training and self.noise > 0:
            standardised = standardised + self.noise * torch.randn_like(standardised)
        dropped: Tensor = self.dropout(standardised)
        return dropped


@register_head("window")
class Window(FusionHead):
    """The k neighbours on either side, side by side: the plain reading of Ngo et al. 2022.

    Beyond the ends of a series its first or last slice repeats.
    """

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        self.projection = DescriptorProjection(
            self.read_descriptors, labels + summary_size, config.hidden_size, dropout=config.dropout, noise=config.noise
        )
        slices = 2 * config.neighbours + 1
        self.hidden = nn.Linear(slices * (config.hidden_size + 1), config.hidden_size)
        self.output = _zero_output(config.hidden_size, labels)

    def fit_scale(self, descriptors: Tensor) -> None:
        """Standardises by the training descriptors (N, D)."""
        self.projection.fit(descriptors)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        projected = self.projection(features)
        seen = []
        for offset in range(-self.config.neighbours, self.config.neighbours + 1):
            distance = _at(features.positions[..., None], features, offset) - features.positions[..., None]
            seen += [_at(projected, features, offset), distance / TYPICAL_SPACING]
        hidden = nn.functional.gelu(self.hidden(torch.cat(seen, dim=-1)))
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction


@register_head("bigru")
class BidirectionalGRU(FusionHead):
    """A GRU in either direction over the whole series.

    A slice enters with its projected features, their differences to both neighbours, the distances to them and its
    position relative to the middle of the series.
    """

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        size = config.hidden_size
        self.projection = DescriptorProjection(
            self.read_descriptors, labels + summary_size, size, dropout=config.dropout, noise=config.noise
        )
        # Two one-way networks instead of one two-way network: the backward one reads each series reversed by its own
        # length, so that padding, which stays last, is never read before a slice.
        self.forward_gru = nn.GRU(3 * size + 3, size, batch_first=True)
        self.backward_gru = nn.GRU(3 * size + 3, size, batch_first=True)
        self.output = _zero_output(3 * size, labels)

    def fit_scale(self, descriptors: Tensor) -> None:
        """Standardises by the training descriptors (N, D)."""
        self.projection.fit(descriptors)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        projected = self.projection(features)
        inputs = torch.cat(
            [projected, *_differences(projected, features), _axial_inputs(features)],
            dim=-1,
        )
        onward, _ = self.forward_gru(inputs)
        backward, _ = self.backward_gru(_reversed(inputs, features))
        hidden = torch.cat([onward, _reversed(backward, features), projected], dim=-1)
        correction: Tensor = self.output(hidden)
        return features.slice_logits + correction


def _zero_output(inputs: int, labels: int) -> nn.Linear:
    # Starting from zero, a head starts as the single-slice baseline.
    layer = nn.Linear(inputs, labels)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _steps(features: SliceFeatures) -> Tensor:
    return torch.arange(features.mask.shape[1], device=features.mask.device)[None]


def _take(values: Tensor, index: Tensor) -> Tensor:
    return torch.gather(values, 1, index[..., None].expand(-1, -1, values.shape[-1]))


def _at(values: Tensor, features: SliceFeatures, offset: int) -> Tensor:
    last = features.lengths[:, None] - 1
    return _take(values, torch.minimum((_steps(features) + offset).clamp_min(0).expand_as(features.mask), last))


def _reversed(values: Tensor, features: SliceFeatures) -> Tensor:
    # Padding reads slice 0; it follows all slices of its series, so nothing reads it.
    return _take(values, (features.lengths[:, None] - 1 - _steps(features)).clamp_min(0))


def _differences(values: Tensor, features: SliceFeatures) -> tuple[Tensor, Tensor]:
    return values - _at(values, features, -1), _at(values, features, 1) - values


def _axial_inputs(features: SliceFeatures) -> Tensor:
    positions = features.positions[..., None]
    below, above = _differences(positions, features)
    first, last = positions[:, :1], _at(positions, features, features.mask.shape[1])[:, -1:]
    relative = (positions - (first + last) / 2) / (10 * TYPICAL_SPACING)
    return torch.cat([below / TYPICAL_SPACING, above / TYPICAL_SPACING, relative], dim=-1)
