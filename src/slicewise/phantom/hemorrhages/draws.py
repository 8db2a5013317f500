"""Small draws that the samplers of all subtypes share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def either_side(rng: np.random.Generator) -> float:
    """Draws 1 or -1."""
    return 1.0 if rng.random() < 0.5 else -1.0


def choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draws a name by its weight."""
    shares = np.array(list(weights.values()), dtype=np.float64)
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
