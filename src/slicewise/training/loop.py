"""The training loop of both stages: seeded, checkpointed, resumable, with progress."""

from __future__ import annotations

import csv
import pickle  # for the exception alone: torch.load runs with weights_only
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from slicewise.errors import TrainingError
from slicewise.files import write_atomically
from slicewise.progress import Progress, no_progress
from slicewise.training.hardware import Hardware

LARGEST_GRADIENT_NORM = 1.0

Batch = TypeVar("Batch")


class Schedule(Protocol):
    """What a stage's configuration says about its optimisation."""

    @property
    def epochs(self) -> int:
        """Passes over the training data."""
        ...

    @property
    def learning_rate(self) -> float:
        """Peak of the one-cycle schedule."""
        ...

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW."""
        ...

    @property
    def warmup(self) -> float:
        """Share of the steps in which the learning rate rises."""
        ...


@dataclass(frozen=True)
class Stage(Generic[Batch]):
    """One training stage.

    Attributes:
        name: For progress, log and checkpoint.
        network: What is trained, in place.
        batches: From (epoch, first step) to the batches of that epoch from that step on; the same each time.
        steps: Steps of every epoch.
        loss: From network and batch to the loss, a scalar.
        schedule: Epochs and learning rate.
    """

    name: str
    network: nn.Module
    batches: Callable[[int, int], Iterator[Batch]]
    steps: int
    loss: Callable[[nn.Module, Batch], Tensor]
    schedule: Schedule


def fit(
    stage: Stage[Batch],
    *,
    hardware: Hardware,
    seed: int,
    folder: Path,
    checkpoint_minutes: float,
    progress: Progress = no_progress,
) -> None:
    """Trains a network with AdamW and a one-cycle cosine schedule.

    A checkpoint is written after every epoch and every `checkpoint_minutes`; if there is one, training goes on from it
    and reaches the same weights as without the interruption.

    Args:
        stage: What is trained and how.
        hardware: Device and precision.
        seed: Seeds dropout and noise.
        folder: Gets `checkpoint.pt` and `log.csv`.
        checkpoint_minutes: Longest training time that an interruption can cost.
        progress: Reports on the steps.

    Raises:
        TrainingError: If the loss is not finite; the last checkpoint is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    devices = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        _Trainer(stage, hardware, folder, checkpoint_minutes).run(progress)


class _Trainer(Generic[Batch]):
    def __init__(self, stage: Stage[Batch], hardware: Hardware, folder: Path, checkpoint_minutes: float) -> None:
        self.stage = stage
        self.hardware = hardware
        self.folder = folder
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.network = stage.network.to(hardware.device).train()
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.network, stage.schedule.weight_decay))
        self.total = stage.schedule.epochs * stage.steps
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=stage.schedule.learning_rate,
            total_steps=self.total + 1,
            pct_start=stage.schedule.warmup,
            cycle_momentum=False,
        )
        self.step = 0
        self.epoch_loss = 0.0
        self.saved = time.monotonic()

    def run(self, progress: Progress) -> None:
        self._restore()
        steps = progress(self._steps(), description=self.stage.name, total=self.total, unit="step", initial=self.step)
        for _ in steps:
            ended_epoch = self.step % self.stage.steps == 0
            if ended_epoch:
                self._log()
            if ended_epoch or time.monotonic() - self.saved > self.checkpoint_seconds:
                self._save()
        self.network.eval()

    def _steps(self) -> Iterator[int]:
        while self.step < self.total:
            epoch, first = divmod(self.step, self.stage.steps)
            for batch in self.stage.batches(epoch, first):
                self._train_on(batch)
                yield self.step

    def _train_on(self, batch: Batch) -> None:
        with self.hardware.autocast:
            loss = self.stage.loss(self.network, batch)
        value = float(loss.detach())
        if not torch.isfinite(loss):
            raise TrainingError(
                f"{self.stage.name}: the loss became {value} at step {self.step + 1}. The last checkpoint is kept in "
                f"{self.folder}. Lower the learning rate or look at the input"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT_NORM)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.epoch_loss += value

    def _log(self) -> None:
        path = self.folder / "log.csv"
        row = {
            "epoch": self.step // self.stage.steps,
            "step": self.step,
            "loss": round(self.epoch_loss / self.stage.steps, 6),
            "learning_rate": self.scheduler.get_last_lr()[0],
        }
        # Rows after the last checkpoint are written again by the run that resumes.
        kept = [item for item in _read_log(path) if int(item["epoch"]) < row["epoch"]]
        with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
            writer.writerows([*kept, row])
        self.epoch_loss = 0.0

    def _save(self) -> None:
        state = {
            "step": self.step,
            "epoch_loss": self.epoch_loss,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.hardware.device.type == "cuda" else None,
        }
        with write_atomically(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)
        self.saved = time.monotonic()

    def _restore(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        try:
            # weights_only: a checkpoint is data and cannot run code.
            state = torch.load(path, map_location=self.hardware.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{path}: the checkpoint cannot be read: {error}. Remove it to start again") from error
        self.step, self.epoch_loss = state["step"], state["epoch_loss"]
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.hardware.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    # Vectors (biases, norms) are not decayed.
    matrices = [values for values in network.parameters() if values.ndim >= 2]
    vectors = [values for values in network.parameters() if values.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _read_log(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
