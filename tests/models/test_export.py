from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace
from onnx import TensorProto

from slicewise.config import EncoderConfig, FusionConfig
from slicewise.errors import PackageError
from slicewise.inference.runtime import RUNTIMES, EncodedSlices, load_runtime
from slicewise.models.encoder import DescriptorNetwork, build_encoder
from slicewise.models.export import (
    export_encoder,
    export_fusion,
    is_stored_in_half,
    load_networks,
    round_to_stored_precision,
)
from slicewise.models.features import SliceFeatures
from slicewise.models.fusion import HEADS, FusionHead, build_head
from slicewise.package import ENCODER, FUSION, ModelPackage

SIZE, CHANNELS = 40, 3  # the stages of 16 and 32 pixels do not divide 40
ENCODER_NAME = "mobilenetv3_small_050"
MAP_CHANNELS = 8
OUTPUTS = ["descriptors", "slice_logits", "summaries", "maps"]
ONE = FusionConfig(inputs="descriptor", components=7, hidden_size=16, members=1)
CONFIGS = {
    **{name: replace(ONE, name=name) for name in sorted(HEADS) if HEADS[name].is_exported},
    **{inputs: replace(ONE, name="window", inputs=inputs) for inputs in ("compact", "pca", "differences")},
    "members and chain": replace(ONE, name="transformer", inputs="compact", members=2, chain=True),
}
EVERY_HEAD = pytest.mark.parametrize("head_name", CONFIGS)


def make_networks(head_name: str, labels: int = 6) -> tuple[DescriptorNetwork, FusionHead]:
    torch.manual_seed(0)
    network = build_encoder(
        EncoderConfig(name=ENCODER_NAME, map_channels=MAP_CHANNELS), channels=CHANNELS, size=SIZE, labels=labels
    )
    network.train()
    for _ in range(2):
        network(torch.rand(8, CHANNELS, SIZE, SIZE))  # running statistics other than the initial ones
    head = build_head(
        CONFIGS[head_name],
        descriptor_size=network.descriptor_size,
        summary_size=network.summary_size,
        labels=labels,
    )
    for values in head.parameters():
        torch.nn.init.normal_(values, std=0.1)
    head.fit_scale(torch.rand(20, network.descriptor_size), 5.0)
    for module in (network, head):
        round_to_stored_precision(module)
    return network.eval(), head.eval()


@pytest.fixture(scope="module")
def encoder_onnx() -> bytes:
    return export_encoder(make_networks("none")[0], channels=CHANNELS, size=SIZE)


def make_package(encoder: bytes, head_name: str, make_manifest: object) -> ModelPackage:
    assert callable(make_manifest)
    _, head = make_networks(head_name)
    manifest = make_manifest(encoder=ENCODER_NAME, map_channels=MAP_CHANNELS, head=head)
    return ModelPackage(manifest, "0" * 64, {ENCODER: encoder, FUSION: exported_head(head_name)})


@functools.cache
def exported_head(name: str) -> bytes:
    return export_fusion(make_networks(name)[1])


