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

from slicewise.data.labels import UNKNOWN
from slicewise.data.store import Dataset, SeriesRecord, folder_name
from slicewise.errors import TrainingError
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
        series_labels: 0, 1 or -1 for unknown, of the series as a whole, shape (L,).
    """

    descriptors: Floats
    slice_logits: Floats
    summaries: Floats
    positions: Floats
    labels: npt.NDArray[np.int8]
    series_labels: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class FusionBatch:
    """Several series, padded to the longest.

    Attributes:
        features: What stage 1 says about them.
        targets: 0 or 1, shape (B, S, L).
        known: False for unknown labels and padding, shape (B, S, L).
        series_targets: 0 or 1 of each series as a whole, shape (B, L).
        series_known: False for unknown labels, shape (B, L).
    """

    features: SliceFeatures
    targets: Tensor
    known: Tensor
    series_targets: Tensor
    series_known: Tensor


def encoder_digest(network: DescriptorNetwork, task: Task, neighbours: int) -> str:
    """Returns the SHA-256 over the weights, the channels, the neighbours among them and the preprocessing."""
    digest = hashlib.sha256(task.preprocessing.digest().encode())
    digest.update(repr((task.channels, neighbours)).encode())
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
    hardware = context.hardware
    share = records[hardware.rank :: hardware.ranks]
    folder = context.run.descriptors / encoder_digest(network, context.task, context.encoder.neighbours)[:16]
    network = network.to(hardware.device).eval()
    for record in context.progress(share, description="Descriptors", total=len(share), unit="series"):
        path = _path(folder, record)
        if _load(path) is None:
            _store(path, _encode(network, context, record))
    network.to("cpu")
    hardware.fabric.barrier()
    return [_of_series(_stored(_path(folder, record)), context.dataset, record) for record in records]


def collate(series: Sequence[SeriesFeatures]) -> FusionBatch:
    """Pads series to the longest one; padding is neither a slice nor a known label."""
    lengths = [len(item.positions) for item in series]
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    labels = _pad([item.labels.astype(np.float32) for item in series])
    of_series = torch.from_numpy(np.stack([item.series_labels for item in series])).float()
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
        series_targets=of_series.clamp_min(0),
        series_known=of_series >= 0,
    )


def _pad(arrays: list[Floats]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True)


def _encode(
    network: DescriptorNetwork, context: TrainingContext, record: SeriesRecord
) -> tuple[Floats, Floats, Floats]:
    batches, task, neighbours = [], context.task, context.encoder.neighbours
    # cuDNN would round convolutions to TensorFloat-32; prediction does not.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for channels in channel_batches(context.dataset.input(record), task, ENCODER_BATCH, neighbours):
            outputs = network(torch.from_numpy(channels).to(context.hardware.device, memory_format=torch.channels_last))
            found = (outputs.descriptors, outputs.slice_logits, outputs.summaries)
            batches.append([output.float().cpu() for output in found])
    descriptors, slice_logits, summaries = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return descriptors, slice_logits, summaries


def _path(folder: Path, record: SeriesRecord) -> Path:
    return folder / f"{folder_name(record.series_uid)}-{record.values_digest[:16]}.npz"


def _stored(path: Path) -> tuple[Floats, Floats, Floats]:
    arrays = _load(path)
    if arrays is None:
        raise TrainingError(f"{path}: cannot be read. Remove it, then go on with --resume")
    return arrays


def _store(path: Path, arrays: tuple[Floats, Floats, Floats]) -> None:
    descriptors, slice_logits, summaries = arrays
    try:
        with write_atomically(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, descriptors=descriptors, slice_logits=slice_logits, summaries=summaries)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error}. Make room, then go on with --resume") from error


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
    labels = dataset.row_labels(record)[rows]
    return SeriesFeatures(
        descriptors=descriptors[rows],
        slice_logits=slice_logits[rows],
        summaries=summaries[rows],
        positions=axial_positions(model_input.positions_mm[rows], dataset.task),
        labels=labels,
        series_labels=_series_labels(labels, record),
    )


def _series_labels(labels: npt.NDArray[np.int8], record: SeriesRecord) -> npt.NDArray[np.int8]:
    """Returns what the slices say of a series, and where they do not know, what is known of its study."""
    of_study = np.array(record.study_labels or (UNKNOWN,) * labels.shape[1], dtype=np.int8)
    return np.where((labels == 1).any(axis=0), 1, np.where((labels == 0).all(axis=0), 0, of_study)).astype(np.int8)
