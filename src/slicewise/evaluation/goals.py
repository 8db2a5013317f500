"""What a threshold is chosen for, as a site asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from slicewise.errors import UsageError
from slicewise.evaluation.calibration import choose_threshold
from slicewise.evaluation.metrics import Floats, Probabilities, Targets, known_rows

Kind = Literal["sensitivity", "specificity", "youden"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Goal:
    """A goal of a threshold.

    Attributes:
        kind: "sensitivity": the highest threshold that reaches it; "specificity": the lowest one that reaches it;
            "youden": the largest sum of both.
        value: Wanted sensitivity or specificity, between 0 and 1; 0 for Youden's.
    """

    kind: Kind
    value: float = 0.0

    def __str__(self) -> str:
        """Returns the goal as `parse_goal` reads it."""
        return self.kind if self.kind == "youden" else f"{self.kind}={self.value:g}"

    @property
    def words(self) -> str:
        """The goal as a sentence names it."""
        if self.kind == "youden":
            return "the largest sensitivity + specificity (Youden) of studies"
        if self.kind == "sensitivity":
            return f"the highest threshold that flags at least {self.value:.4g} of the positive studies"
        return f"the lowest threshold that leaves at least {self.value:.4g} of the negative studies unflagged"

    def threshold(self, probabilities: Probabilities, targets: Targets) -> float | None:
        """Chooses the threshold, midway between two probabilities, so that rounding does not turn a decision.

        Args:
            probabilities: Shape (n,), in [0, 1].
            targets: Shape (n,), in {0, 1} with -1 for unknown.

        Returns:
            None where the rows do not hold the class or classes that the goal is about.
        """
        values, truth, _ = known_rows(probabilities, targets)
        positives, negatives = np.sort(values[truth == 1]), np.sort(values[truth == 0])
        if self.kind == "sensitivity":
            return _highest_that_flags(positives, values, self.value) if len(positives) else None
        if self.kind == "specificity":
            return _lowest_that_spares(negatives, values, self.value) if len(negatives) else None
        return choose_threshold(probabilities, targets) if len(positives) and len(negatives) else None

    def deciding(self, targets: Targets) -> tuple[int, str]:
        """Returns how many studies of the class that the goal is about there are, and what they are called."""
        positives, negatives = int((targets == 1).sum()), int((targets == 0).sum())
        if self.kind == "sensitivity":
            return positives, "positive studies"
        if self.kind == "specificity":
            return negatives, "negative studies"
        return min(positives, negatives), "studies of the rarer class"


def parse_goal(text: str) -> Goal:
    """Reads a goal: "youden", "sensitivity=0.9" or "specificity=0.95".

    Raises:
        UsageError: If it is none of them.
    """
    kind, _, value = text.partition("=")
    if text == "youden":
        return Goal("youden")
    try:
        wanted = float(value)
    except ValueError:
        wanted = math.nan
    if kind in get_args(Kind) and kind != "youden" and 0.0 < wanted < 1.0:
        return Goal("sensitivity" if kind == "sensitivity" else "specificity", wanted)
    raise UsageError(
        f"--goal {text}: expected youden, sensitivity=X or specificity=X with X between 0 and 1, as in sensitivity=0.9"
    )


def _highest_that_flags(positives: Floats, values: Floats, share: float) -> float:
    lowest_flagged = positives[len(positives) - math.ceil(share * len(positives) - _ROUNDING)]
    return float(lowest_flagged + values[values < lowest_flagged].max(initial=0.0)) / 2.0


def _lowest_that_spares(negatives: Floats, values: Floats, share: float) -> float:
    highest_spared = negatives[math.ceil(share * len(negatives) - _ROUNDING) - 1]
    return float(highest_spared + values[values > highest_spared].min(initial=1.0)) / 2.0
