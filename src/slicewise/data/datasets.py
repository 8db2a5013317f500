"""Batches of training slices for stage 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from slicewise.config import AugmentConfig
from slicewise.data.augment import draw_transform
from slicewise.data.labels import UNKNOWN
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.imaging.windows import apply_channels


@dataclass(frozen=True, eq=False)
class SliceItem:
    """One training slice.

    Attributes:
        channels: In [0, 1], shape (C, H, W).
        labels: 0 or 1, 0 where unknown, shape (L,).
        known: False where the label is unknown, shape (L,).
        index: Index of the slice in its `SliceDataset`.
        occupancy: Share of every cell that a finding fills, shape (L, H / OCCUPANCY_STRIDE, W / OCCUPANCY_STRIDE), None
            where the series has no masks or they are not asked for.
    """

    channels: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    index: int
    occupancy: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class SliceBatch:
    """Several training slices.

    Attributes:
        channels: In [0, 1], shape (B, C, H, W).
        labels: 0 or 1, 0 where unknown, shape (B, L).
        known: False where the label is unknown, shape (B, L).
        weights: Weight of every slice in the loss, shape (B,).
        occupancy: Share of every cell that a finding fills, 0 where unknown, shape (B, L, H / OCCUPANCY_STRIDE,
            W / OCCUPANCY_STRIDE); (B, L, 0, 0) where no slice has masks.
        has_masks: False where the occupancy is unknown, shape (B,).
    """

    channels: Tensor
    labels: Tensor
    known: Tensor
    weights: Tensor
    occupancy: Tensor
    has_masks: Tensor


class SliceDataset(TorchDataset[SliceItem]):
    """The rows of prepared series that have a known label.

    An item depends on seed, epoch and index alone, so that runs repeat and resume bit for bit.

    Args:
        dataset: The prepared dataset.
        records: The series to take slices from.
        augment: Random changes of the slices, None for none.
        masks: Read the masks of series that have them.
        seed: Seeds the random changes and the order of the slices.

    Attributes:
        seed: The seed.
        epoch: The epoch that items are drawn for.
        labels: 0, 1 or -1 for unknown, shape (slices, labels).
    """

    def __init__(
        self,
        dataset: Dataset,
        records: Sequence[SeriesRecord],
        augment: AugmentConfig | None,
        *,
        masks: bool = False,
        seed: int,
    ) -> None:
        self.seed = seed
        self.epoch = 0
        self._dataset = dataset
        self._records = tuple(records)
        self._augment = augment
        self._masks = masks
        labels = [dataset.row_labels(record) for record in records]
        known = [np.flatnonzero((of_series != UNKNOWN).any(axis=1)) for of_series in labels]
        counts = [len(rows) for rows in known]
        self._record_of = np.repeat(np.arange(len(counts)), counts)
        self._row_of = np.concatenate([np.empty(0, dtype=np.int64), *known])
        self.labels = np.concatenate(
            [
                np.empty((0, len(dataset.task.labels)), dtype=np.int8),
                *(of_series[rows] for of_series, rows in zip(labels, known, strict=True)),
            ]
        )

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, index: int) -> SliceItem:
        task = self._dataset.task
        record, row = self._records[self._record_of[index]], self._row_of[index]
        values = self._dataset.input(record).values[row].astype(np.float32)
        occupancy = self._occupancy(record, row)
        if self._augment is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            transform = draw_transform(rng, self._augment, task.preprocessing.pixel_mm)
            values = transform.apply(values)
            occupancy = None if occupancy is None else transform.apply_to_occupancy(occupancy)
        labels = self.labels[index]
        return SliceItem(
            channels=apply_channels(values, task.channels),
            labels=(labels == 1).astype(np.float32),
            known=labels != UNKNOWN,
            index=index,
            occupancy=occupancy,
        )

    def _occupancy(self, record: SeriesRecord, row: int) -> npt.NDArray[np.float32] | None:
        if not (self._masks and record.masks_digest):
            return None
        occupancy: npt.NDArray[np.float32] = np.divide(self._dataset.masks(record)[row], 255, dtype=np.float32)
        return occupancy

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that items are drawn for."""
        self.epoch = epoch


def epoch_indices(slices: SliceDataset, epoch: int, negative_share: float) -> npt.NDArray[np.int64]:
    """Returns the slices of an epoch in their random order, which seed and epoch fix.

    Args:
        slices: The training slices.
        epoch: The epoch.
        negative_share: Share of the slices without a positive label that the epoch shows, beside every positive one.

    Returns:
        Indices of `slices`; as many in every epoch.
    """
    rng = np.random.default_rng((slices.seed, epoch))
    positive = (slices.labels == 1).any(axis=1)
    negatives = rng.permutation(np.flatnonzero(~positive))
    chosen = negatives[: _shown(len(negatives), negative_share)]
    return rng.permutation(np.concatenate([np.flatnonzero(positive), chosen]))


def epoch_weights(slices: SliceDataset, negative_share: float) -> npt.NDArray[np.float32]:
    """Returns the weight of every slice in the loss, shape (slices,).

    A negative slice stands for those that its epoch does not show: the expected loss is the one over all slices.
    """
    positive = (slices.labels == 1).any(axis=1)
    negatives = int((~positive).sum())
    weight = negatives / max(_shown(negatives, negative_share), 1)
    return np.where(positive, 1.0, weight).astype(np.float32)


def slice_batches(
    slices: SliceDataset, *, epoch: int, batch_size: int, negative_share: float, first: int = 0, workers: int = 0
) -> Iterator[SliceBatch]:
    """Yields the batches of an epoch; slices that do not fill a batch are left out of it.

    Args:
        slices: The training slices.
        epoch: The epoch.
        batch_size: Slices a batch.
        negative_share: As in `epoch_indices`.
        first: Batch to begin with, to go on in the middle of an epoch.
        workers: Processes that load slices; 0 loads in this one.
    """
    slices.set_epoch(epoch)
    order = epoch_indices(slices, epoch, negative_share)
    weights = torch.from_numpy(epoch_weights(slices, negative_share))
    whole = len(order) // batch_size
    batches = order[: whole * batch_size].reshape(whole, batch_size)[first:].tolist()
    loader: DataLoader[SliceItem] = DataLoader(
        slices,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_Collate(weights),
        # The loader draws seeds for its workers: not from the stream that dropout draws from.
        generator=torch.Generator(),
    )
    yield from loader


@dataclass(frozen=True, eq=False)
class _Collate:
    """Makes a batch of items; a class, so that worker processes can be given it."""

    weights: Tensor

    def __call__(self, items: list[SliceItem]) -> SliceBatch:
        return SliceBatch(
            channels=torch.from_numpy(np.stack([item.channels for item in items])),
            labels=torch.from_numpy(np.stack([item.labels for item in items])),
            known=torch.from_numpy(np.stack([item.known for item in items])),
            weights=self.weights[[item.index for item in items]],
            occupancy=_stack_occupancy(items),
            has_masks=torch.tensor([item.occupancy is not None for item in items]),
        )


def _stack_occupancy(items: list[SliceItem]) -> Tensor:
    known = [item.occupancy for item in items if item.occupancy is not None]
    unknown = np.zeros(known[0].shape if known else (len(items[0].labels), 0, 0), dtype=np.float32)
    return torch.from_numpy(np.stack([unknown if item.occupancy is None else item.occupancy for item in items]))


def _shown(negatives: int, share: float) -> int:
    """Returns how many negative slices an epoch shows: at least one, if there are any."""
    return min(negatives, max(1, round(share * negatives)))
