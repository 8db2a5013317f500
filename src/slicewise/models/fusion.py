"""Stage 2, axial fusion: from the features of a series to logits of every slice.

A head is one registered class (`heads/`). Whatever stage 2 needs beyond it, the averaging of several members and the
chain along the axis, is wrapped around it here and stands inside the exported graph. The layers of Ngo et al. 2022 are
not public; these are our own reading.
"""

from __future__ import annotations

from slicewise.config import FusionConfig
from slicewise.errors import ConfigError
from slicewise.models.heads import convolution, recurrent, rolling, single, transformer, window, winners
from slicewise.models.heads.base import HEADS, FusionHead
from slicewise.models.heads.chain import Chain
from slicewise.models.heads.ensemble import Ensemble

__all__ = ["HEADS", "FusionHead", "build_head"]

_REGISTERED = (single, rolling, window, convolution, recurrent, transformer, winners)
"""Registered by their import."""


def build_head(config: FusionConfig, *, descriptor_size: int, summary_size: int, labels: int) -> FusionHead:
    """Builds the head that the configuration names, with its chain and its members.

    Raises:
        ConfigError: If no head has that name.
    """
    if config.name not in HEADS:
        raise ConfigError(f"fusion.name: there is no head '{config.name}'. Expected one of: {', '.join(sorted(HEADS))}")

    def member() -> FusionHead:
        return HEADS[config.name](config, descriptor_size=descriptor_size, summary_size=summary_size, labels=labels)

    several = config.members > 1 and HEADS[config.name].is_random
    head = Ensemble([member() for _ in range(config.members)]) if several else member()
    # "none" is the baseline whatever else the configuration, or the task, says.
    return Chain(head) if config.name == "chain" or (config.chain and config.name != "none") else head
