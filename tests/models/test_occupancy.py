from __future__ import annotations

import math

import pytest
import timm
import torch

from slicewise.errors import ConfigError
from slicewise.models.occupancy import EncoderStage, OccupancyPyramid, encoder_stages, summarise


def test_a_summary_is_peak_and_area() -> None:
    maps = torch.full((1, 2, 3, 3), -20.0)
    maps[0, 1, 1, 1:] = torch.tensor([2.0, 20.0])
    filled = 1 / (1 + math.exp(-2.0)) + 1
    expected = torch.tensor([[-10.0, 10.0, 0.0, math.log1p(filled)]])
    torch.testing.assert_close(summarise(maps), expected, atol=1e-5, rtol=0)


def test_stages_are_those_of_the_stride_and_coarser() -> None:
    stages = encoder_stages(timm.create_model("resnet18", pretrained=False), "resnet18", stride=8)
    assert stages == (EncoderStage(2, 8, 128), EncoderStage(3, 16, 256), EncoderStage(4, 32, 512))
    only = encoder_stages(timm.create_model("vit_tiny_patch16_224", pretrained=False), "vit_tiny_patch16_224", stride=8)
    assert only == (EncoderStage(11, 16, 192),)


def test_an_encoder_without_coarse_stages_is_refused() -> None:
    encoder = timm.create_model("resnet18", pretrained=False)
    with pytest.raises(ConfigError, match=r"no stage of 64 pixels or more a cell.*encoder\.map_channels=0"):
        encoder_stages(encoder, "resnet18", stride=64)


@pytest.mark.parametrize("finest", [8, 16])
def test_a_pyramid_sees_fine_and_coarse_stages(finest: int) -> None:
    torch.manual_seed(0)
    stages = [EncoderStage(0, finest, 5), EncoderStage(1, 2 * finest, 7)]
    pyramid = OccupancyPyramid(stages, width=4, labels=3).eval()
    features = [
        torch.randn(2, stage.channels, 64 // stage.stride, 64 // stage.stride, requires_grad=True) for stage in stages
    ]
    maps = pyramid(features, cells=8)
    assert maps.shape == (2, 3, 8, 8)
    maps.sum().backward()
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in features)


def test_before_training_findings_are_rare() -> None:
    pyramid = OccupancyPyramid([EncoderStage(0, 8, 5)], width=4, labels=3)
    maps = pyramid([torch.randn(2, 5, 8, 8)], cells=8)
    assert maps.sigmoid().mean() < 0.05
