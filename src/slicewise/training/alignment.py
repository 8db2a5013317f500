"""Alignment of descriptors: what one encoder says about slices, put in the basis of another encoder.

Encoders that are trained apart describe the same slices in bases of their own. The map from one basis to the other is a
ridge regression (Hoerl and Kennard 1970) of the descriptors of the one on those of the other, over the same slices. The
features of the source are standardised, and every feature of the target chooses its own penalty by generalised
cross-validation (Golub, Heath and Wahba 1979): units play no part on either side.

A regression shrinks: R squared is the variance of its predictions over that of what they predict. Here every feature
gets its variance back, for two reasons. A head standardises by what it learns from, and the real features that it reads
at run time would be too large by 1 / R. And where both encoders see the same through equal noise, a linear head learnt
on features of restored variance has just the slope that suits the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

Descriptors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

PENALTIES: Floats = np.logspace(-7.0, 5.0, 49)
"""Penalties to choose from, each a multiple of the number of slices: the variance of a source feature counts as 1."""

_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine map from the descriptors of a source encoder to the basis of a target encoder.

    Attributes:
        mean_source: Shape (D,).
        mean_target: Shape (D2,).
        matrix: Maps centred descriptors, shape (D, D2).
    """

    mean_source: Floats
    mean_target: Floats
    matrix: Floats

    def apply(self, descriptors: Descriptors) -> Descriptors:
        """Maps descriptors (N, D) of the source encoder to the basis of the target encoder (N, D2)."""
        aligned = (descriptors - self.mean_source) @ self.matrix + self.mean_target
        return aligned.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Moments of the descriptors of the same slices by two encoders; the second ones are means of centred products.

    Attributes:
        slices: N.
        mean_source: Shape (D,).
        mean_target: Shape (D2,).
        gram: Covariance of the source, shape (D, D).
        cross: Covariance of source and target, shape (D, D2).
        variance: Variance of the target, shape (D2,).
    """

    slices: int
    mean_source: Floats
    mean_target: Floats
    gram: Floats
    cross: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class _Components:
    """The principal components of the standardised source: along them the regression falls into single ones.

    Attributes:
        variances: All positive, shape (R,).
        basis: Maps centred descriptors to components, shape (D, R).
        cross: Covariance of components and target, shape (R, D2).
    """

    variances: Floats
    basis: Floats
    cross: Floats


def fit_alignment(source: Descriptors, target: Descriptors) -> Alignment:
    """Learns the map from one encoder's descriptors to another's.

    Beside its arguments it needs memory for a few matrices of the size D x (D + D2), however many slices there are.
    Constant features are harmless: those of the source get no weight, those of the target keep their value.

    Args:
        source: Descriptors of slices, shape (N, D).
        target: Descriptors of the same slices by the other encoder, shape (N, D2).

    Raises:
        ValueError: If there are no slices, shapes do not fit or values are not finite.
    """
    moments = _moments(source, target)
    components = _components(moments)
    weights = components.cross / (components.variances[:, None] + _choose_penalties(moments, components))
    weights *= np.sqrt(_ratio(moments.variance, components.variances @ np.square(weights)))
    return Alignment(moments.mean_source, moments.mean_target, components.basis @ weights)


def explained_variance(alignment: Alignment, source: Descriptors, target: Descriptors) -> float:
    """Returns the share of the variance of the target about its mean that an alignment explains.

    It is the squared correlation of aligned and real features, pooled over features by their variance: what R squared
    was before the variance was restored. It is 0 where the target does not vary.

    Args:
        alignment: A map from the one to the other.
        source: Descriptors of slices, shape (N, D).
        target: Descriptors of the same slices by the other encoder, shape (N, D2).

    Raises:
        ValueError: If there are no slices, shapes do not fit or values are not finite.
    """
    moments = _moments(source, target)
    variance = (alignment.matrix * (moments.gram @ alignment.matrix)).sum(axis=0)
    covariance = (alignment.matrix * moments.cross).sum(axis=0)
    explained = _ratio(np.square(covariance), variance).sum()
    return float(_ratio(explained, moments.variance.sum()))


def _moments(source: Descriptors, target: Descriptors) -> _Moments:
    slices = len(source)
    if source.ndim != 2 or target.ndim != 2 or slices != len(target) or slices == 0:
        raise ValueError(f"expected descriptors of the same slices by both encoders: {source.shape}, {target.shape}")
    mean_source, mean_target = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    if not (np.isfinite(mean_source).all() and np.isfinite(mean_target).all()):
        raise ValueError("descriptors must be finite")
    gram = np.zeros((source.shape[1], source.shape[1]))
    cross = np.zeros((source.shape[1], target.shape[1]))
    variance = np.zeros(target.shape[1])
    for rows in _blocks(slices):
        x, y = source[rows] - mean_source, target[rows] - mean_target
        gram += x.T @ x
        cross += x.T @ y
        variance += np.square(y).sum(axis=0)
    return _Moments(slices, mean_source, mean_target, gram / slices, cross / slices, variance / slices)


def _components(moments: _Moments) -> _Components:
    deviation = np.sqrt(moments.gram.diagonal())
    # What varies by less than float32 resolves is constant but for rounding.
    alive = deviation > np.finfo(np.float32).eps * np.abs(moments.mean_source)
    scale = _ratio(alive.astype(np.float64), deviation)
    variances, vectors = linalg.eigh(scale[:, None] * moments.gram * scale)
    # Beyond the rank, which is less than the number of slices, there is only rounding.
    kept = variances > len(variances) * np.finfo(np.float64).eps * variances[-1]
    kept[: max(len(variances) - (moments.slices - 1), 0)] = False
    basis = scale[:, None] * vectors[:, kept]
    return _Components(variances[kept], basis, basis.T @ moments.cross)


def _choose_penalties(moments: _Moments, components: _Components) -> Floats:
    """Minimises the score of generalised cross-validation for every feature of the target.

    Returns:
        One of `PENALTIES` for each, shape (D2,).
    """
    lost = PENALTIES[:, None] / (components.variances + PENALTIES[:, None])
    explained = np.square(components.cross) / components.variances[:, None]
    unexplained = np.maximum(moments.variance - explained.sum(axis=0), 0.0)
    residuals = unexplained + np.square(lost) @ explained
    # One degree of freedom goes to the mean.
    freedom = moments.slices - 1 - len(components.variances) + lost.sum(axis=1)
    best: npt.NDArray[np.intp] = np.argmin(_ratio(residuals, np.square(freedom)[:, None]), axis=0)
    return PENALTIES[best]


def _ratio(values: npt.ArrayLike, divisors: npt.ArrayLike) -> Floats:
    """Divides; what is divided by zero, or by less through rounding, is zero."""
    quotients = np.zeros(np.broadcast(values, divisors).shape)
    np.divide(values, divisors, out=quotients, where=np.greater(divisors, 0.0))
    return quotients


def _blocks(slices: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, slices, _BLOCK))
