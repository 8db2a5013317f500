from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d

from slicewise.config import EncoderConfig
from slicewise.errors import ConfigError
from slicewise.inference.runtime import Floats
from slicewise.models.encoder import build_encoder
from slicewise.models.export import export_encoder, round_to_stored_precision
from slicewise.models.pooling import GeneralisedMean, use_generalised_mean

# Different ways to pool, in front of and behind further layers.
POOLED = ("resnet18", "mobilenetv3_small_100", "test_resnet", "test_efficientnet", "test_convnext")


def pool(features: Floats, exponent: float) -> Floats:
    layer = GeneralisedMean(flatten=True)
    with torch.no_grad():
        layer.exponent.fill_(exponent)
        pooled: Floats = layer(torch.from_numpy(features)).numpy()
    return pooled


@pytest.mark.parametrize("exponent", [1.0, 2.5, 3.0])
def test_it_is_the_root_of_the_mean_of_powers(exponent: float) -> None:
    features = np.random.default_rng(0).normal(0.5, 1.0, (2, 4, 5, 3)).astype(np.float32)
    cells = np.maximum(features.astype(np.float64), 1e-6).reshape(2, 4, 15)
    expected = (cells**exponent).mean(axis=2) ** (1 / exponent)
    np.testing.assert_allclose(pool(features, exponent), expected, rtol=1e-5)


def test_it_starts_between_mean_and_maximum() -> None:
    features = torch.rand(2, 4, 6, 6)
    pooled = GeneralisedMean(flatten=True)(features)
    assert (pooled > features.mean(dim=(2, 3))).all()
    assert (pooled < features.amax(dim=(2, 3))).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_large_exponent_takes_the_maximum(scale: float) -> None:
    features = (scale * np.random.default_rng(0).uniform(0.1, 1.0, (2, 4, 5, 5))).astype(np.float32)
    np.testing.assert_allclose(pool(features, 1000.0), features.max(axis=(2, 3)), rtol=0.005)


@pytest.mark.parametrize("exponent", [3.0, 8.0, 30.0])
def test_gradients_are_finite_where_a_feature_is_nowhere(exponent: float) -> None:
    layer = GeneralisedMean(flatten=True)
    torch.nn.init.constant_(layer.exponent, exponent)
    features = torch.rand(1, 2, 4, 4) + 0.5
    features[:, 0] = 0.0
    features.requires_grad_()
    layer(features).sum().backward()
    assert features.grad is not None
    assert layer.exponent.grad is not None
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(layer.exponent.grad).all()
    assert (features.grad[:, 1] > 0).all()
    assert (layer.exponent.grad > 0).all()  # a larger exponent pools to more


def test_gradients_are_those_of_the_formula() -> None:
    layer = GeneralisedMean(flatten=True).double()
    features = torch.rand(1, 2, 2, 2, dtype=torch.float64) + 0.5

    def plain(features: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
        return (features**exponent).mean(dim=(2, 3)) ** (1 / exponent)

    found = torch.autograd.grad(layer(features.requires_grad_()).sum(), [features, layer.exponent])
    expected = torch.autograd.grad(plain(features, layer.exponent).sum(), [features, layer.exponent])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_keeps_the_precision_of_the_features() -> None:
    features = torch.full((1, 2, 4, 4), 100.0, dtype=torch.float16)
    pooled = GeneralisedMean(flatten=False)(features)
    assert pooled.shape == (1, 2, 1, 1)
    assert pooled.dtype == torch.float16
    assert pooled.flatten().tolist() == pytest.approx([100.0, 100.0], rel=1e-3)


@pytest.mark.parametrize("map_channels", [0, 8])
@pytest.mark.parametrize("name", POOLED)
def test_it_takes_the_place_of_the_pooling_of_an_encoder(name: str, map_channels: int) -> None:
    network = build_encoder(EncoderConfig(name, "gem", map_channels=map_channels), channels=3, size=64, labels=6).eval()
    descriptors = network(torch.rand(2, 3, 64, 64)).descriptors
    assert descriptors.shape == (2, network.descriptor_size)
    (exponent,) = (values for key, values in network.named_parameters() if key.endswith("exponent"))
    # At random weights: a layer normalisation after the pooling makes the plain sum a constant.
    (descriptors * torch.randn_like(descriptors)).sum().backward()
    assert exponent.grad is not None
    assert exponent.grad.abs() > 0


@torch.no_grad()
def test_what_an_encoder_pools_is_what_its_stages_say() -> None:
    network = build_encoder(EncoderConfig("test_resnet", "gem", map_channels=0), channels=3, size=64, labels=6).eval()
    channels = torch.rand(2, 3, 64, 64)
    features = network.encoder.forward_features((channels - 0.449) / 0.226).numpy().astype(np.float64)
    expected = np.cbrt((np.maximum(features, 1e-6) ** 3).mean(axis=(2, 3)))
    np.testing.assert_allclose(network(channels).descriptors, expected, rtol=1e-4, atol=1e-6)


def test_an_encoder_that_does_not_pool_over_rows_and_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.pooling: timm's 'test_vit' has 0 pooling layers"):
        build_encoder(EncoderConfig("test_vit", "gem", map_channels=0), channels=3, size=64, labels=6)


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        ([SelectAdaptivePool2d(pool_type="avg", input_fmt="NHWC")], 0),  # as Swin pools
        ([SelectAdaptivePool2d(pool_type="")], 0),
        ([SelectAdaptivePool2d(pool_type="avg"), SelectAdaptivePool2d(pool_type="avg")], 2),
    ],
)
def test_which_layer_to_replace_must_be_clear(layers: list[torch.nn.Module], count: int) -> None:
    with pytest.raises(ConfigError, match=f"timm's 'some' has {count} pooling layers"):
        use_generalised_mean(torch.nn.Sequential(*layers), "some")


def test_an_encoder_with_gem_is_exported_as_it_is() -> None:
    import onnxruntime

    torch.manual_seed(0)
    network = build_encoder(EncoderConfig("test_convnext", "gem"), channels=3, size=32, labels=2).eval()
    round_to_stored_precision(network)
    channels = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = network(channels)
    content = export_encoder(network, channels=3, size=32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for found, wanted in zip(session.run(None, {"channels": channels.numpy()}), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