@EVERY_HEAD
def test_every_runtime_agrees_with_the_trained_networks(
    head_name: str, encoder_onnx: bytes, make_manifest: object, capfd: pytest.CaptureFixture[str]
) -> None:
    network, head = make_networks(head_name)
    package = make_package(encoder_onnx, head_name, make_manifest)
    generator = np.random.default_rng(0)
    channels = generator.random((7, CHANNELS, SIZE, SIZE), dtype=np.float32)
    positions = np.cumsum(generator.uniform(3, 7, 7)).astype(np.float32)
    with torch.no_grad():
        outputs = network(torch.from_numpy(channels))
        assert outputs.maps is not None
        expected = EncodedSlices(*(item.numpy() for item in outputs))
        features = SliceFeatures.of_one_series(
            outputs.descriptors, outputs.slice_logits, outputs.summaries, torch.from_numpy(positions)
        )
        fused = head(features)[0].numpy()
    for name in RUNTIMES:
        runtime = load_runtime(name, package)
        encoded = runtime.encode(channels)
        np.testing.assert_allclose(encoded.descriptors, expected.descriptors, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(encoded.slice_logits, expected.slice_logits, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(encoded.summaries, expected.summaries, rtol=1e-3, atol=1e-3, err_msg=name)
        assert encoded.maps is not None
        np.testing.assert_allclose(encoded.maps, outputs.maps.numpy(), rtol=1e-3, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(runtime.fuse(expected, positions), fused, rtol=1e-3, atol=1e-4, err_msg=name)
        for length in (1, 2):
            part = expected.take(np.arange(length))
            reference = load_runtime("torch", package).fuse(part, positions[:length])
            logits = runtime.fuse(part, positions[:length])
            np.testing.assert_allclose(logits, reference, rtol=1e-3, atol=1e-4, err_msg=f"{name}, {length} slices")
    assert capfd.readouterr() == ("", "")  # no engine talks to the terminal


@EVERY_HEAD
def test_a_round_trip_gives_the_same_weights(head_name: str, encoder_onnx: bytes, make_manifest: object) -> None:
    network, head = make_networks(head_name)
    loaded = load_networks(make_package(encoder_onnx, head_name, make_manifest))
    for original, copy in zip((network, head), loaded, strict=True):
        weights = copy.state_dict()
        for name, values in original.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(weights[name], values, rtol=0, atol=0)


def test_maps_are_exported_last(encoder_onnx: bytes) -> None:
    assert [item.name for item in onnx.load_from_string(encoder_onnx).graph.output] == OUTPUTS


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_package_from_before_maps_were_exported_still_works(
    runtime: str, encoder_onnx: bytes, make_manifest: object
) -> None:
    model = onnx.load_from_string(encoder_onnx)
    (maps,) = (item for item in model.graph.output if item.name == "maps")
    model.graph.output.remove(maps)
    channels = np.random.default_rng(0).random((2, CHANNELS, SIZE, SIZE), dtype=np.float32)
    new, old = (
        load_runtime(runtime, make_package(content, "none", make_manifest)).encode(channels)
        for content in (encoder_onnx, model.SerializeToString())
    )
    assert old.maps is None
    assert old.take(np.array([1])).maps is None
    np.testing.assert_allclose(old.slice_logits, new.slice_logits, rtol=1e-4, atol=1e-5)
    assert new.maps is not None
    np.testing.assert_array_equal(new.take(np.array([1])).maps, new.maps[1:])


def test_each_weight_is_stored_once_under_its_own_name(encoder_onnx: bytes) -> None:
    network, _ = make_networks("none")
    stored = {item.name: item for item in onnx.load_from_string(encoder_onnx).graph.initializer}
    expected = {
        name: values for name, values in network.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    assert set(expected) <= set(stored)
    for name, values in expected.items():
        kind = TensorProto.FLOAT16 if is_stored_in_half(values) else TensorProto.FLOAT
        assert stored[name].data_type == kind, name
    # What is stored beyond the weights are shapes and axes: a few numbers.
    others = sum(int(np.prod(item.dims)) for name, item in stored.items() if name not in expected)
    assert others < 200


def test_nothing_of_the_training_machine_is_stored(encoder_onnx: bytes) -> None:
    assert b".py" not in encoder_onnx
    assert b"site-packages" not in encoder_onnx


def test_a_diverged_network_is_not_packed() -> None:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, 1e6)
    with pytest.raises(PackageError, match="weight has values beyond half precision"):
        round_to_stored_precision(layer)


def test_weights_of_another_architecture_are_refused(encoder_onnx: bytes, make_manifest: object) -> None:
    assert callable(make_manifest)
    package = make_package(encoder_onnx, "none", lambda **options: make_manifest(**{**options, "encoder": "resnet10t"}))
    with pytest.raises(PackageError, match=r"encoder\.onnx: weight .* is missing"):
        load_networks(package)


def test_every_recurrent_head_of_a_process_is_exported_for_any_number_of_slices() -> None:
    for size in (4, 6):
        head = build_head(replace(ONE, name="bigru", hidden_size=size), descriptor_size=5, summary_size=0, labels=2)
        graph = onnx.load_from_string(export_fusion(head)).graph
        assert all(item.type.tensor_type.shape.dim[0].dim_param for item in (*graph.input, *graph.output))
