"""Depthwise convolutions that stay in float32 where bfloat16 is slower.

oneDNN has fast bfloat16 kernels for dense convolutions on the CPU, but its backward pass of depthwise ones is several
times slower in bfloat16 than in float32 (`benchmarks/cpu_step.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32 on the CPU; elsewhere, and without autocast, a plain one."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Returns features (N, C, H, W) from features."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Makes every plain depthwise convolution of a network a `Float32Conv2d`, in place: parameters stay as they are."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and 1 < layer.groups == layer.in_channels:
            layer.__class__ = Float32Conv2d
