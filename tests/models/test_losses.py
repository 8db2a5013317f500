from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch import Tensor

from slicewise.models.losses import bce_total, occupancy_loss, series_logits, smooth, weighted_bce

Array = npt.NDArray[np.float64]


def loss_of_batch(logits: Tensor, targets: Tensor, known: Tensor, label_weights: Tensor, row_weights: Tensor) -> Tensor:
    total = bce_total(known, label_weights, row_weights)
    return weighted_bce(logits, targets, known, label_weights, row_weights, total=total)


def test_it_is_the_weighted_mean_of_the_log_losses() -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=(50, 3)), generator.integers(0, 2, size=(50, 3))
    weights, rows = np.array([2.0, 1.0, 1.0]), generator.uniform(0.5, 2, size=50)
    probabilities = 1 / (1 + np.exp(-logits))
    expected = (
        sum(
            weight * log_loss(targets[:, label], probabilities[:, label], sample_weight=rows, labels=[0, 1])
            for label, weight in enumerate(weights)
        )
        / weights.sum()
    )
    loss = loss_of_batch(
        torch.from_numpy(logits),
        torch.from_numpy(targets).double(),
        torch.ones(50, 3, dtype=torch.bool),
        torch.from_numpy(weights),
        torch.from_numpy(rows),
    )
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_unknown_labels_change_neither_loss_nor_gradient() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, float("nan")]], requires_grad=True)
    known = torch.tensor([[True, True], [True, False]])
    arguments = (torch.tensor([2.0, 1.0]), torch.ones(2))
    losses = [
        loss_of_batch(logits, torch.tensor([[1.0, 0.0], [0.0, unknown]]), known, *arguments) for unknown in (0.0, 1.0)
    ]
    assert losses[0] == losses[1]
    assert torch.isfinite(losses[0])
    losses[0].backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert logits.grad is not None
    assert logits.grad[1, 1] == 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[known] != 0).all()


def test_nothing_known_gives_zero() -> None:
    loss = loss_of_batch(
        torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool), torch.ones(2), torch.ones(2)
    )
    assert loss == 0


def test_the_total_is_what_all_known_labels_weigh() -> None:
    known = torch.tensor([[True, True, False], [False, True, True]])
    total = bce_total(known, torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 0.5]))
    assert total.item() == (2 + 1) * 1.0 + (1 + 1) * 0.5


