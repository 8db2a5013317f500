"""Trained networks -> ONNX, and back.

Matrices and kernels are stored in half precision, which halves a package. Training rounds the weights of stage 1 the
same way (`round_to_stored_precision`) before stage 2 reads a single descriptor, so that what ships is what was trained.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from slicewise.errors import PackageError
from slicewise.imaging.channels import channel_count
from slicewise.models.encoder import DescriptorNetwork, build_encoder
from slicewise.models.features import SliceFeatures
from slicewise.models.fusion import FusionHead, build_head
from slicewise.package import ENCODER, FUSION, Manifest, ModelPackage

OPSET = 18
LARGEST_BATCH = 1 << 16


class FusionGraph(nn.Module):
    """A head as it is exported: one unpadded series, without a batch axis.

    Args:
        head: The trained head.
    """

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, descriptors: Tensor, slice_logits: Tensor, summaries: Tensor, positions: Tensor) -> Tensor:
        """Returns logits (S, L) from descriptors (S, D), slice logits (S, L), summaries (S, M), positions (S,)."""
        logits: Tensor = self.head(SliceFeatures.of_one_series(descriptors, slice_logits, summaries, positions))
        return logits[0]


def is_stored_in_half(values: Tensor) -> bool:
    """Tells whether a weight is stored in half precision: matrices and kernels are, vectors are not."""
    return values.ndim >= 2 and values.is_floating_point()


@torch.no_grad()
def round_to_stored_precision(network: nn.Module) -> None:
    """Rounds the weights of a network to what a package stores, in place.

    Raises:
        PackageError: If a weight is too large for half precision.
    """
    for name, values in network.state_dict().items():
        if is_stored_in_half(values):
            rounded = values.half()
            if not torch.isfinite(rounded).all():
                raise PackageError(f"weight {name} has values beyond half precision; training has diverged")
            values.copy_(rounded)


def export_encoder(network: DescriptorNetwork, *, channels: int, size: int) -> bytes:
    """Returns stage 1 as ONNX: `channels` (N, C, H, W) -> `descriptors`, `slice_logits`, `summaries`.

    A network that makes occupancy maps, from which its summaries come, also gives their logits, as `maps`.
    """
    maps = () if network.pyramid is None else ("maps",)
    return _export(
        network,
        (torch.zeros(2, channels, size, size),),
        inputs=("channels",),
        outputs=("descriptors", "slice_logits", "summaries", *maps),
    )


def export_fusion(head: FusionHead) -> bytes:
    """Returns stage 2 as ONNX: `descriptors`, `slice_logits`, `summaries`, `positions` of a series -> `logits`."""
    slices = 3
    arguments = (
        torch.zeros(slices, head.descriptor_size),
        torch.zeros(slices, head.labels),
        torch.zeros(slices, head.summary_size),
        torch.arange(slices, dtype=torch.float32),
    )
    return _export(
        FusionGraph(head),
        arguments,
        inputs=("descriptors", "slice_logits", "summaries", "positions"),
        outputs=("logits",),
    )


def load_networks(package: ModelPackage) -> tuple[DescriptorNetwork, FusionHead]:
    """Loads both networks of a package back into torch, in evaluation mode.

    Raises:
        PackageError: If the weights do not fit the architecture that the manifest names.
    """
    manifest = package.manifest
    encoder = empty_encoder(manifest)
    head = build_head(
        manifest.fusion.config(),
        descriptor_size=manifest.descriptor_size,
        summary_size=manifest.summary_size,
        labels=len(manifest.task.labels),
    )
    _load(encoder, package.files[ENCODER], ENCODER)
    _load(FusionGraph(head), package.files[FUSION], FUSION)
    return encoder.eval(), head.eval()


def empty_encoder(manifest: Manifest) -> DescriptorNetwork:
    """Builds the untrained network of stage 1 that a manifest names."""
    return build_encoder(
        manifest.encoder.config(),
        channels=channel_count(manifest.task, manifest.encoder.neighbours),
        size=manifest.task.preprocessing.size,
        labels=len(manifest.task.labels),
    )


def _export(
    network: nn.Module, arguments: tuple[Tensor, ...], *, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> bytes:
    network = network.cpu().eval()
    model = _traced(network, arguments, inputs, outputs)
    if not _takes_any_number_of_rows(model):
        # The first export of a process has torch import decompositions that unroll recurrent layers in every later one.
        try:
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
                model = process.submit(_traced, network, arguments, inputs, outputs).result()
        except BrokenProcessPool as error:
            raise PackageError(
                "the network could not be exported in a process of its own. In a script, call what trains under "
                "`if __name__ == '__main__':`, then go on with --resume"
            ) from error
    if not _takes_any_number_of_rows(model):
        raise PackageError(
            "the network can only be exported for one number of slices. Choose another fusion.name or encoder.name"
        )
    _drop_traces(model)
    _store_in_half(model)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _traced(
    network: nn.Module, arguments: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    rows = torch.export.Dim("rows", min=1, max=LARGEST_BATCH)
    with _quiet():
        program = torch.onnx.export(
            network,
            arguments,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=tuple({0: rows} for _ in arguments),
            # The optimizer would fold batch normalisation and rename weights; the runtimes do the same at load time.
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise PackageError("torch.onnx.export returned no program")
    model: onnx.ModelProto = program.model_proto
    return model


def _takes_any_number_of_rows(model: onnx.ModelProto) -> bool:
    return all(item.type.tensor_type.shape.dim[0].dim_param for item in (*model.graph.input, *model.graph.output))


def _drop_traces(model: onnx.ModelProto) -> None:
    # The exporter notes the source line of every node, with paths of the machine that trained.
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.ClearField("doc_string")
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    del model.graph.value_info[:]


def _store_in_half(model: onnx.ModelProto) -> None:
    casts = []
    for initializer in model.graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or len(initializer.dims) < 2:
            continue
        name, values = initializer.name, numpy_helper.to_array(initializer)
        initializer.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
        widened = f"{name}.float32"
        for node in model.graph.node:
            node.input[:] = [widened if item == name else item for item in node.input]
        casts.append(helper.make_node("Cast", [name], [widened], to=TensorProto.FLOAT, name=f"{name}.widen"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _load(network: nn.Module, content: bytes, file: str) -> None:
    model = onnx.load_from_string(content)
    weights: dict[str, Any] = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).astype(np.float32).copy())
        for item in model.graph.initializer
    }
    expected = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    missing = sorted(expected - weights.keys())
    if missing:
        raise PackageError(f"{file}: weight {missing[0]} is missing")
    try:
        network.load_state_dict({name: weights[name] for name in expected}, strict=False)
    except RuntimeError as error:
        raise PackageError(f"{file}: weights do not fit the architecture of the manifest: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    # torch.onnx warns about its own internals and logs its steps.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
