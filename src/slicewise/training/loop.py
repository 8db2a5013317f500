"""The training loop of both stages: seeded, checkpointed, resumable, on one device or many.

A step shows `batch_size` samples whatever the number of devices: every process works through its parts of the batch and
the losses are sums over what the whole batch weighs, so that the gradient does not depend on how a batch is cut. What
does: batch normalisation, mixing and the Dice loss of maps see one part at a time.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from slicewise.config import ScheduleConfig
from slicewise.errors import TrainingError
from slicewise.progress import Progress, no_progress
from slicewise.training.averaging import moving_average
from slicewise.training.checkpoint import BEST, load_checkpoint, load_weights, save_checkpoint, save_weights
from slicewise.training.curves import draw_curves
from slicewise.training.hardware import Hardware
from slicewise.training.metrics_log import MetricsLog

Batch = TypeVar("Batch")

STEPS_A_ROW = 10
"""Steps from one row of `steps.csv` to the next."""

SECONDS_BETWEEN_CURVES = 60.0
"""Drawing takes as long as many epochs of stage 2."""

VALIDATION_SCORE = "weighted_log_loss"
"""What decides which weights are the best: the lowest of this value of `Stage.validate`."""

# A GPU that is asked for the loss after every step waits for it.
_STEPS_A_CHECK = {"cpu": 1, "cuda": 16}


@dataclass(frozen=True)
class Stage(Generic[Batch]):
    """One training stage.

    Attributes:
        name: For progress, log and checkpoint.
        network: What is trained, in place.
        batches: From (epoch, first step) to the parts of batches that this process works through in that epoch from
            that step on, `accumulate` for every step; the same each time.
        steps: Steps of every epoch.
        batch_size: Samples of every step.
        unit: What a sample is.
        totals: From a part of a batch to what each term of the loss is divided by, shape (T,); summed over all parts
            and processes before `loss` gets it.
        loss: From network, part and the totals of the whole batch to the share of the loss that this part adds.
        schedule: Epochs, learning rate and the like.
        validate: From a network in evaluation mode to what it scores on patients that it is not trained on.
        keep_best: Whether the network ends with the weights of the epoch that scored best, instead of the last ones.
    """

    name: str
    network: nn.Module
    batches: Callable[[int, int], Iterator[Batch]]
    steps: int
    batch_size: int
    unit: str
    totals: Callable[[Batch], Tensor]
    loss: Callable[[nn.Module, Batch, Tensor], Tensor]
    schedule: ScheduleConfig
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None
    keep_best: bool = False


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
        hardware: Devices and precision.
        seed: Seeds dropout and noise, anew for every step: there is no state of random numbers to keep.
        folder: Gets `checkpoint.pt`, `best.safetensors`, `steps.csv`, `log.csv`, `curves.png`, `tensorboard`.
        checkpoint_minutes: Longest training time that an interruption can cost.
        progress: Reports on the steps.

    Raises:
        TrainingError: If the loss is not finite or a file cannot be written; the last checkpoint is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    devices = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        _Trainer(stage, hardware, seed, folder, checkpoint_minutes).run(progress)


class _Trainer(Generic[Batch]):
    def __init__(
        self, stage: Stage[Batch], hardware: Hardware, seed: int, folder: Path, checkpoint_minutes: float
    ) -> None:
        schedule = stage.schedule
        self.stage, self.schedule, self.hardware, self.seed, self.folder = stage, schedule, hardware, seed, folder
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.network = stage.network.to(hardware.device).train()
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.network, schedule.weight_decay))
        self.total = schedule.steps or schedule.epochs * stage.steps
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=schedule.learning_rate,
            total_steps=self.total + 1,
            pct_start=_warmup(schedule.warmup, self.total + 1),
            cycle_momentum=False,
        )
        self.average = moving_average(self.network, schedule.ema) if schedule.ema > 0 else None
        self.step = 0
        self.best = float("inf")
        self.epoch_loss = torch.zeros((), device=hardware.device)
        self.gradient_norm = torch.zeros((), device=hardware.device)
        self.clock = _Clock()

    def run(self, progress: Progress) -> None:
        self._restore()
        module = self.network
        if self.hardware.compile:
            module = cast("nn.Module", torch.compile(module))
        self.module, self.updater = self.hardware.fabric.setup(module, self.optimizer)
        if self.hardware.is_first:
            with MetricsLog(self.folder, step=self.step) as self.log:
                self._work_through(progress)
        else:
            self._work_through(no_progress)
        self._take_chosen_weights()
        self.network.eval()

    def _work_through(self, progress: Progress) -> None:
        steps = progress(
            self._steps(),
            description=self.stage.name,
            total=self.total,
            unit=self.stage.unit,
            initial=self.step,
            unit_scale=self.stage.batch_size,
        )
        for _ in steps:
            ended_epoch = self.step % self.stage.steps == 0 or self.step == self.total
            if not (ended_epoch or self.step % _STEPS_A_CHECK[self.hardware.device.type] == 0):
                continue
            self._check()
            with self.clock.paused():
                if ended_epoch:
                    self._end_epoch()
                if self.hardware.is_first and (ended_epoch or self.clock.since_checkpoint() > self.checkpoint_seconds):
                    self._save()

    def _steps(self) -> Iterator[int]:
        while self.step < self.total:
            epoch, first = divmod(self.step, self.stage.steps)
            for batch in itertools.islice(self._batches(epoch, first), self.total - self.step):
                self._train_on(batch)
                yield self.step

    def _batches(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Yields the parts of every step, and notes how long they were waited for."""
        with self.clock.waiting():
            parts = self.stage.batches(epoch, first)
            batch = list(itertools.islice(parts, self.schedule.accumulate))
        while batch:
            yield batch
            with self.clock.waiting():
                batch = list(itertools.islice(parts, self.schedule.accumulate))

    def _train_on(self, parts: list[Batch]) -> None:
        self._seed_step()
        totals = self.hardware.sum(torch.stack([self.stage.totals(part) for part in parts]).sum(dim=0))
        loss = torch.zeros((), device=self.hardware.device)
        for number, part in enumerate(parts, start=1):
            with (
                self.hardware.without_sync(self.module, enabled=number < len(parts)),
                self.hardware.fabric.autocast(),
            ):
                of_part = self.stage.loss(self.module, part, totals)
                # The processes average their gradients, where the loss is a sum.
                self.hardware.fabric.backward(of_part * self.hardware.ranks)
            loss += of_part.detach()
        self.gradient_norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), self.schedule.gradient_clip or float("inf")
        )
        self.updater.step()
        self.updater.zero_grad(set_to_none=True)
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        self.clock.stepped()
        self.epoch_loss += loss
        if self.step % STEPS_A_ROW == 0:
            self._log_step(loss)

    def _seed_step(self) -> None:
        digest = hashlib.sha256(f"{self.seed}:{self.step}:{self.hardware.rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7], "big"))

    def _check(self) -> None:
        loss, norm = float(self.hardware.sum(self.epoch_loss.clone())), float(self.gradient_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"{self.stage.name}: the loss became {loss} at step {self.step}, with a gradient of norm {norm}. The "
                f"last checkpoint is kept in {self.folder}. Lower the learning rate or look at the input"
            )

    def _log_step(self, loss: Tensor) -> None:
        loss = self.hardware.sum(loss)
        if not self.hardware.is_first:
            return
        values = {
            "loss": float(loss),
            "learning_rate": float(self.scheduler.get_last_lr()[0]),
            "gradient_norm": float(self.gradient_norm),
        }
        self.log.write_step(self.step, values | self._pace(*self.clock.lap()))

    def _end_epoch(self) -> None:
        loss = float(self.hardware.sum(self.epoch_loss)) / (self.step % self.stage.steps or self.stage.steps)
        self.epoch_loss = torch.zeros_like(self.epoch_loss)
        if not self.hardware.is_first:
            return
        epoch = math.ceil(self.step / self.stage.steps)
        values = {"loss": loss, "learning_rate": float(self.scheduler.get_last_lr()[0])}
        self.log.write_epoch(epoch, self.step, values | self._validate())
        if self.step == self.total or self.clock.since_curves() > SECONDS_BETWEEN_CURVES:
            draw_curves(self.folder, self.stage.name)
            self.clock.drawn()

    def _pace(self, steps: int, seconds: float, waiting: float) -> dict[str, float]:
        samples = self.stage.unit if self.stage.unit.endswith("s") else f"{self.stage.unit}s"
        return {
            f"{samples}_per_second": steps * self.stage.batch_size / seconds,
            "share_waiting_for_data": waiting / seconds,
        }

    def _validate(self) -> dict[str, float]:
        if self.stage.validate is None:
            return {}
        network = self._chosen().eval()
        scores = self.stage.validate(network)
        network.train()
        if scores[VALIDATION_SCORE] < self.best:
            self.best = scores[VALIDATION_SCORE]
            save_weights(network, self.folder / BEST)
        return {f"validation_{name}": value for name, value in scores.items()}

    def _chosen(self) -> nn.Module:
        """The network whose weights the model gets: the average, where there is one."""
        return self.network if self.average is None else self.average.module

    def _take_chosen_weights(self) -> None:
        if self.stage.keep_best:
            self.hardware.fabric.barrier()  # the first process writes them
            load_weights(self.network, self.folder / BEST)
        elif self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())

    def _save(self) -> None:
        save_checkpoint(
            self.folder,
            {
                "step": self.step,
                "best": self.best,
                "epoch_loss": self.epoch_loss,
                "network": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
            },
        )
        self.clock.saved()

    def _restore(self) -> None:
        restored = load_checkpoint(
            self.folder,
            {
                "network": self.network,
                "average": self.average,
                "optimizer": self.optimizer,
                "scheduler": self.scheduler,
            },
            ("step", "best", "epoch_loss"),
            self.hardware.device,
        )
        if restored is not None:
            self.step, self.best = int(restored["step"]), float(restored["best"])
            # Of the first process: the log of the interrupted epoch lacks what the others had.
            if self.hardware.is_first:
                self.epoch_loss = restored["epoch_loss"]


