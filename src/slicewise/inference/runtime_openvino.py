"""OpenVINO on the CPU: the default engine (Apache-2.0, in the base install)."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openvino

from slicewise.inference.model_cache import ModelCache, cache_key
from slicewise.inference.runtime import EncodedSlices, Floats, fusion_inputs
from slicewise.package import ENCODER, FUSION, ModelPackage

PRECISION = "f32"
"""Gives the same probabilities on every CPU. bf16, where a CPU has it, takes a third less time, but what the shipped
model says before calibration moves by up to 0.1 (on random inputs)."""

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
    """

    name = "openvino"

    def __init__(self, package: ModelPackage, cache: ModelCache | None = None) -> None:
        core = openvino.Core()
        streams = min(_MOST_STREAMS, _usable_cores())
        self.engine = {"precision": PRECISION, "streams": str(streams)}
        self._encoder = _Network(_compiled(core, package.files[ENCODER], cache, NUM_STREAMS=str(streams)))
        self._fusion = _Network(_compiled(core, package.files[FUSION], cache))
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="slicewise-encoder")
        with _FIRST_USE:
            self._encoder.infer_nothing(_SLICES_A_STREAM)

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices (S, C, H, W)."""
        parts = [channels[start : start + _SLICES_A_STREAM] for start in range(0, len(channels), _SLICES_A_STREAM)]
        outputs = self._streams.map(lambda part: self._encoder.infer({"channels": part}), parts)
        return EncodedSlices(*map(np.concatenate, zip(*outputs, strict=True)))

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series and returns logits (S, L)."""
        return self._fusion.infer(fusion_inputs(slices, positions))[0]


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

    def infer_nothing(self, rows: int) -> None:
        """Runs on zeros, which makes the kernels for batches of so many rows; its inputs may be of any number only."""
        shapes = {node.get_any_name(): node.get_partial_shape() for node in self._compiled.inputs}
        self.infer(
            {
                name: np.zeros([rows if size.is_dynamic else size.get_length() for size in shape], dtype=np.float32)
                for name, shape in shapes.items()
            }
        )


def _compiled(core: Any, content: bytes, cache: ModelCache | None, **more_settings: str) -> Any:
    settings = {"INFERENCE_PRECISION_HINT": PRECISION, **more_settings}
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


def _usable_cores() -> int:
    # A container or `taskset` may give the process fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
