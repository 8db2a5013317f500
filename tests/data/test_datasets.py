from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch

from slicewise.config import AugmentConfig, Stage1Config
from slicewise.data.batches import SliceBatch, SliceItem
from slicewise.data.datasets import EpochBatches, SliceDataset
from slicewise.data.occupancy import Occupancy
from slicewise.data.store import SERIES, VALUES, Dataset, DatasetManifest, SeriesRecord, folder_name
from slicewise.data.writing import write_manifest, write_series, write_tables
from slicewise.errors import DatasetError
from slicewise.imaging.channels import channel_batches
from slicewise.task import OCCUPANCY_STRIDE, load_task
from slicewise.volume import SliceReference

TASK = load_task("ich")
SIZE, CELLS = TASK.preprocessing.size, TASK.preprocessing.size // OCCUPANCY_STRIDE
POSITIVE, NEGATIVE, PARTLY, UNKNOWN = (1, 0, 0, 0, 0, 1), (0,) * 6, (-1, 0, -1, 0, 0, 0), (-1,) * 6
STILL = AugmentConfig(
    flip=0, rotation_degrees=0, scale=0, shift_mm=0, gain=0, offset_hu=0, noise_hu=0, window_shift=0, window_scale=0
)


def record(name: str, labels: Sequence[tuple[int, ...]], duplicate_rank: Sequence[int] = ()) -> SeriesRecord:
    count = len(labels)
    ranks = tuple(duplicate_rank) or (0,) * count
    positions = tuple(5.0 * place for place in np.cumsum(np.array(ranks) == 0).tolist())
    return SeriesRecord(
        patient_id=name,
        study_uid=name,
        series_uid=name,
        source_digest="",
        slices=tuple(SliceReference(f"{name}.{index}", 1, "", index) for index in range(count)),
        positions_mm=positions,
        labels=tuple(labels),
        row_positions_mm=positions,
        duplicate_rank=ranks,
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


def write_dataset(
    path: Path, series: Sequence[tuple[SeriesRecord, npt.NDArray[np.int16], Occupancy | None]]
) -> Dataset:
    for item, values, masks in series:
        write_series(path, item, values, masks)
    splits = {item.patient_id: "train" for item, _, _ in series}
    write_tables(path, [item for item, _, _ in series], TASK.label_names, splits, ())
    write_manifest(path, DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", complete=True))
    return Dataset.open(path)


def flat_rows(first: int, rows: int) -> npt.NDArray[np.int16]:
    """Rows of one value each, one HU apart."""
    values = first + np.arange(rows, dtype=np.int16)
    return np.broadcast_to(values[:, None, None], (rows, SIZE, SIZE))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """10 HU a series and 1 HU a row tell the rows apart."""
    series = [(item, flat_rows(10 * number, len(item.slices)), None) for number, item in enumerate(RECORDS)]
    return write_dataset(tmp_path_factory.mktemp("dataset"), series)


def slices_of(dataset: Dataset, *, augment: AugmentConfig | None = None, seed: int = 0) -> SliceDataset:
    return SliceDataset(dataset, dataset.records, augment, seed=seed)


def item_of(slices: SliceDataset, key: int) -> SliceItem:
    item = slices[key]
    assert isinstance(item, SliceItem)
    return item


def hu_of(channels: npt.NDArray[np.float32]) -> list[int]:
    """The values behind the brain window in the corner of every image, (N, H, W)."""
    brain = TASK.channels[0]
    found: list[int] = np.rint(channels[:, 0, 0] * brain.width + brain.center - brain.width / 2).astype(int).tolist()
    return found


def in_any_order(batches: Sequence[SliceBatch]) -> list[bytes]:
    rows = [row for batch in batches for row in zip(batch.channels, batch.labels, batch.weights, strict=True)]
    return sorted(b"".join(values.numpy().tobytes() for values in row) for row in rows)


def test_only_rows_with_a_known_label_are_shown(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    assert len(slices) == 4 + 0 + 8
    assert hu_of(np.stack([item_of(slices, index).channels[0] for index in range(12)])) == [0, 1, 3, 4, *range(20, 28)]


def test_an_item(dataset: Dataset) -> None:
    item = item_of(slices_of(dataset), 2)
    assert item.channels.shape == (len(TASK.channels), SIZE, SIZE)
    assert item.channels.dtype == item.labels.dtype == np.dtype(np.float32)
    assert item.known.dtype == np.dtype(np.bool_)
    assert item.labels.tolist() == [0.0] * 6
    assert item.known.tolist() == [False, True, False, True, True, True]
    assert (item.weight, item.key) == (1.0, 2)


def test_series_without_known_labels_give_no_batches(dataset: Dataset) -> None:
    slices = SliceDataset(dataset, [dataset.records[1]], None, seed=0)
    assert len(slices) == 0
    batches = EpochBatches(slices, Stage1Config(batch_size=2, negative_share=0.5), parts=2)
    assert (batches.batch_size, batches.steps) == (0, 0)
    assert batches.keys(0).tolist() == []
    assert list(batches.of_epoch(0)) == []
    assert len(SliceDataset(dataset, [], None, seed=0)) == 0


def test_augmentation_depends_on_seed_epoch_and_key_alone(dataset: Dataset) -> None:
    config = AugmentConfig()
    one, same, other = (slices_of(dataset, augment=config, seed=seed) for seed in (1, 1, 2))
    for index in reversed(range(len(same))):  # the order of the calls plays no part
        assert np.array_equal(item_of(same, index).channels, item_of(one, index).channels)
    first = item_of(one, 4).channels
    assert not np.array_equal(item_of(other, 4).channels, first)
    one.epoch = 1
    assert not np.array_equal(item_of(one, 4).channels, first)
    one.epoch = 0
    assert np.array_equal(item_of(one, 4).channels, first)


def test_an_epoch_shows_every_slice_once(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    orders = [EpochBatches(slices, Stage1Config()).keys(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert np.array_equal(EpochBatches(slices_of(dataset), Stage1Config()).keys(1), orders[1])
    assert not np.array_equal(EpochBatches(slices_of(dataset, seed=5), Stage1Config()).keys(1), orders[1])
    assert slices.weights.tolist() == [1.0] * 12


def test_a_share_of_the_negatives_is_weighted_back(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    batches = EpochBatches(slices, Stage1Config(negative_share=1 / 3))
    positive = {1, 10, 11}
    shown = np.zeros(12)
    for epoch in range(300):
        keys = batches.keys(epoch)
        assert len(keys) == 3 + 3
        assert positive <= set(keys.tolist())
        shown[keys] += slices.weights[keys]
    # 9 negatives, 3 of them shown: each stands for 3, and on average every slice counts once.
    assert slices.weights.tolist() == [1.0 if index in positive else 3.0 for index in range(12)]
    np.testing.assert_allclose(shown / 300, 1.0, atol=0.25)


def test_a_slice_that_comes_again_gets_other_random_changes(dataset: Dataset) -> None:
    slices = slices_of(dataset, augment=AugmentConfig())
    # 3 of 12 slices are positive, so that a slice is shown sqrt(1 / (3 / 12)) = 2 times.
    keys = EpochBatches(slices, Stage1Config(repeat_below=1.0)).keys(0)
    assert sorted(keys.tolist()) == [*range(12), 12 + 1, 12 + 10, 12 + 11]
    assert slices.weights.tolist() == [0.5 if index in {1, 10, 11} else 1.0 for index in range(12)]
    for index in (1, 10, 11):
        first, again = item_of(slices, index), item_of(slices, index + 12)
        assert not np.array_equal(first.channels, again.channels)
        assert np.array_equal(first.labels, again.labels)
        assert first.weight == again.weight == 0.5


def test_batches_hold_the_slices_of_the_epoch(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    batches = EpochBatches(slices, Stage1Config(batch_size=5, negative_share=1 / 3))
    assert (batches.batch_size, batches.steps) == (5, 1)  # six slices; the last does not fill a batch
    (batch,) = batches.of_epoch(3)
    keys = batches.keys(3)[:5]
    items = [item_of(slices, key) for key in keys]
    assert np.array_equal(batch.channels, np.stack([item.channels for item in items]))
    assert np.array_equal(batch.labels, np.stack([item.labels for item in items]))
    assert np.array_equal(batch.known, np.stack([item.known for item in items]))
    assert batch.weights.tolist() == slices.weights[keys].tolist()
    assert (batch.channels.dtype, batch.known.dtype, batch.weights.dtype) == (torch.float32, torch.bool, torch.float32)


def test_a_batch_is_no_larger_than_an_epoch(dataset: Dataset) -> None:
    batches = EpochBatches(slices_of(dataset), Stage1Config(batch_size=100), parts=5)
    assert (batches.batch_size, batches.steps) == (10, 1)
    assert [len(batch.labels) for batch in batches.of_epoch(0)] == [2] * 5


def test_batches_of_chosen_slices_come_in_their_order(dataset: Dataset) -> None:
    slices = slices_of(dataset)
    batches = list(slices.batches(np.array([11, 0, 5, 2, 3]), 2))
    assert [hu_of(batch.channels[:, 0].numpy()) for batch in batches] == [[27, 0], [21, 3], [4]]
    assert [batch.labels[:, 0].tolist() for batch in batches] == [[1.0, 0.0], [0.0, 0.0], [0.0]]


def test_batches_go_on_in_the_middle_of_an_epoch(dataset: Dataset) -> None:
    def epoch(first: int, rank: int = 0, ranks: int = 1) -> list[torch.Tensor]:
        slices = slices_of(dataset, augment=AugmentConfig(), seed=4)
        batches = EpochBatches(slices, Stage1Config(batch_size=4, mixup=1.0), parts=2)
        return [batch.channels for batch in batches.of_epoch(2, first, rank, ranks)]

    whole = epoch(0)
    assert len(whole) == 3 * 2
    assert all(torch.equal(one, other) for one, other in zip(whole[2:], epoch(1), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(whole[3::2], epoch(1, 1, 2), strict=True))
    assert epoch(3) == []


@pytest.mark.parametrize(("ranks", "accumulate"), [(1, 2), (2, 1), (2, 2), (4, 1)])
def test_processes_see_together_what_one_process_sees(dataset: Dataset, ranks: int, accumulate: int) -> None:
    def steps(parts: int, rank: int = 0, ranks: int = 1) -> list[list[SliceBatch]]:
        slices = slices_of(dataset, augment=AugmentConfig(), seed=4)
        config = Stage1Config(batch_size=4, negative_share=0.9, repeat_below=0.5)
        batches = list(EpochBatches(slices, config, parts=parts).of_epoch(2, 0, rank, ranks))
        return [batches[start : start + parts // ranks] for start in range(0, len(batches), parts // ranks)]

    alone = steps(1)
    of_ranks = [steps(ranks * accumulate, rank, ranks) for rank in range(ranks)]
    assert len(alone) == 3
    for whole, *parts in zip(alone, *of_ranks, strict=True):
        assert all(len(part) == accumulate for part in parts)
        assert in_any_order([batch for part in parts for batch in part]) == in_any_order(whole)


def test_batches_leave_the_global_random_numbers_alone(dataset: Dataset) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(EpochBatches(slices_of(dataset), Stage1Config(batch_size=4, mixup=0.5)).of_epoch(0))
    assert torch.equal(torch.rand(1), expected)


def test_worker_processes_give_the_same_batches(dataset: Dataset) -> None:
    slices = slices_of(dataset, augment=AugmentConfig(), seed=4)
    config = Stage1Config(batch_size=4, negative_share=0.5, mixup=1.0, cutmix=1.0)
    alone, helped = (list(EpochBatches(slices, config, workers=workers).of_epoch(1)) for workers in (0, 1))
    assert len(alone) == 2
    for one, other in zip(alone, helped, strict=True):
        for name, values in vars(one).items():
            assert torch.equal(values, getattr(other, name)), name


@pytest.mark.parametrize(
    "config", [Stage1Config(batch_size=12, mixup=2.0), Stage1Config(batch_size=12, cutmix=2.0)], ids=["mixup", "cutmix"]
)
def test_slices_are_mixed_within_a_batch(dataset: Dataset, config: Stage1Config) -> None:
    def labels(config: Stage1Config, epoch: int) -> set[float]:
        (batch,) = EpochBatches(slices_of(dataset), config).of_epoch(epoch)
        return set(batch.labels.flatten().tolist())

    assert labels(Stage1Config(batch_size=12), 0) == {0.0, 1.0}
    assert any(0 < value < 1 for value in labels(config, 0))
    assert labels(config, 0) == labels(config, 0)
    assert labels(config, 0) != labels(config, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_series_is_named(tmp_path: Path, workers: int) -> None:
    dataset = write_dataset(tmp_path, [(RECORDS[0], flat_rows(0, 5), None), (RECORDS[2], flat_rows(0, 8), None)])
    slices = slices_of(dataset)
    values = tmp_path / SERIES / folder_name("a") / VALUES
    values.write_bytes(values.read_bytes()[:-1])
    message = f"{values}: cannot be read: "
    with pytest.raises(DatasetError) as caught:
        list(EpochBatches(slices, Stage1Config(batch_size=4), workers=workers).of_epoch(0))
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("Prepare the dataset again")
    assert "Traceback" not in str(caught.value)
    with pytest.raises(DatasetError, match=r"values\.npy: cannot be read"):
        list(slices.batches(np.arange(12), 4))
    assert [hu_of(batch.channels[:, 0].numpy()) for batch in slices.batches(np.arange(4, 6), 2)] == [[0, 1]]


def test_a_series_that_is_cut_off_while_it_is_in_use_is_named(tmp_path: Path) -> None:
    slices = slices_of(write_dataset(tmp_path, [(RECORDS[0], flat_rows(0, 5), None)]))
    assert hu_of(item_of(slices, 3).channels[:1]) == [4]
    values = tmp_path / SERIES / folder_name("a") / VALUES
    values.write_bytes(values.read_bytes()[:-1])
    assert hu_of(item_of(slices, 2).channels[:1]) == [3]
    with pytest.raises(DatasetError, match=r"values\.npy: was cut off"):
        list(slices.batches(np.array([3]), 1))


# Rows 2 and 3 lie at one position.
DUPLICATES = record("d", [NEGATIVE, NEGATIVE, POSITIVE, POSITIVE, UNKNOWN, NEGATIVE], [0, 0, 0, 1, 0, 0])


@pytest.fixture(scope="module")
def deep_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The first series tells its rows apart, the second one repeats one image in every row."""
    image = np.random.default_rng(0).integers(0, 80, (SIZE, SIZE)).astype(np.int16)
    series = [
        (DUPLICATES, flat_rows(0, 6), None),
        (record("e", [NEGATIVE] * 4), np.broadcast_to(image, (4, SIZE, SIZE)), None),
    ]
    return write_dataset(tmp_path_factory.mktemp("deep"), series)


def test_neighbours_enter_as_further_channels(deep_dataset: Dataset) -> None:
    slices = SliceDataset(deep_dataset, deep_dataset.records[:1], None, neighbours=1, seed=0)
    items = [item_of(slices, index).channels for index in range(len(slices))]
    count = len(TASK.channels)
    assert items[0].shape == (3 * count, SIZE, SIZE)
    # Below, itself, above; the ends repeat, and of rows at one position the neighbours see the first.
    assert [hu_of(channels[::count]) for channels in items] == [[0, 0, 1], [0, 1, 2], [1, 2, 4], [1, 3, 4], [4, 5, 5]]
    plain = SliceDataset(deep_dataset, deep_dataset.records[:1], None, seed=0)
    for index, channels in enumerate(items):
        assert np.array_equal(channels[count : 2 * count], item_of(plain, index).channels)


def test_training_and_prediction_read_the_same_channels(deep_dataset: Dataset) -> None:
    for item in deep_dataset.records:
        slices = SliceDataset(deep_dataset, [item], None, neighbours=2, seed=0)
        read = np.concatenate(list(channel_batches(deep_dataset.input(item), TASK, 2, neighbours=2)))
        known = [index for index, labels in enumerate(item.labels) if labels != UNKNOWN]
        shown = np.stack([item_of(slices, index).channels for index in range(len(slices))])
        assert np.array_equal(shown, read[known])


def test_a_slice_and_its_neighbours_move_together(deep_dataset: Dataset) -> None:
    augment = msgspec.structs.replace(AugmentConfig(), noise_hu=0.0)
    slices = SliceDataset(deep_dataset, deep_dataset.records[1:], augment, neighbours=1, seed=0)
    unmoved = SliceDataset(deep_dataset, deep_dataset.records[1:], None, neighbours=1, seed=0)
    for index in range(len(slices)):
        channels = item_of(slices, index).channels
        assert not np.allclose(channels, item_of(unmoved, index).channels, atol=0.01)
        below, itself, above = np.split(channels, 3)
        assert np.array_equal(below, itself)
        assert np.array_equal(above, itself)


def test_a_flip_turns_every_neighbour(deep_dataset: Dataset) -> None:
    flip = msgspec.structs.replace(STILL, flip=1.0)
    flipped, plain = (
        SliceDataset(deep_dataset, deep_dataset.records[1:], augment, neighbours=1, seed=0) for augment in (flip, None)
    )
    np.testing.assert_allclose(item_of(flipped, 1).channels, item_of(plain, 1).channels[..., ::-1], atol=1e-3)


def test_windows_change_from_slice_to_slice(deep_dataset: Dataset) -> None:
    changed = msgspec.structs.replace(STILL, window_shift=0.05)
    slices = SliceDataset(deep_dataset, deep_dataset.records[1:], changed, seed=0)
    plain = SliceDataset(deep_dataset, deep_dataset.records[1:], None, seed=0)
    inside = (item_of(plain, 0).channels > 0.3) & (item_of(plain, 0).channels < 0.7)
    shifts = [item_of(slices, index).channels - item_of(plain, index).channels for index in range(4)]
    of_slices = np.array(
        [[np.median(shift[window][inside[window]]) for window in range(len(shift))] for shift in shifts]
    )
    assert len(np.unique(of_slices.round(5))) == of_slices.size
    assert 0.0 < np.abs(of_slices).max() < 0.25


@pytest.fixture(scope="module")
def masked_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The first series has masks: cell (0, row) is filled by "any" in that row. The last one has none."""
    masks = np.zeros((len(RECORDS[0].slices), len(TASK.labels), CELLS, CELLS), dtype=np.uint8)
    for row in range(len(masks)):
        masks[row, 0, 0, row] = 255
    values = np.zeros((8, SIZE, SIZE), dtype=np.int16)
    series = [(RECORDS[0], values[: len(masks)], masks), (RECORDS[2], values, None)]
    return write_dataset(tmp_path_factory.mktemp("masked"), series)


def test_masks_come_with_the_rows_that_they_belong_to(masked_dataset: Dataset) -> None:
    slices = SliceDataset(masked_dataset, masked_dataset.records, None, masks=True, seed=0)
    occupancies = [item_of(slices, index).occupancy for index in range(len(slices))]
    filled = [None if occupancy is None else np.argwhere(occupancy == 1).tolist() for occupancy in occupancies]
    assert filled == [[[0, 0, row]] for row in (0, 1, 3, 4)] + [None] * 8
    unasked = SliceDataset(masked_dataset, masked_dataset.records, None, seed=0)
    assert item_of(unasked, 0).occupancy is None


def test_a_batch_tells_unknown_occupancy_from_none(masked_dataset: Dataset) -> None:
    slices = SliceDataset(masked_dataset, masked_dataset.records, None, masks=True, seed=0)
    (batch,) = EpochBatches(slices, Stage1Config(batch_size=12)).of_epoch(0)
    assert batch.occupancy.shape == (12, 6, CELLS, CELLS)
    assert batch.has_masks.sum() == 4
    assert (batch.occupancy.sum(dim=(1, 2, 3)) == batch.has_masks).all()
    unmasked = SliceDataset(masked_dataset, masked_dataset.records[1:], None, masks=True, seed=0)
    (batch,) = EpochBatches(unmasked, Stage1Config(batch_size=8)).of_epoch(0)
    assert batch.occupancy.shape == (8, 6, 0, 0)
    assert not batch.has_masks.any()


def test_a_transform_moves_slices_and_masks_together(masked_dataset: Dataset) -> None:
    flipped = msgspec.structs.replace(STILL, flip=1.0)
    slices = SliceDataset(masked_dataset, masked_dataset.records, flipped, masks=True, seed=0)
    occupancy = item_of(slices, 1).occupancy
    assert occupancy is not None
    assert np.argwhere(occupancy > 0.99).tolist() == [[0, 0, CELLS - 2]]
