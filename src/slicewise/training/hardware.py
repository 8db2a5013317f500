"""Which device and precision a run uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from slicewise.config import HardwareConfig
from slicewise.errors import ConfigError


@dataclass(frozen=True)
class Hardware:
    """Device and precision of a run.

    Attributes:
        device: Where the networks run.
        precision: What convolutions and matrix products run in: bfloat16 (autocast) or float32.
    """

    device: torch.device
    precision: torch.dtype

    @property
    def autocast(self) -> torch.autocast:
        """The context in which a forward pass runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def __str__(self) -> str:
        return f"{self.device.type}, {str(self.precision).removeprefix('torch.')}"


def resolve_hardware(config: HardwareConfig) -> Hardware:
    """Turns "auto" into what this machine has.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("hardware.device: 'cuda' was asked for, but torch sees no GPU. Use 'auto' or 'cpu'")
    name = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if config.precision == "auto":
        precision = torch.bfloat16 if _has_bfloat16_units(name) else torch.float32
    else:
        precision = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    return Hardware(torch.device(name), precision)


def _has_bfloat16_units(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without AMX or AVX-512 BF16 a CPU emulates bfloat16, several times slower than float32.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
