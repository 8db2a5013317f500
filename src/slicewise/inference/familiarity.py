"""How like the training data a series is: a network gives any image a probability, a knee or noise as well.

Two things tell. What is known of heads needs no model (`slicewise.imaging.head_check`). And where the package has a
reference, descriptors are held against those of its calibration patients: the share of these that are at least as far
away is a p value that holds for new patients of their kind, whatever the distribution is (split conformal prediction,
Papadopoulos et al. 2002; Laxhammar and Falkman 2010 for anomalies).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from slicewise.imaging.geometry import median_spacing_mm
from slicewise.imaging.head_check import has_air, head_doubts
from slicewise.imaging.preprocess import ModelInput
from slicewise.inference.axial import primary_rows
from slicewise.inference.distributions import STEPS
from slicewise.inference.reference import Reference, near_distance
from slicewise.results import UNLIKE_TRAINING
from slicewise.task import Task
from slicewise.volume import ScanWarning, Volume

FALSE_ALARMS = 0.02
"""At most this share of scans like those of the calibration patients is taken for unlike them."""

FEWEST_PATIENTS = 19
"""With fewer, being farther away than all of them happens to more than 1 of 20 ordinary scans: nothing is said."""

HEAD_RULE = (
    "A series is taken for unlike the training data where facts that need no model say that it is no head CT without "
    "contrast medium (air, soft tissue that bone encloses, values of brain, dense matter; contrast medium in its tags)"
)
_CONTRAST = "contrast_suspected"


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Tells how like the calibration patients of a model a series is.

    Attributes:
        reference: What the model says of its calibration patients.
    """

    reference: Reference

    @classmethod
    def of(cls, reference: Reference | None) -> Familiarity | None:
        """Returns None where there is no reference, or one of too few patients or from before this was kept."""
        if reference is None or not reference.near_distances or reference.distance_patients < FEWEST_PATIENTS:
            return None
        return cls(reference)

    @property
    def rate(self) -> float:
        """Share of scans like those of the calibration patients that is taken for unlike them, at most."""
        patients = self.reference.distance_patients
        return max(math.floor(FALSE_ALARMS * (patients + 1)), 1) / (patients + 1)

    def p_value(self, descriptors: npt.NDArray[np.floating[Any]]) -> float:
        """Returns the share of series like those of the reference that are at least as far away as this one, at most.

        Args:
            descriptors: Of one slice a position, as those of the reference, shape (S, D).
        """
        distance = near_distance(self.reference.space.distances(descriptors))
        # The table holds percentiles: those below the first that is as far away are surely nearer.
        below = np.searchsorted(self._table, distance, side="left") - 1
        farther = min(1.0, 1.0 - below / STEPS)
        patients = self.reference.distance_patients
        return (math.floor(farther * patients + 1e-9) + 1) / (patients + 1)

    def warnings(self, p_value: float) -> tuple[ScanWarning, ...]:
        """Returns the warning that a series with this p value gets, if any."""
        if p_value > self.rate:
            return ()
        message = (
            f"To the model the slices look unlike those of its calibration patients: at most {p_value:.1%} of scans "
            "like theirs look as unlike."
        )
        return (ScanWarning(UNLIKE_TRAINING, message),)

    @property
    def rule(self) -> str:
        """What `warnings` goes by, in words."""
        return (
            f"descriptors are farther from those of the calibration patients than at least {1 - self.rate:.1%} of such "
            f"patients are (measured on {self.reference.distance_patients}), as on average at most {self.rate:.1%} of "
            "ordinary scans"
        )

    @cached_property
    def _table(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.reference.near_distances)


def unlike_rule(task: Task, familiarity: Familiarity | None) -> str:
    """Returns how scans unlike the training data are found, in words; "" where they are not."""
    by_model = "" if familiarity is None else familiarity.rule
    if not _is_head_task(task):
        return f"A series is taken for unlike the training data where its {by_model}." if by_model else ""
    return f"{HEAD_RULE}, or where its {by_model}." if by_model else f"{HEAD_RULE}. This model brings no other measure."


def unlike_warnings(volume: Volume, model_input: ModelInput, task: Task) -> tuple[ScanWarning, ...]:
    """Returns a warning for every reason that needs no model why a series is unlike the training data of a task.

    Only a task that looks for the skull says what its images show: heads. Others give no warnings.

    Args:
        volume: The series.
        model_input: What came of it.
        task: The task.
    """
    if not _is_head_task(task):
        return ()
    doubts = [] if has_air(volume.values) else ["There is next to no air in the images, so their values are not HU."]
    if any(warning.code == _CONTRAST for warning in volume.warnings):
        doubts.append("Contrast medium was given, as tags or description say.")
    slab_mm = median_spacing_mm(model_input.positions_mm) or task.preprocessing.slab_mm
    # Of slices at one position one counts: two acquisitions have no more contrast medium than one.
    values = model_input.values[primary_rows(model_input.duplicate_rank)]
    doubts += head_doubts(values, task.preprocessing.pixel_mm, slab_mm)
    return tuple(ScanWarning(UNLIKE_TRAINING, doubt) for doubt in doubts)


def _is_head_task(task: Task) -> bool:
    return task.preprocessing.head_box == "skull"
