from __future__ import annotations

import pytest
import timm
import torch

from slicewise.config import EncoderConfig
from slicewise.errors import ConfigError, UsageError
from slicewise.models.encoder import build_encoder, synchronise_batch_norm

# One of each family: residual, mobile with a widened head, ConvNeXt, a transformer of fixed input size.
FAMILIES = ("resnet18", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224")


@pytest.mark.parametrize("map_channels", [0, 8])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_any_timm_encoder_gives_descriptors_and_logits(name: str, map_channels: int) -> None:
    config = EncoderConfig(name=name, map_channels=map_channels)
    network = build_encoder(config, channels=5, size=64, labels=6).eval()
    outputs = network(torch.rand(2, 5, 64, 64))
    assert outputs.descriptors.shape == (2, network.descriptor_size)
    assert outputs.slice_logits.shape == (2, 6)
    assert outputs.summaries.shape == (2, network.summary_size) == (2, 12 if map_channels else 0)
    assert (None if outputs.maps is None else outputs.maps.shape) == ((2, 6, 8, 8) if map_channels else None)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_maps_leave_the_descriptors_as_they_are(name: str) -> None:
    plain, with_maps = (
        build_encoder(EncoderConfig(name=name, map_channels=width), channels=3, size=64, labels=6).eval()
        for width in (0, 8)
    )
    with_maps.encoder.load_state_dict(plain.encoder.state_dict())
    channels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(with_maps(channels).descriptors, plain(channels).descriptors)


def test_an_encoder_without_stages_is_refused_where_maps_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(timm.models.resnet.ResNet, "forward_intermediates")
    with pytest.raises(ConfigError, match=r"resnet18.*encoder\.map_channels=0"):
        build_encoder(EncoderConfig(name="resnet18"), channels=3, size=64, labels=6)


@torch.no_grad()
def test_pooling_by_the_maximum_finds_a_small_spot() -> None:
    features = []
    for pooling in ("avg", "max"):
        torch.manual_seed(0)
        config = EncoderConfig(name="resnet10t", pooling=pooling)
        network = build_encoder(config, channels=3, size=64, labels=6).eval()
        network.encoder.layer4 = torch.nn.Identity()  # what is pooled is what layer 3 saw
        spot = torch.zeros(1, 3, 64, 64)
        spot[..., 30:34, 30:34] = 1.0
        features.append((network.encoder(spot) - network.encoder(torch.zeros_like(spot))).abs().mean())
    assert features[1] > 2 * features[0]


# The first one fuses batch normalisation and activation in a layer of timm's own.
@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "test_resnet"])
@torch.no_grad()
def test_synchronised_batch_norm_changes_neither_weights_nor_outputs(name: str) -> None:
    torch.manual_seed(0)
    network = build_encoder(EncoderConfig(name=name, map_channels=8), channels=3, size=64, labels=6).train()
    network(torch.rand(8, 3, 64, 64))  # running statistics other than the initial ones
    channels = torch.rand(2, 3, 64, 64)
    expected, weights = network.eval()(channels), network.state_dict()
    synchronise_batch_norm(network)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 5
    assert all(isinstance(layer, torch.nn.SyncBatchNorm) and not layer.training for layer in norms)
    torch.testing.assert_close(network.state_dict(), weights, rtol=0, atol=0)
    assert list(network.state_dict()) == list(weights)
    for found, wanted in zip(network(channels), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_an_unknown_encoder_names_similar_ones() -> None:
    with pytest.raises(ConfigError, match=r"'resnet19'.*resnet18"):
        build_encoder(EncoderConfig(name="resnet19"), channels=3, size=64, labels=6)


def test_pretrained_weights_without_a_network_give_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("network is unreachable")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", unreachable)
    with pytest.raises(UsageError, match=r"resnet18.*unreachable.*encoder\.pretrained=false"):
        build_encoder(EncoderConfig(name="resnet18", pretrained=True), channels=3, size=64, labels=6)
