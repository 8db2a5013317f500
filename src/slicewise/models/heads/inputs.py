"""What a head reads of a slice: descriptor, differences, principal components or compact features, projected."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import differences
from slicewise.models.heads.base import FusionHead


class SliceProjection(nn.Module):
    """Standardises descriptors with fixed statistics, then projects them together with logits and summaries.

    Args:
        config: What is read of a descriptor, and dropout and noise on it in training.
        descriptor_size: D.
        others: Number of further inputs a slice (logits and summaries).
        size: Size of the output; the units of the head if it is left out.
    """

    mean: Tensor
    deviation: Tensor
    components: Tensor

    def __init__(self, config: FusionConfig, descriptor_size: int, others: int, size: int | None = None) -> None:
        super().__init__()
        self.inputs, self.noise, self.slice_dropout = config.inputs, config.noise, config.slice_dropout
        read = 0 if self.inputs == "compact" else descriptor_size
        # An empty buffer is in no ONNX file to load it back from.
        self.register_buffer("mean", torch.zeros(read), persistent=read > 0)
        self.register_buffer("deviation", torch.ones(read), persistent=read > 0)
        if self.inputs == "pca":
            self.register_buffer("components", torch.eye(read, min(config.components, read)))
            read = self.components.shape[1]
        elif self.inputs == "differences":
            read *= 3
        size = size or config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(read + others, size)
        self.norm = nn.LayerNorm(size)

    def fit(self, descriptors: Tensor) -> None:
        """Takes the statistics from the training descriptors (N, D), if it reads descriptors."""
        if self.inputs == "compact":
            return
        self.mean.copy_(descriptors.mean(dim=0))
        self.deviation.copy_(descriptors.std(dim=0, unbiased=False).clamp_min(1e-3))
        if self.inputs == "pca":
            standardised = ((descriptors - self.mean) / self.deviation).double()
            # Ascending; the last ones vary most.
            vectors = torch.linalg.eigh(standardised.T @ standardised).eigenvectors
            self.components.copy_(vectors[:, -self.components.shape[1] :].flip(1))

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns projected features (B, S, size)."""
        inputs = torch.cat([*self._of_descriptors(features), features.slice_logits, features.summaries], dim=-1)
        if self.training and self.slice_dropout > 0:
            inputs = inputs * (torch.rand(inputs.shape[:2], device=inputs.device) >= self.slice_dropout)[..., None]
        return nn.functional.gelu(self.norm(self.linear(inputs)))

    def _of_descriptors(self, features: SliceFeatures) -> list[Tensor]:
        if self.inputs == "compact":
            return []
        values = (features.descriptors - self.mean) / self.deviation
        if self.training and self.noise > 0:
            values = values + self.noise * torch.randn_like(values)
        if self.inputs == "pca":
            values = values @ self.components
        read = [values, *differences(values, features)] if self.inputs == "differences" else [values]
        return [self.dropout(part) for part in read]


class ProjectedHead(FusionHead):
    """Base of the heads that read projected features.

    Args:
        config: Sizes of the head.
        descriptor_size: D.
        summary_size: M.
        labels: L.
        size: Size of the projection; the units of the head if it is left out.
    """

    def __init__(
        self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int, size: int | None = None
    ) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        self.projection = SliceProjection(config, descriptor_size, labels + summary_size, size)

    def fit_scale(self, descriptors: Tensor, spacing: float) -> None:
        """Standardises by the training descriptors (N, D)."""
        del spacing  # its distances are in units of a typical one, see `axis`
        self.projection.fit(descriptors)
