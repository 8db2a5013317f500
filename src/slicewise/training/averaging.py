"""The exponential moving average of the weights of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Weights = list[Tensor] | tuple[Tensor, ...]


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Returns a copy of a network that `update_parameters` moves towards it.

    After n updates the copy keeps min(decay, (1 + n) / (10 + n)) of itself: the first weights are soon forgotten
    (Tarvainen and Valpola 2017, section 2). Running statistics are averaged like weights.

    Args:
        network: The network; it is not changed.
        decay: Share that the copy keeps of itself in the end.
    """
    return AveragedModel(network, multi_avg_fn=_update(decay), use_buffers=True)


def _update(decay: float) -> Callable[[Weights, Weights, Tensor | int], None]:
    @torch.no_grad()
    def update(averages: Weights, values: Weights, updates: Tensor | int) -> None:
        # As a tensor: a number would have to wait for the GPU.
        count = torch.as_tensor(updates, dtype=torch.float32)
        share = 1 - ((1 + count) / (10 + count)).clamp_max(decay)
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.device), share.to(average))
            else:
                average.copy_(value)

    return update
