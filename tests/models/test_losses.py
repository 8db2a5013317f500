from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from slicewise.models.losses import occupancy_loss, weighted_bce


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
    loss = weighted_bce(
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
        weighted_bce(logits, torch.tensor([[1.0, 0.0], [0.0, unknown]]), known, *arguments) for unknown in (0.0, 1.0)
    ]
    assert losses[0] == losses[1]
    assert torch.isfinite(losses[0])
    losses[0].backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert logits.grad is not None
    assert logits.grad[1, 1] == 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[known] != 0).all()


def test_nothing_known_gives_zero() -> None:
    loss = weighted_bce(
        torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool), torch.ones(2), torch.ones(2)
    )
    assert loss == 0


def test_the_loss_of_maps_is_cross_entropy_and_dice() -> None:
    generator = np.random.default_rng(0)
    maps, occupancy = generator.normal(size=(3, 2, 4, 4)), generator.uniform(size=(3, 2, 4, 4))
    shares = 1 / (1 + np.exp(-maps))
    cross_entropy = -(occupancy * np.log(shares) + (1 - occupancy) * np.log(1 - shares)).mean()
    dice = [
        1
        - (2 * (shares[:, label] * occupancy[:, label]).sum() + 1)
        / (shares[:, label].sum() + occupancy[:, label].sum() + 1)
        for label in range(2)
    ]
    loss = occupancy_loss(torch.from_numpy(maps), torch.from_numpy(occupancy), torch.ones(3, dtype=torch.bool))
    assert float(loss) == pytest.approx(8 * cross_entropy + 0.3 * np.mean(dice), rel=1e-9)


def test_slices_without_masks_do_not_enter_the_loss_of_maps() -> None:
    maps = torch.randn(2, 1, 3, 3, requires_grad=True)
    occupancy = torch.rand(2, 1, 3, 3)
    loss = occupancy_loss(maps, occupancy, torch.tensor([True, False]))
    alone = occupancy_loss(maps[:1], occupancy[:1], torch.tensor([True]))
    torch.testing.assert_close(loss, 0.5 * alone)
    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert maps.grad is not None
    assert (maps.grad[0] != 0).all()
    assert (maps.grad[1] == 0).all()
    assert occupancy_loss(maps, occupancy, torch.tensor([False, False])) == 0
