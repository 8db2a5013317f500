"""What every head of stage 2 is, and the registry of their names.

A head takes `SliceFeatures` and returns logits (B, S, L); padding never changes the output at a slice. Most add a
correction to the logits of the slice classifier: the residual path that keeps rare labels from getting worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from slicewise.config import FusionConfig
from slicewise.models.features import SliceFeatures


class FusionHead(nn.Module):
    """Base of all heads: what a head is built from.

    Args:
        config: Sizes of the head.
        descriptor_size: D.
        summary_size: M, 0 where stage 1 has no occupancy maps.
        labels: L.

    Attributes:
        is_random: Two trainings differ: members of such a head are worth an average.
        is_exported: It can stand in a model package; others are there to be compared with.
    """

    is_random = True
    is_exported = True

    def __init__(self, config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> None:
        super().__init__()
        self.config = config
        self.descriptor_size = descriptor_size
        self.summary_size = summary_size
        self.labels = labels

    def fit_scale(self, descriptors: Tensor, spacing: float) -> None:
        """Learns what the head needs to know of the distribution of its inputs.

        Args:
            descriptors: All training slices, shape (N, D).
            spacing: Typical distance of adjacent slices on the axial unit of the task.
        """

    def member_logits(self, features: SliceFeatures) -> Tensor:
        """Returns what each member of the head says, shape (members, B, S, L): training teaches every one of them."""
        logits: Tensor = self(features)
        return logits[None]


HEADS: dict[str, type[FusionHead]] = {}
Head = TypeVar("Head", bound=type[FusionHead])


def register_head(name: str) -> Callable[[Head], Head]:
    """Registers a head under the name that `fusion.name` selects."""

    def register(head: Head) -> Head:
        HEADS[name] = head
        return head

    return register


def zero_output(inputs: int, labels: int) -> nn.Linear:
    """Returns a layer that is zero at first: a head that adds its output starts as the single-slice baseline."""
    layer = nn.Linear(inputs, labels)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
