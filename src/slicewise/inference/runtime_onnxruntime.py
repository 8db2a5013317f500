"""ONNX Runtime, on a GPU where its build has one (MIT, extra `onnxruntime`)."""

from __future__ import annotations

from typing import Any

from slicewise.errors import MissingExtraError
from slicewise.inference.runtime import EncodedSlices, Floats, fusion_inputs
from slicewise.package import ENCODER, FUSION, ModelPackage

_ERRORS = 3
"""Severity from which ONNX Runtime writes to stderr: it warns there about graphs that it does not simplify."""


class OnnxRuntime:
    """The networks of one package in ONNX Runtime.

    Raises:
        MissingExtraError: If ONNX Runtime is not installed.
    """

    name = "onnxruntime"

    def __init__(self, package: ModelPackage) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("The runtime 'onnxruntime'", "onnxruntime") from error
        providers = onnxruntime.get_available_providers()
        wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in providers]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        self._encoder = onnxruntime.InferenceSession(package.files[ENCODER], options, providers=wanted)
        self._fusion = onnxruntime.InferenceSession(package.files[FUSION], options, providers=wanted)

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices (S, C, H, W)."""
        return EncodedSlices(*_run(self._encoder, {"channels": channels}))

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series and returns logits (S, L)."""
        return _run(self._fusion, fusion_inputs(slices, positions))[0]


def _run(session: Any, inputs: dict[str, Floats]) -> list[Floats]:
    wanted = {node.name for node in session.get_inputs()}
    outputs: list[Floats] = session.run(None, {name: values for name, values in inputs.items() if name in wanted})
    return outputs
