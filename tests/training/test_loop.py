from __future__ import annotations

import csv
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import torch
from torch import Tensor, nn

from slicewise.config import FusionConfig, HardwareConfig
from slicewise.errors import TrainingError
from slicewise.training.hardware import one_cpu, resolve_hardware
from slicewise.training.loop import Stage, fit
from slicewise.training.metrics_log import read_log

STEPS, EPOCHS, SAMPLES = 5, 3, 16
Item = TypeVar("Item")


def make_stage(
    *, fail_at: int | None = None, dropout: float = 0.5, keep_best: bool = False, **changes: Any
) -> Stage[Tensor]:
    """A network that learns to sum four numbers."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.ReLU(), nn.Linear(8, 1))
    schedule = FusionConfig(epochs=EPOCHS, learning_rate=1e-2, **changes)
    steps = 0

    def batches(epoch: int, first: int) -> Iterator[Tensor]:
        for step in range(first, STEPS):
            batch = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(100 * epoch + step))
            yield from batch.chunk(schedule.accumulate)

    def totals(batch: Tensor) -> Tensor:
        return torch.tensor([float(len(batch))])

    def loss(network: nn.Module, batch: Tensor, totals: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        error: Tensor = (network(batch)[:, 0] - batch.sum(dim=1)).square().sum() / totals[0]
        return error * float("nan") if steps == fail_at else error

    def validate(network: nn.Module) -> dict[str, float]:
        batch = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return {"weighted_log_loss": float((network(batch)[:, 0] - batch.sum(dim=1)).square().mean())}

    return Stage(
        name="Toy",
        network=network,
        batches=batches,
        steps=STEPS,
        batch_size=SAMPLES,
        unit="sample",
        totals=totals,
        loss=loss,
        schedule=schedule,
        validate=validate,
        keep_best=keep_best,
    )


def train(stage: Stage[Tensor], folder: Path, *, seed: int = 1, stop_after: int | None = None) -> dict[str, Tensor]:
    def interrupting(items: Iterable[Item], **_: object) -> Iterator[Item]:
        for count, item in enumerate(items, start=1):
            yield item
            if count == stop_after:
                raise KeyboardInterrupt

    # A checkpoint after every step: an interruption may come anywhere.
    fit(stage, hardware=one_cpu(), seed=seed, folder=folder, checkpoint_minutes=0, progress=interrupting)
    return stage.network.state_dict()


def untimed(path: Path) -> list[tuple[str, str, str]]:
    with path.open() as stream:
        return [(row["step"], row["loss"], row["gradient_norm"]) for row in csv.DictReader(stream)]


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
    assert untimed(tmp_path / "cut" / "steps.csv") == untimed(tmp_path / "whole" / "steps.csv")


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


@pytest.mark.parametrize(("steps", "warmup"), [(9, 0.1), (19, 0.05), (1, 0.5), (7, 0.0)])
def test_any_warmup_fits_any_number_of_steps(tmp_path: Path, steps: int, warmup: float) -> None:
    train(make_stage(steps=steps, warmup=warmup), tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == steps


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    train(make_stage(), tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["best"]
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match="cannot be read: 'best'"):
        train(make_stage(), tmp_path)


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    stage = make_stage()
    calls = itertools.count(1)

    def loss(network: nn.Module, batch: Tensor, totals: Tensor) -> Tensor:
        value = stage.loss(network, batch, totals)
        # Finite itself, with an infinite slope.
        return value + torch.sqrt(value - value.detach()) if next(calls) == 3 else value

    with pytest.raises(TrainingError, match="gradient of norm"):
        train(replace(stage, loss=loss), tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 2
    assert all(torch.isfinite(values).all() for values in saved["network"].values())


def test_a_step_in_parts_is_the_step(tmp_path: Path) -> None:
    whole = train(make_stage(dropout=0), tmp_path / "whole")
    parts = train(make_stage(dropout=0, accumulate=4), tmp_path / "parts")
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)


def test_a_gradient_is_clipped_to_the_norm_that_is_set(tmp_path: Path) -> None:
    before = make_stage().network.state_dict()
    moved = []
    for number, clip in enumerate((0.0, 1e-12)):
        # Adam does not see the length of a gradient, but its epsilon does.
        after = train(make_stage(gradient_clip=clip, weight_decay=0), tmp_path / str(number))
        moved.append(max(float((after[name] - before[name]).abs().max()) for name in before))
    assert moved[0] > 1e-2
    assert moved[1] < 1e-4


def test_the_moving_average_is_what_its_definition_gives(tmp_path: Path) -> None:
    decay, seen = 0.6, []
    stage = make_stage(ema=decay)
    plain = make_stage()

    def record(items: Iterable[Item], **_: object) -> Iterator[Item]:
        for item in items:
            seen.append({name: values.clone() for name, values in plain.network.state_dict().items()})
            yield item

    fit(plain, hardware=one_cpu(), seed=1, folder=tmp_path / "plain", checkpoint_minutes=9, progress=record)
    averaged = train(stage, tmp_path / "average")
    expected = seen[0]  # the first update takes the weights as they are
    for number, weights in enumerate(seen[1:], start=1):
        kept = min(decay, (1 + number) / (10 + number))
        expected = {name: kept * expected[name] + (1 - kept) * weights[name] for name in weights}
    for name, values in averaged.items():
        torch.testing.assert_close(values, expected[name])


@pytest.mark.parametrize("stop_after", [4, 7])
def test_a_run_with_all_options_resumes_to_the_same_weights(tmp_path: Path, stop_after: int) -> None:
    options: dict[str, Any] = {"ema": 0.9, "accumulate": 2, "keep_best": True, "gradient_clip": 0.5}
    whole = train(make_stage(**options), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_stage(**options), tmp_path / "cut", stop_after=stop_after)
    assert same(train(make_stage(**options), tmp_path / "cut"), whole)


def test_the_best_weights_can_be_kept(tmp_path: Path) -> None:
    # A rate so high that the last epoch is not the best one.
    stage = make_stage(keep_best=True, dropout=0)
    stage = replace(stage, schedule=msgspec.structs.replace(stage.schedule, learning_rate=1.0, epochs=6))
    train(stage, tmp_path)
    scores = read_log(tmp_path / "log.csv")["validation_weighted_log_loss"]
    assert scores[-1] > min(scores)
    assert stage.validate is not None
    assert stage.validate(stage.network)["weighted_log_loss"] == pytest.approx(min(scores), rel=1e-5)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, 0

    def failing(state: object, path: Path) -> None:
        nonlocal saved
        saved += 1
        if saved == 3:
            path.write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        save(state, path)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot be written: .* go on with --resume"):
        train(make_stage(), tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    assert same(train(make_stage(), tmp_path), train(make_stage(), tmp_path / "whole"))


def test_compiled_networks_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without code generation, which takes most of a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    hardware = resolve_hardware(HardwareConfig(device="cpu", precision="float32", compile=True))
    compiled, plain = make_stage(dropout=0), make_stage(dropout=0)
    fit(compiled, hardware=hardware, seed=1, folder=tmp_path / "compiled", checkpoint_minutes=9)
    assert same(compiled.network.state_dict(), train(plain, tmp_path / "plain"))


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
    stage = replace(make_stage(), validate=None)  # which runs in full precision, as prediction does
    seen: list[torch.dtype] = []
    stage.network[0].register_forward_hook(_record_dtype(seen))  # type: ignore[index]  # a Sequential
    fit(
        stage,
        hardware=resolve_hardware(HardwareConfig(device="cpu", precision="bfloat16")),
        seed=0,
        folder=tmp_path,
        checkpoint_minutes=1,
    )
    assert set(seen) == {torch.bfloat16}


def _record_dtype(seen: list[torch.dtype]) -> Callable[[nn.Module, object, Tensor], None]:
    return lambda _module, _inputs, output: seen.append(output.dtype)