class _Clock:
    """Where the time goes: since the last checkpoint, the last curves and the last row of the log."""

    def __init__(self) -> None:
        self._checkpoint = self._curves = self._lap = time.monotonic()
        self._waited = 0.0
        self._steps = 0

    def stepped(self) -> None:
        self._steps += 1

    def since_checkpoint(self) -> float:
        return time.monotonic() - self._checkpoint

    def saved(self) -> None:
        self._checkpoint = time.monotonic()

    def since_curves(self) -> float:
        return time.monotonic() - self._curves

    def drawn(self) -> None:
        self._curves = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of the block as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time of the block, which trains nothing, out of the lap."""
        start = time.monotonic()
        yield
        self._lap += time.monotonic() - start

    def lap(self) -> tuple[int, float, float]:
        """Returns steps and seconds since the last call, and how many of the seconds went by without a batch."""
        now = time.monotonic()
        result = self._steps, max(now - self._lap, 1e-9), self._waited
        self._steps, self._lap, self._waited = 0, now, 0.0
        return result


def _warmup(share: float, steps: int) -> float:
    """Returns the share of the steps in which the learning rate rises. One step is none: torch would divide by 0."""
    return 0.0 if abs(share * steps - 1) < 1e-6 else share


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    # Vectors (biases, norms) are not decayed.
    matrices = [values for values in network.parameters() if values.ndim >= 2]
    vectors = [values for values in network.parameters() if values.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
