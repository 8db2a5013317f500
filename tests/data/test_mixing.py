from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from slicewise.data.batches import SliceBatch
from slicewise.data.mixing import mix
from slicewise.task import OCCUPANCY_STRIDE

SLICES, CELLS = 5, 5
SIZE = CELLS * OCCUPANCY_STRIDE
METHODS = pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
SEEDS = pytest.mark.parametrize("seed", range(6))


def make_batch(weights: tuple[float, ...] = (1.0,) * SLICES) -> SliceBatch:
    """Channel i, and label i of the occupancy, is 1 in slice i and 0 elsewhere: it tells where that slice went."""
    own = torch.eye(SLICES)[:, :, None, None]
    return SliceBatch(
        channels=own.expand(-1, -1, SIZE, SIZE).clone(),
        labels=torch.randint(2, (SLICES, 4), generator=torch.Generator().manual_seed(0)).float(),
        known=torch.ones(SLICES, 4, dtype=torch.bool),
        weights=torch.tensor(weights),
        occupancy=own.expand(-1, -1, CELLS, CELLS).clone(),
        has_masks=torch.ones(SLICES, dtype=torch.bool),
    )


def mixed(batch: SliceBatch, seed: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> SliceBatch:
    return mix(batch, np.random.default_rng(seed), mixup=mixup, cutmix=cutmix)


def shares(result: SliceBatch) -> Tensor:
    """How much of every slice of the batch (columns) is in every slice of the result (rows)."""
    return result.channels.mean(dim=(2, 3))


def pairs(result: SliceBatch) -> Iterator[tuple[int, int]]:
    """Slices of the result that are made of two, and the other one of the two."""
    for index, row in enumerate(shares(result)):
        others = [other for other in np.flatnonzero(row.numpy()).tolist() if other != index]
        assert len(others) <= 1
        yield from ((index, other) for other in others)


def is_patchwork(result: SliceBatch) -> bool:
    return bool(((result.channels == 0) | (result.channels == 1)).all())


def test_without_either_nothing_happens() -> None:
    batch, rng = make_batch(), np.random.default_rng(0)
    assert mix(batch, rng, mixup=0.0, cutmix=0.0) is batch
    assert rng.random() == np.random.default_rng(0).random()


def test_mixup_blends_two_slices_by_one_share() -> None:
    batch = make_batch()
    result = mixed(batch, 3, mixup=1.0)
    mixtures = list(pairs(result))
    assert len(mixtures) >= 2
    share = shares(result)[mixtures[0][0], mixtures[0][0]]
    assert 0.05 < share < 0.95
    for index, partner in mixtures:
        for name in ("channels", "labels", "occupancy"):
            own, other = (getattr(batch, name)[row] for row in (index, partner))
            torch.testing.assert_close(getattr(result, name)[index], share * own + (1 - share) * other)
    torch.testing.assert_close(result.weights, torch.ones(SLICES))


@SEEDS
def test_cutmix_pastes_one_rectangle_of_whole_cells_into_slices_and_occupancy(seed: int) -> None:
    result = mixed(make_batch(), seed, cutmix=1.0)
    assert is_patchwork(result)
    fine = result.occupancy.repeat_interleave(OCCUPANCY_STRIDE, dim=2).repeat_interleave(OCCUPANCY_STRIDE, dim=3)
    assert torch.equal(result.channels, fine)
    pasted = [result.occupancy[index, partner] == 1 for index, partner in pairs(result)]
    for region in pasted:
        assert torch.equal(region, pasted[0])
        assert torch.equal(region, region.any(dim=1)[:, None] & region.any(dim=0)[None])


@METHODS
@SEEDS
def test_labels_are_shared_as_the_pixels_are(seed: int, mixup: float, cutmix: float) -> None:
    batch = make_batch()
    result = mixed(batch, seed, mixup=mixup, cutmix=cutmix)
    torch.testing.assert_close(result.labels, shares(result) @ batch.labels)


def test_either_slice_counts_by_its_weight() -> None:
    weights = (1.0, 2.0, 3.0, 4.0, 5.0)
    batch = make_batch(weights)
    result = mixed(batch, 3, mixup=1.0)
    for index, partner in pairs(result):
        own, other = (shares(result)[index, row].item() * weights[row] for row in (index, partner))
        expected = (own * batch.labels[index] + other * batch.labels[partner]) / (own + other)
        torch.testing.assert_close(result.labels[index], expected)
        assert result.weights[index].item() == pytest.approx(own + other)


@METHODS
@SEEDS
def test_mixing_leaves_the_weighted_frequencies_of_the_labels(seed: int, mixup: float, cutmix: float) -> None:
    batch = make_batch((0.5, 1.0, 3.0, 3.0, 10.0))
    result = mixed(batch, seed, mixup=mixup, cutmix=cutmix)
    torch.testing.assert_close(result.weights @ result.labels, batch.weights @ batch.labels)
    assert result.weights.sum().item() == pytest.approx(17.5)


@METHODS
def test_what_one_of_the_two_does_not_know_is_unknown(mixup: float, cutmix: float) -> None:
    batch = make_batch()
    batch.known[0, 1] = batch.known[2, 3] = batch.has_masks[4] = False
    checked = 0
    for seed in range(6):
        result = mixed(batch, seed, mixup=mixup, cutmix=cutmix)
        for index, partner in pairs(result):
            assert torch.equal(result.known[index], batch.known[index] & batch.known[partner])
            assert result.has_masks[index] == (4 not in {index, partner})
            checked += 1
    assert checked >= 10


@METHODS
def test_slices_without_masks_keep_their_empty_occupancy(mixup: float, cutmix: float) -> None:
    batch = make_batch()
    bare = SliceBatch(
        channels=batch.channels,
        labels=batch.labels,
        known=batch.known,
        weights=batch.weights,
        occupancy=torch.zeros(SLICES, 4, 0, 0),
        has_masks=torch.zeros(SLICES, dtype=torch.bool),
    )
    result = mixed(bare, 1, mixup=mixup, cutmix=cutmix)
    assert result.occupancy.shape == (SLICES, 4, 0, 0)
    assert not result.has_masks.any()


@pytest.mark.parametrize("parameter", [0.2, 4.0])
def test_shares_of_mixup_have_the_spread_of_their_beta_distribution(parameter: float) -> None:
    batch = make_batch()
    found = []
    for seed in range(300):
        result = mixed(batch, seed, mixup=parameter)
        found += [shares(result)[index, index].item() for index, _ in list(pairs(result))[:1]]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)
    assert np.std(found) == pytest.approx((4 * (2 * parameter + 1)) ** -0.5, rel=0.15)


def test_half_of_a_slice_is_pasted_on_average() -> None:
    batch = make_batch()
    pasted = [1 - shares(mixed(batch, seed, cutmix=1.0)).diagonal().min().item() for seed in range(300)]
    assert np.mean(pasted) == pytest.approx(0.5, abs=0.05)
    assert np.std(pasted) > 0.2


def test_with_both_a_coin_decides() -> None:
    batch = make_batch()
    patchworks = [is_patchwork(mixed(batch, seed, mixup=1.0, cutmix=1.0)) for seed in range(200)]
    assert np.mean(patchworks) == pytest.approx(0.5, abs=0.1)


def test_the_batch_itself_stays_as_it_is() -> None:
    batch = make_batch()
    for seed in range(4):
        mixed(batch, seed, mixup=1.0, cutmix=1.0)
    for name, values in vars(make_batch()).items():
        assert torch.equal(getattr(batch, name), values), name
