"""Calibration for a stated share of positive slices, with logits that are drawn together by a factor.

What a model is calibrated on may be unlike what it will meet: another share of positives, and a harder question. The
first is stated (Saerens et al. 2002: reweighting to another prior), the second allowed for by less extreme logits.
Neither is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from slicewise.evaluation.metrics import Floats, Probabilities, Targets
from slicewise.package import Calibration

_FURTHEST = 700.0
"""Further no logit is moved: its probability is 0 or 1 in double precision."""


def calibrate_at_prior(
    logits: npt.NDArray[np.float32],
    targets: Targets,
    fitted: Calibration,
    label_names: Sequence[str],
    *,
    prior: Mapping[str, float],
    shrinkage: float,
    any_index: int | None,
) -> Calibration:
    """Draws fitted logits together and moves them so that they are right on average at the stated prior.

    The new logit is shrinkage * fitted logit + shift. With positives and negatives weighted to the prior, the shift is
    the one that makes the mean probability equal to the prior; for the label that is never less probable than another
    one, the mean of what is reported of it.

    Args:
        logits: Of the calibration slices, not calibrated, shape (n, labels).
        targets: Shape (n, labels), in {0, 1} with -1 for unknown.
        fitted: Platt scaling on those slices.
        label_names: Names of the labels, in order.
        prior: Share of positive slices, between 0 and 1, by label; the others keep that of the calibration slices.
        shrinkage: Factor on the fitted logits, above 0 and at most 1.
        any_index: That label, None where there is none.

    Returns:
        Scale and bias for the logits of the network, in one. A label of one class keeps what was fitted.
    """
    if shrinkage == 1.0 and not prior:
        return fitted
    scale, bias = np.array(fitted.scale), np.array(fitted.bias)
    highest = np.zeros(len(logits))
    # The label that sums the others up comes last: it is reported no lower than they are.
    for index in sorted(range(len(label_names)), key=lambda place: place == any_index):
        values, truth = logits[:, index].astype(np.float64), targets[:, index]
        share = float(truth[truth >= 0].mean()) if np.any(truth >= 0) else 0.0
        if 0.0 < share < 1.0:
            wanted = prior.get(label_names[index], share)
            drawn = shrinkage * (scale[index] * values + bias[index])
            least = highest if index == any_index else np.zeros(len(values))
            shift = _shift(drawn, _weights(truth, share, wanted), wanted, least)
            scale[index], bias[index] = shrinkage * scale[index], shrinkage * bias[index] + shift
        highest = np.maximum(highest, special.expit(scale[index] * values + bias[index]))
    return Calibration(scale=tuple(map(float, scale)), bias=tuple(map(float, bias)))


def mean_at_prior(probabilities: Probabilities, targets: Targets, wanted: float) -> float | None:
    """Returns the mean probability of one label, positives and negatives weighted to a share of positives.

    Args:
        probabilities: Shape (n,).
        targets: Shape (n,), in {0, 1} with -1 for unknown.
        wanted: The share, between 0 and 1.

    Returns:
        None where the targets are not of both classes.
    """
    share = float(targets[targets >= 0].mean()) if np.any(targets >= 0) else 0.0
    return float(_weights(targets, share, wanted) @ probabilities) if 0.0 < share < 1.0 else None


def _weights(truth: Targets, share: float, wanted: float) -> Floats:
    """Returns weights of the rows, with the sum 1, among which the wanted share is positive."""
    ratio = np.where(truth == 1, wanted / share, (1.0 - wanted) / (1.0 - share))
    known = np.where(truth >= 0, ratio, 0.0)
    weights: Floats = known / known.sum()
    return weights


def _shift(logits: Floats, weights: Floats, wanted: float, least: Floats) -> float:
    """Returns the shift that gives the wanted mean probability, none below `least` unless those alone are too high."""

    def excess(shift: float, floor: Floats) -> float:
        return float(weights @ np.maximum(special.expit(logits + shift), floor)) - wanted

    floor = least if excess(-_FURTHEST, least) < 0.0 else np.zeros_like(least)
    return float(optimize.brentq(excess, -_FURTHEST, _FURTHEST, args=(floor,)))