@given(st.integers(0, 2**32), st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_losses_of_parts_add_up_to_the_loss_of_the_batch(seed: int, sizes: list[int]) -> None:
    generator, rows = np.random.default_rng(seed), sum(sizes)
    shape = (rows, 4, 3)  # as in stage 2: series, slices, labels
    batch = (
        torch.from_numpy(generator.normal(size=shape)),
        torch.from_numpy(generator.uniform(size=shape)),
        torch.from_numpy(generator.random(shape) < 0.7),
    )
    label_weights = torch.from_numpy(generator.uniform(0.5, 2, 3))
    row_weights = torch.from_numpy(generator.uniform(0.2, 5, shape[:-1]))
    total = bce_total(batch[2], label_weights, row_weights)
    found = 0.0
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        logits, targets, known = (values[start : start + size] for values in batch)
        weights = row_weights[start : start + size]
        found += weighted_bce(logits, targets, known, label_weights, weights, total=total).item()
    whole = loss_of_batch(*batch, label_weights, row_weights)
    assert found == pytest.approx(whole.item(), rel=1e-9, abs=1e-12)


def test_smoothing_draws_targets_to_one_half() -> None:
    targets = torch.tensor([0.0, 1.0, 0.5, 0.25])
    assert smooth(targets, 0.2).tolist() == pytest.approx([0.1, 0.9, 0.5, 0.3])
    assert torch.equal(smooth(targets, 0.0), targets)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


@given(st.integers(0, 2**32), st.floats(0.0, 30.0), st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_logits_of_a_series_lie_between_mean_and_maximum(seed: int, spread: float, lengths: list[int]) -> None:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(spread * generator.normal(size=(len(lengths), max(lengths), 2)))
    found = series_logits(logits, mask_of(lengths))
    assert found.shape == (len(lengths), 2)
    for row, length in enumerate(lengths):
        slices = logits[row, :length]
        assert (found[row] >= slices.mean(dim=0) - 1e-9).all()
        assert (found[row] <= slices.amax(dim=0) + 1e-9).all()


def test_logits_of_a_series_weigh_slices_by_their_softmax() -> None:
    logits = np.array([-1.0, 2.0, 0.5])
    weights = np.exp(logits) / np.exp(logits).sum()
    found = series_logits(torch.from_numpy(logits)[None, :, None], torch.ones(1, 3, dtype=torch.bool))
    assert found.item() == pytest.approx((weights * logits).sum(), rel=1e-12)
    # Where one slice stands out it decides alone.
    assert series_logits(torch.tensor([[[-9.0], [30.0], [2.0]]]), torch.ones(1, 3, dtype=torch.bool)).item() == 30.0


@pytest.mark.parametrize("padding", [0.0, 1e30, -1e30, float("nan"), float("inf"), -float("inf")])
def test_padding_changes_neither_the_logits_of_a_series_nor_their_gradient(padding: float) -> None:
    slices = torch.tensor([[[0.3, -2.0], [1.5, 0.0]]])
    alone = slices.clone().requires_grad_()
    padded = torch.cat([slices, torch.full((1, 3, 2), padding)], dim=1).requires_grad_()
    expected, found = series_logits(alone, mask_of([2])), series_logits(padded, mask_of([2, 5])[:1])
    assert torch.equal(found, expected)
    for values in (expected, found):
        values.sum().backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert alone.grad is not None
    assert padded.grad is not None
    torch.testing.assert_close(padded.grad[:, :2], alone.grad, rtol=0, atol=0)
    assert (padded.grad[:, 2:] == 0).all()


def test_a_series_of_one_slice_has_its_logits() -> None:
    logits = torch.tensor([[[0.7, -3.0], [9.0, 9.0]]])
    assert torch.equal(series_logits(logits, mask_of([1, 2])[:1]), logits[:, 0])


def test_the_label_of_a_series_teaches_several_slices_the_highest_most() -> None:
    logits = torch.tensor([[[1.0], [0.8], [0.0], [5.0]]], requires_grad=True)
    highest = series_logits(logits, mask_of([3, 4])[:1])
    loss = loss_of_batch(highest, torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.ones(1), torch.ones(1))
    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert logits.grad is not None
    pull = -logits.grad[0, :, 0]
    assert pull[0] > pull[1] > 0
    assert pull[0] > pull[2].abs()
    assert pull[3] == 0


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def dice_loss(maps: Array, occupancy: Array) -> float:
    """Mean over the labels (axis 1) of 1 - (2 overlap + 1) / (sum of both + 1)."""
    shares = sigmoid(maps)
    overlap = (shares * occupancy).sum(axis=(0, 2, 3))
    sums = shares.sum(axis=(0, 2, 3)) + occupancy.sum(axis=(0, 2, 3))
    return float(np.mean(1 - (2 * overlap + 1) / (sums + 1)))


def cross_entropy(maps: Array, occupancy: Array) -> float:
    shares = sigmoid(maps)
    return float(-(occupancy * np.log(shares) + (1 - occupancy) * np.log(1 - shares)).mean())


def loss_of_maps(maps: Tensor, occupancy: Tensor, has_masks: Tensor) -> Tensor:
    return occupancy_loss(maps, occupancy, has_masks, torch.tensor(float(len(maps))))


def test_the_loss_of_maps_is_cross_entropy_and_dice() -> None:
    generator = np.random.default_rng(0)
    maps, occupancy = generator.normal(size=(3, 2, 4, 4)), generator.uniform(size=(3, 2, 4, 4))
    loss = loss_of_maps(torch.from_numpy(maps), torch.from_numpy(occupancy), torch.ones(3, dtype=torch.bool))
    expected = 8 * cross_entropy(maps, occupancy) + 0.3 * dice_loss(maps, occupancy)
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_cross_entropies_of_maps_of_parts_add_up() -> None:
    generator = np.random.default_rng(0)
    maps, occupancy = generator.normal(size=(6, 2, 4, 4)), generator.uniform(size=(6, 2, 4, 4))
    has_masks = np.array([True, False, True, True, False, False])
    found = 0.0
    for start in (0, 2, 4):  # the last part has no masks at all
        part = slice(start, start + 2)
        logits, shares, masked = (torch.from_numpy(values[part]) for values in (maps, occupancy, has_masks))
        found += occupancy_loss(logits, shares, masked, torch.tensor(6.0)).item()
        if has_masks[part].any():
            rows = np.flatnonzero(has_masks[part]) + start
            found -= len(rows) / 6 * 0.3 * dice_loss(maps[rows], occupancy[rows])
    assert found == pytest.approx(3 / 6 * 8 * cross_entropy(maps[has_masks], occupancy[has_masks]), rel=1e-6)


def test_slices_without_masks_do_not_enter_the_loss_of_maps() -> None:
    maps = torch.randn(2, 1, 3, 3, requires_grad=True)
    occupancy = torch.rand(2, 1, 3, 3)
    loss = loss_of_maps(maps, occupancy, torch.tensor([True, False]))
    alone = loss_of_maps(maps[:1], occupancy[:1], torch.tensor([True]))
    torch.testing.assert_close(loss, 0.5 * alone)
    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert maps.grad is not None
    assert (maps.grad[0] != 0).all()
    assert (maps.grad[1] == 0).all()
    assert loss_of_maps(maps, occupancy, torch.tensor([False, False])) == 0
