from __future__ import annotations

import copy

import timm
import torch
from torch import nn

from slicewise.models.depthwise import Float32Conv2d, keep_depthwise_in_float32


def outputs_under_autocast(network: nn.Module, features: torch.Tensor) -> dict[str, torch.dtype]:
    """The type of what every convolution gives."""
    types: dict[str, torch.dtype] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output, name=name: types.__setitem__(name, output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(features)
    return types


def test_under_autocast_depthwise_convolutions_alone_stay_in_float32() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=0)
    keep_depthwise_in_float32(network)
    types = outputs_under_autocast(network, torch.rand(2, 3, 32, 32))
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            assert types[name] == (torch.float32 if layer.groups > 1 else torch.bfloat16), name
    assert set(types.values()) == {torch.float32, torch.bfloat16}


def test_parameters_and_results_without_autocast_stay_as_they_are() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    kept = copy.deepcopy(network)
    keep_depthwise_in_float32(kept)
    features = torch.rand(2, 3, 32, 32)
    assert list(kept.state_dict()) == list(network.state_dict())
    torch.testing.assert_close(kept(features), network(features), rtol=0, atol=0)


def test_under_autocast_the_gradient_is_that_of_float32() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    kept = nn.Sequential(copy.deepcopy(plain))
    keep_depthwise_in_float32(kept)
    assert isinstance(kept[0], Float32Conv2d)
    features = torch.randn(2, 8, 9, 9)
    plain(features).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        kept(features).square().sum().backward()
    assert plain.weight.grad is not None
    torch.testing.assert_close(kept[0].weight.grad, plain.weight.grad, rtol=1e-6, atol=1e-6)


def test_grouped_and_dense_convolutions_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 8, 3), nn.Conv2d(1, 8, 3))
    keep_depthwise_in_float32(network)
    assert all(type(layer) is nn.Conv2d for layer in network)
