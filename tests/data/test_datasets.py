from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from slicewise.config import AugmentConfig
from slicewise.data.datasets import SliceDataset, epoch_indices, epoch_weights, slice_batches
from slicewise.data.store import Dataset, DatasetManifest, SeriesRecord
from slicewise.data.writing import write_manifest, write_series, write_tables
from slicewise.task import OCCUPANCY_STRIDE, load_task
from slicewise.volume import SliceReference

TASK = load_task("ich")
POSITIVE, NEGATIVE, PARTLY, UNKNOWN = (1, 0, 0, 0, 0, 1), (0,) * 6, (-1, 0, -1, 0, 0, 0), (-1,) * 6


def record(name: str, labels: Sequence[tuple[int, ...]]) -> SeriesRecord:
    count = len(labels)
    return SeriesRecord(
        patient_id=name,
        study_uid=name,
        series_uid=name,
        source_digest="",
        slices=tuple(SliceReference(f"{name}.{index}", 1, "", index) for index in range(count)),
        positions_mm=tuple(5.0 * index for index in range(count)),
        labels=tuple(labels),
        row_positions_mm=tuple(5.0 * index for index in range(count)),
        duplicate_rank=(0,) * count,
        slab_of_slice=tuple(range(count)),
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
        matrix=(512, 512),
        pixel_spacing_mm=(1.0, 1.0),
        tilt_degrees=0.0,
    )


