"""Heads after those of the winners of the RSNA 2019 challenge, as their write-ups describe them.

Both give logits of their own, without a residual path from the slice classifier. Sizes follow `fusion.hidden_size`.
They are there to be compared with: torch exports them for one number of slices alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures
from slicewise.models.heads.axis import differences, turned
from slicewise.models.heads.base import register_head
from slicewise.models.heads.convolution import AxialConvolution
from slicewise.models.heads.inputs import ProjectedHead

WIDTH = 4
"""Units of the wide network in units of `fusion.hidden_size`."""


class TwoWay(nn.Module):
    """A recurrent network in either direction that reads no padding before a slice.

    Args:
        kind: `nn.GRU` or `nn.LSTM`.
        inputs: Number of input features.
        size: Units of each direction.
    """

    def __init__(self, kind: type[nn.GRU | nn.LSTM], inputs: int, size: int) -> None:
        super().__init__()
        self.onward = kind(inputs, size, batch_first=True)
        self.backward = kind(inputs, size, batch_first=True)

    def forward(self, values: Tensor, features: SliceFeatures) -> Tensor:
        """Returns features (B, S, 2 size) from features (B, S, inputs)."""
        onward, _ = self.onward(values)
        backward, _ = self.backward(turned(values, features))
        return torch.cat([onward, turned(backward, features)], dim=-1)


@register_head("chained")
class Chained(ProjectedHead):
    """Two sequence models in a chain, as in the first place: convolution and GRU each.

    The second one also reads the logits of the first and those of the slice classifier.
    """

    is_exported = False

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)
        size = config.hidden_size
        self.convolutions = nn.ModuleList(AxialConvolution(size) for _ in range(2))
        self.recurrent = nn.ModuleList(TwoWay(nn.GRU, size, size) for _ in range(2))
        self.between = nn.Linear(2 * size + 2 * labels, size)
        self.outputs = nn.ModuleList(nn.Linear(2 * size, labels) for _ in range(2))

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L), the mean of both models."""
        first = self.recurrent[0](self.convolutions[0](self.projection(features), features.mask), features)
        logits = self.outputs[0](first)
        between = nn.functional.gelu(self.between(torch.cat([first, logits, features.slice_logits], dim=-1)))
        second = self.recurrent[1](self.convolutions[1](between, features.mask), features)
        mean: Tensor = (logits + self.outputs[1](second)) / 2
        return mean


@register_head("wide-lstm")
class WideLSTM(ProjectedHead):
    """Two wide LSTM layers in either direction, as in the second place, over the features of a slice and differences.

    The logits come from both layers and the inputs together.
    """

    is_exported = False

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        size = WIDTH * config.hidden_size
        super().__init__(config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels, size=size)
        self.first = TwoWay(nn.LSTM, 3 * size, size)
        self.second = TwoWay(nn.LSTM, 2 * size, size)
        self.output = nn.Linear(5 * size, labels)

    def forward(self, features: SliceFeatures) -> Tensor:
        """Returns logits (B, S, L)."""
        projected = self.projection(features)
        first = self.first(torch.cat([projected, *differences(projected, features)], dim=-1), features)
        second = self.second(first, features)
        logits: Tensor = self.output(torch.cat([first, second, projected], dim=-1))
        return logits
