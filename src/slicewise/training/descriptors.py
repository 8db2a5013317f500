"""Stage 1 applied to a dataset: stored descriptors of every series, and their batches for stage 2.

The store is keyed by the digest of encoder and preprocessing, so that descriptors of another encoder cannot be used.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slicewise.data.store import Dataset, SeriesRecord, folder_name
from slicewise.files import write_atomically
from slicewise.imaging.channels import channel_batches
from slicewise.inference.axial import axial_positions, primary_rows
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.features import SliceFeatures
from slicewise.task import Task
from slicewise.training.context import TrainingContext

Floats = npt.NDArray[np.float32]

ENCODER_BATCH = 32


@dataclass(frozen=True, eq=False)
class SeriesFeatures:
    """Stored features of one series, without duplicates.

    Attributes:
        descriptors: Shape (S, D).
        slice_logits: Shape (S, L).
        summaries: Shape (S, M).
        positions: Positions on the axial unit of the task, shape (S,).
        labels: 0, 1 or -1 for unknown, shape (S, L).
    """

    descriptors: Floats
    slice_logits: Floats
    summaries: Floats
    positions: Floats
    labels: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class FusionBatch:
    """Several series, padded to the longest.

    Attributes:
        features: What stage 1 says about them.
        targets: 0 or 1, shape (B, S, L).
        known: False for unknown labels and padding, shape (B, S, L).
    """

    features: SliceFeatures
    targets: Tensor
    known: Tensor


def encoder_digest(network: DescriptorNetwork, task: Task) -> str:
    """Returns the SHA-256 over the weights, the channels and the preprocessing."""
    digest = hashlib.sha256(task.preprocessing.digest().encode())
    digest.update(repr(task.channels).encode())
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(
    context: TrainingContext, network: DescriptorNetwork, records: Sequence[SeriesRecord]
) -> list[SeriesFeatures]:
    """Runs stage 1 over series, or takes what an earlier call stored for the same encoder and the same values.

    Args:
        context: The training run; its folder keeps the descriptors.
        network: The trained network of stage 1. It runs in full precision, as in prediction.
        records: Series to describe.
    """
    dataset, device = context.dataset, context.hardware.device
    folder = context.run.descriptors / encoder_digest(network, dataset.task)[:16]
    network = network.to(device).eval()
    features = []
    for record in context.progress(records, description="Descriptors", total=len(records), unit="series"):
        path = folder / f"{folder_name(record.series_uid)}-{record.values_digest[:16]}.npz"
        stored = _load(path)
        if stored is None:
            stored = _encode(network, dataset, record, device)
            _store(path, stored)
        features.append(_of_series(stored, dataset, record))
    network.to("cpu")
    return features


def collate(series: Sequence[SeriesFeatures]) -> FusionBatch:
    """Pads series to the longest one; padding is neither a slice nor a known label."""
    lengths = [len(item.positions) for item in series]
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    labels = _pad([item.labels.astype(np.float32) for item in series])
    return FusionBatch(
        features=SliceFeatures(
            descriptors=_pad([item.descriptors for item in series]),
            slice_logits=_pad([item.slice_logits for item in series]),
            summaries=_pad([item.summaries for item in series]),
            positions=_pad([item.positions for item in series]),
            mask=mask,
        ),
        targets=labels.clamp_min(0),
        known=(labels >= 0) & mask[..., None],
    )


def _pad(arrays: list[Floats]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True)


def _encode(
    network: DescriptorNetwork, dataset: Dataset, record: SeriesRecord, device: torch.device
) -> tuple[Floats, Floats, Floats]:
    batches = []
    # cuDNN would round convolutions to TensorFloat-32; prediction does not.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for channels in channel_batches(dataset.input(record), dataset.task, ENCODER_BATCH):
            outputs = network(torch.from_numpy(channels).to(device, memory_format=torch.channels_last))
            batches.append([output.float().cpu() for output in outputs])
    descriptors, slice_logits, summaries = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return descriptors, slice_logits, summaries


def _store(path: Path, arrays: tuple[Floats, Floats, Floats]) -> None:
    descriptors, slice_logits, summaries = arrays
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, descriptors=descriptors, slice_logits=slice_logits, summaries=summaries)


def _load(path: Path) -> tuple[Floats, Floats, Floats] | None:
    """Returns what is stored, None where nothing whole is: it is made again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return stored["descriptors"], stored["slice_logits"], stored["summaries"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _of_series(stored: tuple[Floats, Floats, Floats], dataset: Dataset, record: SeriesRecord) -> SeriesFeatures:
    model_input = dataset.input(record)
    rows = primary_rows(model_input.duplicate_rank)
    descriptors, slice_logits, summaries = stored
    return SeriesFeatures(
        descriptors=descriptors[rows],
        slice_logits=slice_logits[rows],
        summaries=summaries[rows],
        positions=axial_positions(model_input.positions_mm[rows], dataset.task),
        labels=dataset.row_labels(record)[rows],
    )
