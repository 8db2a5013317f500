"""Which devices and precision a run uses, through Lightning Fabric (Apache-2.0)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from slicewise.config import HardwareConfig
from slicewise.errors import ConfigError, SlicewiseError, TrainingError
from slicewise.training.allocator import keep_freed_memory

Result = TypeVar("Result")

# The first process works alone between the stages: the others wait for it as long as it takes.
_LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True, eq=False)
class Hardware:
    """Devices and precision of a run, and this process among those that share it.

    Attributes:
        fabric: Places networks on devices and lets the processes talk.
        precision: What convolutions and matrix products run in: bfloat16 (autocast) or float32.
        compile: Compile networks before they are trained.
    """

    fabric: Fabric
    precision: torch.dtype
    compile: bool = False

    @property
    def device(self) -> torch.device:
        """Where the networks of this process run."""
        return self.fabric.device

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.fabric.global_rank

    @property
    def ranks(self) -> int:
        """Number of processes that train together."""
        return self.fabric.world_size

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.fabric.is_global_zero

    def sum(self, values: Tensor) -> Tensor:
        """Returns the sum of a tensor over all processes, on the device."""
        values = values.to(self.device)
        if self.ranks == 1:
            return values
        summed = self.fabric.all_reduce(values, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed

    def without_sync(self, network: Any, *, enabled: bool) -> AbstractContextManager[object]:
        """The context of a backward pass after which processes do not yet exchange gradients."""
        if self.ranks == 1 or not enabled:
            return nullcontext()
        return self.fabric.no_backward_sync(network)

    def on_first(self, action: Callable[[], Result]) -> Result:
        """Runs an action in the first process alone and returns its result in all.

        Raises:
            SlicewiseError: What the action raised, in all processes: none is left waiting for another.
        """
        if self.ranks == 1:
            return action()
        outcome: Result | SlicewiseError | None = None
        if self.is_first:
            try:
                outcome = action()
            except SlicewiseError as error:
                outcome = error
            except OSError as error:
                outcome = TrainingError(f"the first process could not go on: {error}")
        outcome = self.fabric.broadcast(outcome)
        if isinstance(outcome, SlicewiseError):
            raise outcome
        return outcome  # type: ignore[return-value]  # what the first process has returned

    def __str__(self) -> str:
        processes = f", {self.ranks} processes" if self.ranks > 1 else ""
        return f"{self.device.type}, {str(self.precision).removeprefix('torch.')}{processes}"


def resolve_hardware(config: HardwareConfig) -> Hardware:
    """Turns "auto" into what this machine has and, with several devices, starts the other processes.

    Under `torchrun` the processes are there already, on one machine or on several. On the CPU this process keeps freed
    memory from here on, see `keep_freed_memory`.

    Raises:
        ConfigError: If a GPU is asked for and there is none, or more of them than there are.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("hardware.device: 'cuda' was asked for, but torch sees no GPU. Use 'auto' or 'cpu'")
    name = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if config.precision == "auto":
        precision = torch.bfloat16 if _has_bfloat16_units(name) else torch.float32
    else:
        precision = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    if name == "cpu":
        keep_freed_memory()
    devices, nodes = _devices(config, name), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    with _quiet():
        fabric = Fabric(
            accelerator=name,
            devices=devices,
            num_nodes=nodes,
            strategy=DDPStrategy(timeout=_LONGEST_WAIT) if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if precision == torch.bfloat16 else "32-true",
        )
    fabric.launch()
    return Hardware(fabric, precision, config.compile)


def is_first_process() -> bool:
    """Tells whether this process is the first, or the only one, of those that train together."""
    rank = os.environ.get("RANK")  # set by torchrun; what Fabric starts has a local rank alone
    return int(os.environ.get("LOCAL_RANK", "0") if rank is None else rank) == 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Fabric from telling the precision on stderr: the run folder tells it."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def one_cpu() -> Hardware:
    """One process on the CPU in full precision, which repeats bit for bit."""
    return Hardware(Fabric(accelerator="cpu", devices=1, precision="32-true"), torch.float32)


def _devices(config: HardwareConfig, name: str) -> int:
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))
    there = torch.cuda.device_count() if name == "cuda" else 0
    wanted = config.devices or started or max(there, 1)
    if name == "cuda" and wanted > there:
        raise ConfigError(f"hardware.devices: {wanted} GPUs were asked for, torch sees {there}")
    if started and wanted != started:
        raise ConfigError(f"hardware.devices: is {wanted}, but torchrun started {started} processes on this machine")
    return wanted


def _has_bfloat16_units(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without AMX or AVX-512 BF16 a CPU emulates bfloat16, several times slower than float32.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
