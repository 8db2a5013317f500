"""torch: the reference that the other engines are held to (extra `train`)."""

from __future__ import annotations

from slicewise.errors import MissingExtraError
from slicewise.inference.runtime import EncodedSlices, Floats
from slicewise.package import ModelPackage


class TorchRuntime:
    """The networks of one package, loaded back into torch, on the CPU.

    Raises:
        MissingExtraError: If torch is not installed.
    """

    name = "torch"

    def __init__(self, package: ModelPackage) -> None:
        try:
            from slicewise.models.export import FusionGraph, load_networks
        except ImportError as error:
            raise MissingExtraError("The runtime 'torch'", "train") from error
        encoder, head = load_networks(package)
        self._encoder = encoder
        self._fusion = FusionGraph(head).eval()

    def encode(self, channels: Floats) -> EncodedSlices:
        """Runs stage 1 on slices (S, C, H, W)."""
        import torch

        with torch.inference_mode():
            outputs = self._encoder(torch.from_numpy(channels))
        maps = None if outputs.maps is None else outputs.maps.numpy()
        return EncodedSlices(outputs.descriptors.numpy(), outputs.slice_logits.numpy(), outputs.summaries.numpy(), maps)

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        """Runs stage 2 on one series and returns logits (S, L)."""
        import torch

        arrays = (slices.descriptors, slices.slice_logits, slices.summaries, positions)
        with torch.inference_mode():
            logits: Floats = self._fusion(*(torch.from_numpy(array) for array in arrays)).numpy()
        return logits
