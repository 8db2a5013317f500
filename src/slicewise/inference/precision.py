"""The precision that stage 1 computes in: f32, or on request the fastest on this processor that says the same.

f32 is the default, because it gives the same probabilities on every processor, and a short precision saves little of a
call (docs/results.md). Stage 2 always computes in f32: it takes a few per cent of the time, and no less in bf16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from slicewise.package import Probabilities
from slicewise.volume import FloatImages

PRECISIONS = ("auto", "f32", "bf16")
DEFAULT_PRECISION = "f32"

TOLERANCE = 0.03
"""Largest change of any calibrated probability of the probe, against f32: bf16 stays below, int8 does not. On scans
single probabilities may move more (docs/results.md)."""

LEAST_GAIN = 1.05
"""How many times as fast as f32 a precision must be to be chosen: less is noise, and not worth another result."""

_ROUNDS = 5
_PROBED, _GRAIN = 8, 6


def chosen_precision(
    networks: Mapping[str, Callable[[], Probabilities]], clock: Callable[[], float] = time.perf_counter
) -> str:
    """Runs networks on the same input in turns and returns the fastest that says what the first one does.

    Turns, so that whatever else the machine does slows all of them; the best of each counts, since only other work
    makes a turn longer.

    Args:
        networks: Both stages by the precision of the first; each returns the probabilities of the same slices. The
            first one is the reference.
        clock: Seconds.
    """
    reference = next(iter(networks))
    found = {name: run() for name, run in networks.items()}  # the first run makes kernels and is not timed
    best = {name: np.inf for name in networks if _change(found[name], found[reference]) <= TOLERANCE}
    if len(best) < 2:
        return reference
    for _ in range(_ROUNDS):
        for name, least in best.items():
            started = clock()
            networks[name]()
            best[name] = min(least, clock() - started)
    fastest = min(best, key=lambda name: best[name])
    return fastest if LEAST_GAIN * best[fastest] <= best[reference] else reference


def probe_channels(channels: int, size: int) -> FloatImages:
    """Returns images to try a network on: a bright ring around grey noise, with ever denser spots in it.

    Args:
        channels: Of every image.
        size: Rows and columns.

    Returns:
        The same at every call, in [0, 1], shape (8, channels, size, size).
    """
    random = np.random.default_rng(0)
    axis = np.linspace(-1, 1, size)
    radius = np.hypot(axis[:, None] / 0.85, axis[None, :] / 0.7)
    grains = -(-size // _GRAIN)
    noise = random.normal(0.4, 0.05, (_PROBED, channels, grains, grains)).astype(np.float32)
    images = noise.repeat(_GRAIN, axis=2).repeat(_GRAIN, axis=3)[:, :, :size, :size]
    for index, image in enumerate(images):
        row, column = random.uniform(-0.4, 0.4, 2)
        spot = np.hypot(axis[:, None] - row, axis[None, :] - column) < 0.05 + 0.02 * index
        image[:, spot] += index / _PROBED
    images[:, :, (radius > 0.9) & (radius < 1)] = 1
    images[:, :, radius > 1] = 0
    return np.clip(images, 0, 1)


def _change(found: Probabilities, expected: Probabilities) -> float:
    change = float(np.abs(found - expected).max())
    return change if np.isfinite(change) else np.inf
