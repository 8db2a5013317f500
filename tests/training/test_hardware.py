from __future__ import annotations

import logging

import pytest
import torch

from slicewise.config import HardwareConfig
from slicewise.errors import ConfigError
from slicewise.training.hardware import resolve_hardware


def test_what_is_asked_for_is_taken() -> None:
    hardware = resolve_hardware(HardwareConfig(device="cpu", precision="bfloat16"))
    assert str(hardware) == "cpu, bfloat16"
    assert resolve_hardware(HardwareConfig(device="cpu", precision="float32")).precision == torch.float32


def test_training_on_the_cpu_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr("slicewise.training.hardware.keep_freed_memory", lambda: calls.append(True))
    resolve_hardware(HardwareConfig(device="cpu"))
    assert calls == [True]


def test_fabric_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.addHandler(caplog.handler)
    try:
        resolve_hardware(HardwareConfig(device="cpu", precision="bfloat16"))
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.records == []
    assert logger.level == level


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16)],
)
def test_a_cpu_without_bfloat16_units_trains_in_float32(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_hardware(HardwareConfig(device="cpu")).precision == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hardware\.device: 'cuda'"):
        resolve_hardware(HardwareConfig(device="cuda"))
    assert resolve_hardware(HardwareConfig()).device.type == "cpu"
