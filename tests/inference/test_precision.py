from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from slicewise.inference.precision import TOLERANCE, chosen_precision, probe_channels
from slicewise.package import Probabilities

SAID = np.array([[0.2, 0.5], [0.9, 0.1]], dtype=np.float32)


class Networks:
    """Networks that take as long, and say what, a test wants; the clock goes on as they run."""

    def __init__(self, seconds: Mapping[str, float], says: Mapping[str, Probabilities]) -> None:
        self.now = 0.0
        self.runs: list[str] = []
        self._seconds, self._says = seconds, says

    def choice(self) -> str:
        return chosen_precision({name: self._network(name) for name in self._seconds}, clock=lambda: self.now)

    def _network(self, name: str) -> Callable[[], Probabilities]:
        def run() -> Probabilities:
            self.runs.append(name)
            self.now += self._seconds[name]
            return self._says[name]

        return run


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.5, "bf16"), (0.95, "bf16"), (0.97, "f32"), (1.0, "f32"), (2.0, "f32")]
)
def test_the_fastest_counts_if_it_is_faster_by_more_than_noise(seconds: float, expected: str) -> None:
    assert Networks({"f32": 1.0, "bf16": seconds}, {"f32": SAID, "bf16": SAID}).choice() == expected


@pytest.mark.parametrize(("share", "expected"), [(0.9, "bf16"), (1.1, "f32"), (np.nan, "f32")])
def test_a_fast_one_that_says_something_else_is_not_taken(share: float, expected: str) -> None:
    moved = SAID.copy()
    moved[1, 0] -= share * TOLERANCE
    networks = Networks({"f32": 1.0, "bf16": 0.1}, {"f32": SAID, "bf16": moved})
    assert networks.choice() == expected


def test_one_alone_is_not_timed() -> None:
    networks = Networks({"f32": 1.0}, {"f32": SAID})
    assert networks.choice() == "f32"
    assert networks.runs == ["f32"]


def test_they_run_in_turns() -> None:
    networks = Networks({"f32": 1.0, "bf16": 0.5}, {"f32": SAID, "bf16": SAID})
    networks.choice()
    assert networks.runs == ["f32", "bf16"] * (len(networks.runs) // 2)
    assert len(networks.runs) > 4


@pytest.mark.parametrize(("channels", "size"), [(3, 208), (9, 160), (1, 31)])
def test_the_probe_is_the_same_at_every_call_and_fits_the_network(channels: int, size: int) -> None:
    probe = probe_channels(channels, size)
    np.testing.assert_array_equal(probe, probe_channels(channels, size))
    assert probe.shape == (8, channels, size, size)
    assert probe.dtype == np.float32
    assert probe.min() == 0
    assert probe.max() == 1
    assert len(np.unique(probe.mean(axis=(1, 2, 3)))) == 8
