"""The seam between a model package and the engine that runs its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slicewise.errors import UsageError
from slicewise.inference.model_cache import ModelCache
from slicewise.inference.precision import DEFAULT_PRECISION, PRECISIONS
from slicewise.package import ModelPackage

Floats = npt.NDArray[np.float32]

RUNTIMES = ("openvino", "onnxruntime", "torch")
DEFAULT_RUNTIME = "openvino"


@dataclass(frozen=True, eq=False)
class EncodedSlices:
    """What stage 1 says about slices.

    Attributes:
        descriptors: Shape (S, D).
        slice_logits: Shape (S, L).
        summaries: Shape (S, M).
        maps: Logits of the occupancy maps, shape (S, L, C, C); None where the package gives none.
    """

    descriptors: Floats
    slice_logits: Floats
    summaries: Floats
    maps: Floats | None = None

    def take(self, index: npt.NDArray[np.int64]) -> EncodedSlices:
        """Returns the slices at the given indices."""
        maps = None if self.maps is None else self.maps[index]
        return EncodedSlices(self.descriptors[index], self.slice_logits[index], self.summaries[index], maps)


class Runtime(Protocol):
    """The two networks of one package on one engine. Calls may come from several threads."""

    name: str

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices.

        Args:
            channels: Shape (S, C, H, W), in [0, 1].
        """
        ...

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series.

        Args:
            slices: What stage 1 says about every slice of the series.
            positions: Position of every slice on the axial unit of the task, ascending, shape (S,).

        Returns:
            Uncalibrated logits, shape (S, L).
        """
        ...


def fusion_inputs(slices: EncodedSlices, positions: Floats) -> dict[str, Floats]:
    """Returns the inputs of the fusion graph by the names that a package gives them."""
    return {
        "descriptors": slices.descriptors,
        "slice_logits": slices.slice_logits,
        "summaries": slices.summaries,
        "positions": positions,
    }


def engine_facts(runtime: Runtime) -> dict[str, str]:
    """Returns how a runtime computes, for a profile: its name, and what else it tells, as its precision."""
    return {"runtime": runtime.name, "precision": DEFAULT_PRECISION, **getattr(runtime, "engine", {})}


def load_runtime(
    name: str, package: ModelPackage, cache: ModelCache | None = None, precision: str = DEFAULT_PRECISION
) -> Runtime:
    """Compiles the networks of a package on an engine.

    Args:
        name: "openvino" (CPU), "onnxruntime" or "torch" (the reference).
        package: The model package.
        cache: Where OpenVINO keeps compiled networks; the others compile quickly and keep none.
        precision: Of stage 1: "f32", "bf16" (OpenVINO, where the processor has it), or "auto": what OpenVINO finds by
            measurement at the first use and keeps in the cache; f32 without a cache and on the other engines.

    Raises:
        UsageError: If there is no such engine or precision.
        MissingExtraError: If its library is not installed.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"There is no precision '{precision}'. Expected one of: {', '.join(PRECISIONS)}")
    if name == "openvino":
        from slicewise.inference.runtime_openvino import OpenVinoRuntime, precision_here

        return OpenVinoRuntime(package, cache, precision_here(package, cache) if precision == "auto" else precision)
    if precision not in {"auto", DEFAULT_PRECISION}:
        raise UsageError(f"--precision {precision}: the runtime '{name}' computes in {DEFAULT_PRECISION} alone")
    if name == "onnxruntime":
        from slicewise.inference.runtime_onnxruntime import OnnxRuntime

        return OnnxRuntime(package)
    if name == "torch":
        from slicewise.inference.runtime_torch import TorchRuntime

        return TorchRuntime(package)
    raise UsageError(f"There is no runtime '{name}'. Expected one of: {', '.join(RUNTIMES)}")
