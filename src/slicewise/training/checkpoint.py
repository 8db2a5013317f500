"""Checkpoints of a stage: whole or not there, and data alone: nothing in them can run code."""

from __future__ import annotations

import operator
import pickle  # for the exception alone: torch.load runs with weights_only
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import safetensors.torch
import torch
from torch import nn

from slicewise.errors import TrainingError
from slicewise.files import write_atomically

CHECKPOINT, BEST = "checkpoint.pt", "best.safetensors"


class Stateful(Protocol):
    """What a checkpoint keeps the state of."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Takes a state."""
        ...


def save_checkpoint(folder: Path, state: Mapping[str, object]) -> None:
    """Writes `checkpoint.pt`.

    Raises:
        TrainingError: If it cannot be written, as on a full disk; the one before is kept.
    """
    try:
        with write_atomically(folder / CHECKPOINT) as temporary:
            torch.save(dict(state), temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
        raise _not_written(folder / CHECKPOINT, error) from error


def load_checkpoint(
    folder: Path, parts: Mapping[str, Stateful | None], values: Collection[str], device: torch.device
) -> dict[str, Any] | None:
    """Reads `checkpoint.pt` into what it keeps the state of.

    Args:
        folder: Folder of the stage.
        parts: Takers of a state, by the names in the checkpoint; None for what this run does without.
        values: Names of what else it must hold.
        device: Where tensors go.

    Returns:
        The whole content, None where there is no checkpoint.

    Raises:
        TrainingError: If it cannot be read or does not fit.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        operator.itemgetter(*values)(state)  # an older version of slicewise wrote others
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read: {error}. Remove it to start again") from error
    return state


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes the weights of a network.

    Raises:
        TrainingError: If they cannot be written.
    """
    weights = {name: values.contiguous() for name, values in network.state_dict().items()}
    try:
        with write_atomically(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(weights))
    except OSError as error:
        raise _not_written(path, error) from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Reads weights into a network.

    Raises:
        TrainingError: If the file is missing, damaged or of another network.
    """
    try:
        safetensors.torch.load_model(network, path)
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}. Remove it to train this stage again") from error


def _not_written(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{path}: cannot be written: {error}. What was written last is kept: make room, then go on with --resume"
    )
