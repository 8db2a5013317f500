"""OpenVINO on the CPU: the default engine (Apache-2.0, in the base install)."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

from slicewise.inference.runtime import EncodedSlices, Floats, fusion_inputs
from slicewise.package import ENCODER, FUSION, ModelPackage

# Full precision gives the same probabilities on every CPU.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoRuntime:
    """The networks of one package, compiled for this CPU."""

    name = "openvino"

    def __init__(self, package: ModelPackage) -> None:
        core = openvino.Core()
        self._encoder = core.compile_model(core.read_model(package.files[ENCODER]), "CPU", _SETTINGS)
        self._fusion = core.compile_model(core.read_model(package.files[FUSION]), "CPU", _SETTINGS)

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices (S, C, H, W)."""
        return EncodedSlices(*_run(self._encoder, {"channels": channels}))

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series and returns logits (S, L)."""
        return _run(self._fusion, fusion_inputs(slices, positions))[0]


def _run(network: Any, inputs: dict[str, Floats]) -> list[Floats]:
    # A request of its own for every call: calls may come from several threads.
    request = network.create_infer_request()
    wanted = {name for node in network.inputs for name in node.get_names()}
    # OpenVINO drops inputs that a network does not use, as the single-slice head does.
    outputs = request.infer({name: values for name, values in inputs.items() if name in wanted})
    return [np.array(outputs[node], dtype=np.float32) for node in network.outputs]
