"""Where the descriptors of known scans lie, and how far from there others are.

A few principal components hold what varies most; the rest is summed up in one number. The distance of a descriptor is
the root mean of two parts, each about 1 for the scans that made the space: the squared coordinates along the
components, divided by their variances, on average (Hotelling's T2), and the squared length of what they leave, divided
by its mean (the Q statistic, Jackson and Mudholkar 1979; combined as by Yue and Qin 2001). Scans of another kind leave
the known directions more often than they go far along them, hence the second part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

Descriptors = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]

COMPONENTS = 16
"""Most principal components that are kept."""

LEAST_SHARE = 1e-6
"""A variance counts as at least this share of the whole: without spread, rounding would be far away."""

LEAST_VARIANCE = 1e-12
Number = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Variance = Annotated[float, msgspec.Meta(ge=1e-30, le=1e30)]
"""Far beyond any descriptor, and such that no distance of one overflows."""


class DescriptorSpace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean, principal components and what they leave; see `distances`.

    Attributes:
        mean: Mean descriptor, every series counting alike, shape (D,).
        components: Orthonormal rows, shape (K, D), as 32-bit floats, little-endian, row by row (base64 in JSON).
        variances: Variance along every component, shape (K,).
        residual_variance: Mean squared length of what the components leave.
    """

    mean: tuple[Number, ...]
    components: bytes
    variances: tuple[Variance, ...]
    residual_variance: Variance

    def __post_init__(self) -> None:
        """Checks what types alone do not say.

        Raises:
            ValueError: If the components do not fit mean and variances, or are not finite.
        """
        expected = 4 * len(self.variances) * len(self.mean)
        if not self.mean or len(self.components) != expected:
            raise ValueError(f"components has {len(self.components)} bytes; expected {expected}, 4 a number of (K, D)")
        if not np.all(np.isfinite(self.axes)) or np.abs(self.axes).max(initial=0.0) > 1.01:
            raise ValueError("components: a number is not finite or beyond 1; expected rows of length 1")

    @property
    def axes(self) -> Floats:
        """The components, shape (K, D)."""
        return np.frombuffer(self.components, "<f4").reshape(-1, len(self.mean)).astype(np.float64)

    def distances(self, descriptors: Descriptors) -> Floats:
        """Returns how far descriptors lie from the scans that made the space.

        Args:
            descriptors: Shape (S, D).

        Returns:
            Root mean of both parts, 0 or more, about 1 for known scans, shape (S,).
        """
        centred = np.asarray(descriptors, dtype=np.float64) - np.asarray(self.mean)
        axes = self.axes
        along = centred @ axes.T
        left = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0.0) / self.residual_variance
        squares: Floats = left
        if len(axes):
            squares = ((along**2 / np.asarray(self.variances)).mean(axis=1) + left) / 2.0
        return np.sqrt(squares)


def fit_space(series: Sequence[Descriptors], components: int = COMPONENTS) -> DescriptorSpace:
    """Fits a space to series, each counting alike whatever its number of slices.

    Args:
        series: Descriptors of every series, each of shape (S, D); at least one slice.
        components: Most components to keep.
    """
    filled = [item for item in series if len(item)]
    mean = np.mean([item.mean(axis=0, dtype=np.float64) for item in filled], axis=0)
    values, axes = _principal(filled, mean)
    total = max(float(values.sum()), LEAST_VARIANCE)
    kept = int((values[:components] > LEAST_SHARE * total).sum())
    return DescriptorSpace(
        mean=tuple(map(float, mean)),
        components=axes[:kept].astype("<f4").tobytes(),
        variances=tuple(map(float, values[:kept])),
        residual_variance=max(float(values[kept:].sum()), LEAST_SHARE * total),
    )


def _principal(series: Sequence[Descriptors], mean: Floats) -> tuple[Floats, Floats]:
    """Returns variances, descending, and their axes as rows: of the smaller one of the two matrices of products."""
    slices, size = sum(map(len, series)), len(mean)
    weights = [1.0 / np.sqrt(len(series) * len(item)) for item in series]
    scaled = (weight * (item - mean) for weight, item in zip(weights, series, strict=True))
    if slices < size:
        rows = np.concatenate(list(scaled))
        values, vectors = np.linalg.eigh(rows @ rows.T)
        axes = vectors.T @ rows
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), LEAST_VARIANCE)
    else:
        covariance = np.zeros((size, size))
        for item in scaled:
            covariance += item.T @ item
        values, vectors = np.linalg.eigh(covariance)
        axes = vectors.T
    # The sign of an axis is a matter of taste: the same data give the same file.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    return np.maximum(values[::-1], 0.0), axes[::-1]
