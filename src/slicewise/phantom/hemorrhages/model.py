"""What a hemorrhage is: subtype, form, place, size, blood, and the mass effect that it has on the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Field, Point, Window
from slicewise.phantom.hemorrhages.blood import Blood

ANY = "any"
EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR = "epidural", "intraparenchymal", "intraventricular"
SUBARACHNOID, SUBDURAL = "subarachnoid", "subdural"
SUBTYPES = (EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL)
"""The five subtypes of the RSNA 2019 challenge, in its order."""


@dataclass(frozen=True)
class Hemorrhage:
    """One bleed. Coordinates are those of the template head (see `fields.HeadGrid`).

    Attributes:
        subtype: One of `SUBTYPES`.
        kind: Form within the subtype, such as "convexity", "falx" or "tentorium" of a subdural one.
        center: Where it is.
        size_mm: Half axes of an intraparenchymal one; thickness and two lengths along the dura of an epidural or
            subdural one; share of the tissue nearby that is filled, and reach, of a subarachnoid one; depths of the
            pools, or widening and reach, of an intraventricular one.
        blood: Age, density and texture.
        push: Mass effect, None where there is none worth drawing.
        volume_ml: Blood in it, measured when it is drawn; 0 before.
    """

    subtype: str
    kind: str
    center: Point
    size_mm: Point
    blood: Blood
    push: Push | None = None
    volume_ml: float = 0.0

    @property
    def age(self) -> str:
        """Age of its blood, one of `AGES`."""
        return self.blood.age

    @property
    def side(self) -> float:
        """1 on the patient's left, -1 on the right."""
        return 1.0 if self.center[0] >= 0 else -1.0


class Drawing(NamedTuple):
    """A hemorrhage on a part of the grid: where, its occupancy in [0, 1], and the distance to its border in mm."""

    window: Window
    occupancy: Field
    depth: Field


def point(values: npt.ArrayLike) -> Point:
    """Returns three numbers as a point."""
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z
