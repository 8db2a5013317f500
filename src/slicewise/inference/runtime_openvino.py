"""OpenVINO on the CPU: the default engine (Apache-2.0, in the base install)."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import openvino

from slicewise.errors import UsageError
from slicewise.inference.model_cache import ModelCache, cache_key
from slicewise.inference.precision import DEFAULT_PRECISION, chosen_precision, probe_channels
from slicewise.inference.runtime import EncodedSlices, Floats, fusion_inputs
from slicewise.package import ENCODER, FUSION, ModelPackage, Probabilities, probabilities_from_logits

_CAPABILITIES = {"f32": "FP32", "bf16": "BF16"}
"""What OpenVINO calls the precisions that stage 1 may compute in."""

_MOST_STREAMS = 8
_SLICES_A_STREAM = 4
"""Slices that a stream reads at once. A stream computes without waiting for another one, as the threads that share a
single batch do after every layer; smaller batches gain nothing, larger ones leave cores idle at the end of a series."""

_FIRST_USE = threading.Lock()
"""OpenVINO's Python binding may hang for ever where two threads are the first to infer: one waits, with Python's lock,
for what the other one sets up, which waits for Python's lock. So the first inference is one thread's alone."""


class OpenVinoRuntime:
    """The networks of one package, compiled for this CPU.

    Args:
        package: The model package.
        cache: Where compiled networks are kept; None to compile them now and keep nothing.
        precision: Of stage 1, "f32" or "bf16".

    Raises:
        UsageError: If this processor does not compute in the precision.
    """

    name = "openvino"

    def __init__(
        self, package: ModelPackage, cache: ModelCache | None = None, precision: str = DEFAULT_PRECISION
    ) -> None:
        core = openvino.Core()
        if precision not in _precisions(core):
            raise UsageError(
                f"--precision {precision}: this processor does not compute in it. Expected one of: "
                f"{', '.join(_precisions(core))}"
            )
        streams = _stream_count()
        self.engine = {"precision": precision, "streams": str(streams)}
        self._encoder = _Network(_compiled(core, package.files[ENCODER], cache, precision, NUM_STREAMS=str(streams)))
        self._fusion = _Network(_compiled(core, package.files[FUSION], cache, "f32"))
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="slicewise-encoder")
        with _FIRST_USE:
            self._encoder.infer_nothing(_SLICES_A_STREAM)

    @property
    def slice_shape(self) -> tuple[int, ...]:
        """Channels, rows and columns that stage 1 reads."""
        return tuple(size.get_length() for size in list(self._encoder.input_shapes()["channels"])[1:])

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices (S, C, H, W)."""
        parts = [channels[start : start + _SLICES_A_STREAM] for start in range(0, len(channels), _SLICES_A_STREAM)]
        outputs = self._streams.map(lambda part: self._encoder.infer({"channels": part}), parts)
        return EncodedSlices(*map(np.concatenate, zip(*outputs, strict=True)))

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series and returns logits (S, L)."""
        return self._fusion.infer(fusion_inputs(slices, positions))[0]


def precision_here(package: ModelPackage, cache: ModelCache | None) -> str:
    """Returns the precision that `chosen_precision` finds for a package on this processor.

    Args:
        package: The model package.
        cache: Keeps the choice; without one every call would measure anew, and two calls could differ, so it is f32.
    """
    if cache is None:
        return DEFAULT_PRECISION
    core = openvino.Core()
    key = cache_key(("precision", package.digest, str(_stream_count()), *_circumstances(core)))
    kept = (cache.read(key) or b"").decode("ascii", "replace")
    if kept in _precisions(core):
        return kept
    runtimes = {precision: OpenVinoRuntime(package, cache, precision) for precision in _precisions(core)}
    channels, size, _ = runtimes[DEFAULT_PRECISION].slice_shape
    probe = probe_channels(channels, size)
    chosen = chosen_precision(
        {precision: partial(_probabilities, package, runtime, probe) for precision, runtime in runtimes.items()}
    )
    cache.write(key, chosen.encode("ascii"))
    return chosen


def _probabilities(package: ModelPackage, runtime: OpenVinoRuntime, channels: Floats) -> Probabilities:
    """Runs both stages on the slices of one series, 5 mm apart."""
    manifest = package.manifest
    logits = runtime.fuse(runtime.encode(channels), 5 * np.arange(len(channels), dtype=np.float32))
    return probabilities_from_logits(logits, manifest.calibration, manifest.task.any_index)


class _Network:
    """A compiled network with one request a thread: requests hold state, and making one takes memory anew."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        # OpenVINO drops inputs that a network does not use, as the single-slice head does.
        self._wanted = {name for node in compiled.inputs for name in node.get_names()}
        self._own = threading.local()

    def infer(self, inputs: dict[str, Floats]) -> list[Floats]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        wanted = {name: values for name, values in inputs.items() if name in self._wanted}
        outputs = self._own.request.infer(wanted, share_inputs=True)
        return [np.array(outputs[node], dtype=np.float32) for node in self._compiled.outputs]

    def input_shapes(self) -> dict[str, Any]:
        """Returns the shape of every input, as OpenVINO states them."""
        return {node.get_any_name(): node.get_partial_shape() for node in self._compiled.inputs}

    def infer_nothing(self, rows: int) -> None:
        """Runs on zeros, which makes the kernels for batches of so many rows; its inputs may be of any number only."""
        self.infer(
            {
                name: np.zeros([rows if size.is_dynamic else size.get_length() for size in shape], dtype=np.float32)
                for name, shape in self.input_shapes().items()
            }
        )


def _compiled(core: Any, content: bytes, cache: ModelCache | None, precision: str, **more_settings: str) -> Any:
    settings = {"INFERENCE_PRECISION_HINT": precision, **more_settings}
    if cache is None:
        return core.compile_model(core.read_model(content), "CPU", settings)
    key = cache_key((hashlib.sha256(content).hexdigest(), *_circumstances(core), repr(sorted(settings.items()))))
    kept = cache.read(key)
    if kept is not None:
        try:
            return core.import_model(kept, "CPU", settings)
        except RuntimeError:  # of another build of the same version, as a distribution's own
            pass
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    cache.write(key, compiled.export_model().getvalue())
    return compiled


def _circumstances(core: Any) -> tuple[str, ...]:
    """Returns what a compiled network depends on beside the network: the library, and what the CPU can do."""
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return openvino.__version__, processor, repr(sorted(abilities))


def _precisions(core: Any) -> list[str]:
    """Returns the precisions that this processor computes in, f32 first."""
    abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name, capability in _CAPABILITIES.items() if capability in abilities]


def _stream_count() -> int:
    return min(_MOST_STREAMS, _usable_cores())


def _usable_cores() -> int:
    # A container or `taskset` may give the process fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
