from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.errors import TrainingError
from slicewise.training.hardware import Hardware
from slicewise.training.loop import Stage, fit

CPU = Hardware(torch.device("cpu"), torch.float32)
STEPS, EPOCHS = 5, 3
Item = TypeVar("Item")


def make_stage(*, fail_at: int | None = None) -> Stage[Tensor]:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
    steps = 0

    def batches(epoch: int, first: int) -> Iterator[Tensor]:
        for step in range(first, STEPS):
            yield torch.randn(16, 4, generator=torch.Generator().manual_seed(100 * epoch + step))

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        error: Tensor = (network(batch)[:, 0] - batch.sum(dim=1)).square().mean()
        return error * float("nan") if steps == fail_at else error

    return Stage("Toy", network, batches, STEPS, loss, FusionConfig(epochs=EPOCHS, learning_rate=1e-2))


def train(stage: Stage[Tensor], folder: Path, *, seed: int = 1, stop_after: int | None = None) -> dict[str, Tensor]:
    def interrupting(items: Iterable[Item], **_: object) -> Iterator[Item]:
        for count, item in enumerate(items, start=1):
            yield item
            if count == stop_after:
                raise KeyboardInterrupt

    # A checkpoint after every step: an interruption may come anywhere.
    fit(stage, hardware=CPU, seed=seed, folder=folder, checkpoint_minutes=0, progress=interrupting)
    return stage.network.state_dict()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_a_seed_repeats_a_run_bit_for_bit(tmp_path: Path) -> None:
    first, second = train(make_stage(), tmp_path / "a"), train(make_stage(), tmp_path / "b")
    assert same(first, second)
    assert not same(first, train(make_stage(), tmp_path / "c", seed=2))


@pytest.mark.parametrize("stop_after", [1, 4, 5, 6, 11, 15])
def test_an_interrupted_run_reaches_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    whole = train(make_stage(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_stage(), tmp_path / "cut", stop_after=stop_after)
    assert same(train(make_stage(), tmp_path / "cut"), whole)
    assert (tmp_path / "cut" / "log.csv").read_text() == (tmp_path / "whole" / "log.csv").read_text()


def test_training_learns_and_logs_every_epoch(tmp_path: Path) -> None:
    train(make_stage(), tmp_path)
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [5, 10, 15]
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < losses[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Toy: the loss became nan at step 7"):
        train(make_stage(fail_at=7), tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 6
    assert all(torch.isfinite(values).all() for values in state["network"].values())


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: the checkpoint cannot be read"):
        train(make_stage(), tmp_path)


def test_the_random_state_of_the_caller_is_untouched(tmp_path: Path) -> None:
    stage = make_stage()
    before = torch.get_rng_state()
    train(stage, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_trains_too(tmp_path: Path) -> None:
    stage = make_stage()
    seen: list[torch.dtype] = []
    stage.network[0].register_forward_hook(_record_dtype(seen))  # type: ignore[index]  # a Sequential
    fit(
        stage,
        hardware=Hardware(torch.device("cpu"), torch.bfloat16),
        seed=0,
        folder=tmp_path,
        checkpoint_minutes=1,
    )
    assert set(seen) == {torch.bfloat16}


def _record_dtype(seen: list[torch.dtype]) -> Callable[[nn.Module, object, Tensor], None]:
    return lambda _module, _inputs, output: seen.append(output.dtype)
