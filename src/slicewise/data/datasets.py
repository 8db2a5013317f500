"""Training slices of a prepared dataset, and the batches of an epoch of stage 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from slicewise.config import AugmentConfig, Stage1Config
from slicewise.data.augment import draw_transform
from slicewise.data.batches import SliceBatch, SliceItem, stack_items
from slicewise.data.labels import UNKNOWN
from slicewise.data.mixing import mix
from slicewise.data.sampling import draw_epoch, expected_showings
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import SlicewiseError
from slicewise.imaging.neighbours import neighbour_rows
from slicewise.imaging.windows import apply_channels


class SliceDataset(TorchDataset[SliceItem | SlicewiseError]):
    """The rows of prepared series that have a known label.

    An item depends on seed, epoch and key alone, so that runs repeat and resume bit for bit. A key is an index, or an
    index plus a multiple of the length for a slice that an epoch shows again, with other random changes. What cannot be
    read is returned as the error that says so: raised, a loader process would wrap it in a traceback.

    Args:
        dataset: The prepared dataset.
        records: The series to take slices from.
        augment: Random changes of the slices, None for none.
        neighbours: Neighbours on either side that enter as further channels.
        masks: Read the masks of series that have them.
        seed: Seeds the random changes and the order of the slices.

    Attributes:
        seed: The seed.
        epoch: The epoch that items are drawn for.
        labels: 0, 1 or -1 for unknown, shape (slices, labels).
        weights: Weight of every slice in the loss, shape (slices,).
    """

    def __init__(
        self,
        dataset: Dataset,
        records: Sequence[SeriesRecord],
        augment: AugmentConfig | None,
        *,
        neighbours: int = 0,
        masks: bool = False,
        seed: int,
    ) -> None:
        self.seed = seed
        self.epoch = 0
        self._dataset = dataset
        self._records = tuple(records)
        self._augment = augment
        self._neighbours = neighbours
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
        self.weights = np.ones(len(self.labels), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, key: int) -> SliceItem | SlicewiseError:
        try:
            return self._item(key)
        except SlicewiseError as error:
            return error

    def _item(self, key: int) -> SliceItem:
        task, index = self._dataset.task, key % len(self)
        record, row = self._records[self._record_of[index]], self._row_of[index]
        rows = neighbour_rows(np.array(record.duplicate_rank), self._neighbours)[row] if self._neighbours else [row]
        values = self._dataset.input_rows(record, rows).astype(np.float32)
        occupancy, channels = self._occupancy(record, row), task.channels
        if self._augment is not None:
            rng = np.random.default_rng((self.seed, self.epoch, key))
            transform = draw_transform(rng, self._augment, task.preprocessing.pixel_mm, len(channels))
            values = transform.apply(values)
            channels = transform.apply_to_windows(channels)
            occupancy = None if occupancy is None else transform.apply_to_occupancy(occupancy)
        labels = self.labels[index]
        return SliceItem(
            channels=apply_channels(values, channels).reshape(-1, *values.shape[1:]),
            labels=(labels == 1).astype(np.float32),
            known=labels != UNKNOWN,
            weight=float(self.weights[index]),
            key=key,
            occupancy=occupancy,
        )

    def batches(self, indices: npt.NDArray[np.int64], batch_size: int) -> Iterator[SliceBatch]:
        """Yields batches of the given slices, in their order.

        Raises:
            DatasetError: If a slice cannot be read.
        """
        for start in range(0, len(indices), batch_size):
            yield stack_items([self._item(int(index)) for index in indices[start : start + batch_size]])

    def _occupancy(self, record: SeriesRecord, row: int) -> npt.NDArray[np.float32] | None:
        if not (self._masks and record.masks_digest):
            return None
        occupancy: npt.NDArray[np.float32] = np.divide(self._dataset.mask_row(record, row), 255, dtype=np.float32)
        return occupancy


class EpochBatches:
    """The batches of every epoch of stage 1, as one process of several sees them.

    A step shows `batch_size` slices, in parts of equal size: every process works through `accumulate` of them. Which
    slices a step shows does not depend on the number of parts or processes.

    Args:
        slices: The training slices; their weights are set to what the sampling asks for.
        config: Sampling, mixing and batch size.
        parts: Parts of a step, over all processes.
        workers: Processes that load slices for this one; 0 loads in this one.

    Attributes:
        batch_size: Slices a step: the wanted number, or fewer where an epoch has not so many.
        steps: Steps of every epoch; slices that do not fill a batch are left out of it.
    """

    def __init__(self, slices: SliceDataset, config: Stage1Config, *, parts: int = 1, workers: int = 0) -> None:
        self._slices = slices
        self._config = config
        self._workers = workers
        self._parts = parts
        self._showings = expected_showings(
            slices.labels, negative_share=config.negative_share, repeat_below=config.repeat_below
        )
        slices.weights = (1 / self._showings).astype(np.float32)
        shown = len(self.keys(0))
        self.batch_size = min(config.batch_size, shown) // parts * parts
        self.steps = shown // self.batch_size if self.batch_size else 0

    def keys(self, epoch: int) -> npt.NDArray[np.int64]:
        """Returns the keys of the slices of an epoch in their random order."""
        # Of its own by the 2: the stream of a slice draws its random changes.
        return draw_epoch(self._showings, (self._slices.seed, epoch, 0, 2))

    def of_epoch(self, epoch: int, first: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[SliceBatch]:
        """Yields the parts that one process works through, step by step.

        Args:
            epoch: The epoch.
            first: Step to begin with, to go on in the middle of an epoch.
            rank: Number of the process.
            ranks: Number of processes.

        Raises:
            DatasetError: If a slice cannot be read.
        """
        self._slices.epoch = epoch
        keys = self.keys(epoch)[first * self.batch_size : self.steps * self.batch_size]
        parts = keys.reshape(-1, max(1, self.batch_size // self._parts))[rank::ranks].tolist()
        loader: DataLoader[SliceItem | SlicewiseError] = DataLoader(
            self._slices,
            batch_sampler=parts,
            num_workers=self._workers,
            collate_fn=_Collate((self._slices.seed, epoch), self._config),
            # The loader draws seeds for its workers: not from the stream that dropout draws from.
            generator=torch.Generator(),
        )
        return _unless_error(iter(loader))


def _unless_error(batches: Iterator[SliceBatch | SlicewiseError]) -> Iterator[SliceBatch]:
    for batch in batches:
        if isinstance(batch, SlicewiseError):
            raise batch
        yield batch


@dataclass(frozen=True, eq=False)
class _Collate:
    """Makes a batch of items; a class, so that worker processes can be given it."""

    seed: tuple[int, int]
    config: Stage1Config

    def __call__(self, items: list[SliceItem | SlicewiseError]) -> SliceBatch | SlicewiseError:
        whole = [item for item in items if isinstance(item, SliceItem)]
        if len(whole) < len(items):
            return next(item for item in items if isinstance(item, SlicewiseError))
        # Of its own by the 1: the stream of the slice alone draws its random changes.
        rng = np.random.default_rng((*self.seed, whole[0].key, 1))
        return mix(stack_items(whole), rng, mixup=self.config.mixup, cutmix=self.config.cutmix)