RECORDS = (
    record("a", [NEGATIVE, POSITIVE, UNKNOWN, PARTLY, NEGATIVE]),
    record("b", [UNKNOWN] * 3),
    record("c", [NEGATIVE] * 6 + [POSITIVE] * 2),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path: Path = tmp_path_factory.mktemp("dataset")
    size = TASK.preprocessing.size
    for number, item in enumerate(RECORDS):
        # Every row has one value: 10 HU a series and 1 HU a row tell them apart.
        rows = 10 * number + np.arange(len(item.slices), dtype=np.int16)
        write_series(path, item, np.broadcast_to(rows[:, None, None], (len(rows), size, size)))
    write_tables(path, RECORDS, TASK.label_names, dict.fromkeys("abc", "train"), ())
    write_manifest(path, DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", complete=True))
    return Dataset.open(path)


def slices_of(dataset: Dataset, *, augment: AugmentConfig | None = None, seed: int = 0) -> SliceDataset:
    return SliceDataset(dataset, dataset.records, augment, seed=seed)


def test_only_rows_with_a_known_label_are_shown(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    assert len(slices) == 4 + 0 + 8
    brain = TASK.channels[0]
    low = brain.center - brain.width / 2
    shown = [slices[index].channels[0, 0, 0] * brain.width + low for index in range(len(slices))]
    assert np.rint(shown).tolist() == [0, 1, 3, 4, *range(20, 28)]


def test_an_item(dataset: Dataset) -> None:
    item = slices_of(dataset)[2]
    assert item.channels.shape == (len(TASK.channels), TASK.preprocessing.size, TASK.preprocessing.size)
    assert item.channels.dtype == item.labels.dtype == np.dtype(np.float32)
    assert item.known.dtype == np.dtype(np.bool_)
    assert item.labels.tolist() == [0.0] * 6
    assert item.known.tolist() == [False, True, False, True, True, True]


def test_series_without_known_labels_give_an_empty_dataset(dataset: Dataset) -> None:
    slices = SliceDataset(dataset, [dataset.records[1]], None, seed=0)
    assert len(slices) == 0
    assert epoch_indices(slices, 0, 0.5).tolist() == []
    assert list(slice_batches(slices, epoch=0, batch_size=2, negative_share=0.5)) == []
    assert len(SliceDataset(dataset, [], None, seed=0)) == 0


def test_augmentation_depends_on_seed_epoch_and_index_alone(dataset: Dataset) -> None:
    config = AugmentConfig()
    one, same, other = (slices_of(dataset, augment=config, seed=seed) for seed in (1, 1, 2))
    for index in reversed(range(len(same))):  # the order of the calls plays no part
        assert np.array_equal(same[index].channels, one[index].channels)
    assert not np.array_equal(one[4].channels, other[4].channels)
    first = one[4].channels
    one.set_epoch(1)
    assert not np.array_equal(one[4].channels, first)
    one.set_epoch(0)
    assert np.array_equal(one[4].channels, first)


def test_an_epoch_shows_every_slice_once(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    orders = [epoch_indices(slices, epoch, 1.0) for epoch in range(3)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert np.array_equal(epoch_indices(slices_of(dataset), 1, 1.0), orders[1])
    assert not np.array_equal(epoch_indices(slices_of(dataset, seed=5), 1, 1.0), orders[1])
    assert epoch_weights(slices, 1.0).tolist() == [1.0] * 12


def test_a_share_of_the_negatives_is_weighted_back(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    positive = {1, 10, 11}
    shown = np.zeros(12)
    for epoch in range(300):
        order = epoch_indices(slices, epoch, 1 / 3)
        assert len(order) == 3 + 3
        assert positive <= set(order.tolist())
        shown[order] += epoch_weights(slices, 1 / 3)[order]
    # 9 negatives, 3 of them shown: each stands for 3, and on average every slice counts once.
    assert epoch_weights(slices, 1 / 3).tolist() == [1.0 if index in positive else 3.0 for index in range(12)]
    np.testing.assert_allclose(shown / 300, 1.0, atol=0.25)


def test_a_tiny_share_still_shows_a_negative(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    assert len(epoch_indices(slices, 0, 1e-6)) == 4
    assert epoch_weights(slices, 1e-6).max() == 9.0


def test_batches_hold_the_slices_of_the_epoch(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    batches = list(slice_batches(slices, epoch=3, batch_size=5, negative_share=1 / 3))
    order = epoch_indices(slices, 3, 1 / 3)
    assert len(batches) == 1  # six slices; the last does not fill a batch
    items = [slices[index] for index in order[:5]]
    assert np.array_equal(batches[0].channels, np.stack([item.channels for item in items]))
    assert np.array_equal(batches[0].labels, np.stack([item.labels for item in items]))
    assert np.array_equal(batches[0].known, np.stack([item.known for item in items]))
    assert batches[0].weights.tolist() == epoch_weights(slices, 1 / 3)[order[:5]].tolist()
    assert (batches[0].channels.dtype, batches[0].known.dtype) == (torch.float32, torch.bool)


def test_batches_go_on_in_the_middle_of_an_epoch(dataset: Dataset) -> None:
    def epoch(first: int) -> list[torch.Tensor]:
        slices = slices_of(dataset, augment=AugmentConfig(), seed=4)
        batches = slice_batches(slices, epoch=2, batch_size=3, negative_share=1.0, first=first)
        return [batch.channels for batch in batches]

    whole = epoch(0)
    assert len(whole) == 4
    assert all(torch.equal(one, other) for one, other in zip(whole[2:], epoch(2), strict=True))


def test_batches_leave_the_global_random_numbers_alone(dataset: Dataset) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(slice_batches(slices_of(dataset), epoch=0, batch_size=4, negative_share=1.0))
    assert torch.equal(torch.rand(1), expected)


def test_worker_processes_give_the_same_batches(dataset: Dataset) -> None:
    slices = slices_of(dataset, augment=AugmentConfig(), seed=4)
    alone, helped = (
        list(slice_batches(slices, epoch=1, batch_size=4, negative_share=1.0, workers=workers)) for workers in (0, 1)
    )
    assert all(torch.equal(one.channels, other.channels) for one, other in zip(alone, helped, strict=True))
    assert all(torch.equal(one.weights, other.weights) for one, other in zip(alone, helped, strict=True))


@pytest.fixture(scope="module")
def masked_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The first series has masks: cell (0, row) is filled by "any" in that row. The last one has none."""
    path: Path = tmp_path_factory.mktemp("masked")
    size = TASK.preprocessing.size
    cells = size // OCCUPANCY_STRIDE
    masks = np.zeros((len(RECORDS[0].slices), len(TASK.labels), cells, cells), dtype=np.uint8)
    for row in range(len(masks)):
        masks[row, 0, 0, row] = 255
    values = np.zeros((8, size, size), dtype=np.int16)
    write_series(path, RECORDS[0], values[: len(masks)], masks)
    write_series(path, RECORDS[2], values)
    used = (RECORDS[0], RECORDS[2])
    write_tables(path, used, TASK.label_names, dict.fromkeys("ac", "train"), ())
    write_manifest(path, DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", complete=True))
    return Dataset.open(path)


def test_masks_come_with_the_rows_that_they_belong_to(masked_dataset: Dataset) -> None:
    slices = SliceDataset(masked_dataset, masked_dataset.records, None, masks=True, seed=0)
    occupancies = [slices[index].occupancy for index in range(len(slices))]
    filled = [None if occupancy is None else np.argwhere(occupancy == 1).tolist() for occupancy in occupancies]
    assert filled == [[[0, 0, row]] for row in (0, 1, 3, 4)] + [None] * 8
    unasked = SliceDataset(masked_dataset, masked_dataset.records, None, seed=0)
    assert unasked[0].occupancy is None


def test_a_batch_tells_unknown_occupancy_from_none(masked_dataset: Dataset) -> None:
    slices = SliceDataset(masked_dataset, masked_dataset.records, None, masks=True, seed=0)
    (batch,) = slice_batches(slices, epoch=0, batch_size=12, negative_share=1.0)
    cells = TASK.preprocessing.size // OCCUPANCY_STRIDE
    assert batch.occupancy.shape == (12, 6, cells, cells)
    assert batch.has_masks.sum() == 4
    assert (batch.occupancy.sum(dim=(1, 2, 3)) == batch.has_masks).all()
    unmasked = SliceDataset(masked_dataset, masked_dataset.records[1:], None, masks=True, seed=0)
    (batch,) = slice_batches(unmasked, epoch=0, batch_size=8, negative_share=1.0)
    assert batch.occupancy.shape == (8, 6, 0, 0)
    assert not batch.has_masks.any()


def test_a_transform_moves_slices_and_masks_together(masked_dataset: Dataset) -> None:
    flipped = AugmentConfig(flip=1.0, rotation_degrees=0, scale=0, shift_mm=0, gain=0, offset_hu=0, noise_hu=0)
    slices = SliceDataset(masked_dataset, masked_dataset.records, flipped, masks=True, seed=0)
    occupancy = slices[1].occupancy
    assert occupancy is not None
    cells = TASK.preprocessing.size // OCCUPANCY_STRIDE
    assert np.argwhere(occupancy > 0.99).tolist() == [[0, 0, cells - 2]]
