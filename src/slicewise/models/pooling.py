"""Generalised-mean pooling: a mean that leans towards the maximum, by an exponent that is learnt."""

from __future__ import annotations

import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor, nn

from slicewise.errors import ConfigError

GEM = "gem"
_SMALLEST = 1e-6
_INITIAL_EXPONENT = 3.0


class GeneralisedMean(nn.Module):
    """GeM pooling (Radenovic et al. 2019, equation 3): the mean of powers of the features that are above 0.

    Args:
        flatten: Whether the result loses its spatial axes.
    """

    def __init__(self, *, flatten: bool) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor([_INITIAL_EXPONENT]))
        self.flatten = flatten

    def forward(self, features: Tensor) -> Tensor:
        """Returns pooled features, shape (N, C) or (N, C, 1, 1), from features (N, C, H, W)."""
        # In full precision and relative to the largest feature, which cancels out: plain powers overflow, or vanish and
        # leave the exponent without a gradient.
        positive = features.float().clamp_min(_SMALLEST)
        largest = positive.detach().amax(dim=(2, 3), keepdim=True)
        exponent = self.exponent.clamp_min(1.0)  # below a mean would come a minimum
        mean = ((positive / largest) ** exponent).mean(dim=(2, 3), keepdim=True)
        pooled = (largest * mean ** (1 / exponent)).to(features.dtype)
        return pooled.flatten(1) if self.flatten else pooled


def use_generalised_mean(encoder: nn.Module, name: str) -> None:
    """Puts GeM in the place of the pooling layer of a timm encoder.

    Args:
        encoder: The encoder; it is changed.
        name: Its name, for messages.

    Raises:
        ConfigError: If it has not one pooling layer over rows and columns.
    """
    found = [
        path
        for path, layer in encoder.named_modules()
        # Where features come last, as in Swin, timm puts a layer of its own in the place of torch's.
        if isinstance(layer, SelectAdaptivePool2d) and isinstance(layer.pool, nn.AdaptiveAvgPool2d)
    ]
    if len(found) != 1:
        raise ConfigError(
            f"encoder.pooling: timm's '{name}' has {len(found)} pooling layers over rows and columns. Pooling 'gem' "
            "needs one. Choose another pooling or another encoder"
        )
    layer = encoder.get_submodule(found[0])
    assert isinstance(layer, SelectAdaptivePool2d)
    encoder.set_submodule(found[0], GeneralisedMean(flatten=not isinstance(layer.flatten, nn.Identity)))
