"""Which hemorrhages a study has: scenarios, as trauma, hypertension and aneurysms bring them about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from slicewise.errors import UsageError
from slicewise.phantom.fields import Point
from slicewise.phantom.hemorrhages import intraparenchymal as parenchyma
from slicewise.phantom.hemorrhages import intraventricular as ventricles
from slicewise.phantom.hemorrhages import subarachnoid, subdural
from slicewise.phantom.hemorrhages.draws import choose, either_side
from slicewise.phantom.hemorrhages.epidural import sample_epidural
from slicewise.phantom.hemorrhages.intraparenchymal import (
    sample_contusions,
    sample_intraparenchymal,
    sample_shear_injuries,
)
from slicewise.phantom.hemorrhages.intraventricular import sample_intraventricular
from slicewise.phantom.hemorrhages.model import SUBTYPES, Hemorrhage, point
from slicewise.phantom.hemorrhages.subarachnoid import sample_subarachnoid
from slicewise.phantom.hemorrhages.subdural import sample_subdural
from slicewise.phantom.prevalence import HemorrhageParameters

_TRIES = 2000
_POSTOPERATIVE_SHARE = 0.6
"""Share of the positive heads with a craniotomy or burr hole whose blood lies there."""


def sample_hemorrhages(
    rng: np.random.Generator, parameters: HemorrhageParameters, surgery: Point | None = None
) -> tuple[Hemorrhage, ...]:
    """Draws the hemorrhages of one study.

    Args:
        rng: Where everything is drawn from.
        parameters: How often what comes.
        surgery: Centre of a craniotomy or burr hole, in template coordinates, None where the skull is whole.

    Returns:
        No hemorrhage for a negative study.

    Raises:
        UsageError: If the scenarios that can come have none of the wanted subtypes.
    """
    if rng.random() >= parameters.share_of_positives:
        return ()
    shares = parameters.scenario_shares
    wanted = parameters.subtypes or SUBTYPES
    for _ in range(_TRIES):
        if surgery is not None and rng.random() < _POSTOPERATIVE_SHARE:
            found = _postoperative(rng, surgery)
        else:
            found = _SCENARIOS[choose(rng, shares)](rng)
        kept = tuple(one for one in found if one.subtype in wanted)
        if kept:
            return kept
    named = ", ".join(name for name, share in shares.items() if share > 0)
    raise UsageError(
        f"hemorrhage.subtypes: none of {', '.join(wanted)} comes in the scenarios {named}; choose others of either"
    )


def _with(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _epidural(rng: np.random.Generator) -> list[Hemorrhage]:
    first = sample_epidural(rng)
    found = [first]
    if _with(rng, 0.3):
        found += sample_contusions(rng, 3)
    if _with(rng, 0.2):
        found.append(sample_subdural(rng, side=-first.side, thickest=8))
    if _with(rng, 0.35):
        found.append(sample_subarachnoid(rng, subarachnoid.CONVEXITY))
    return found


def _subdural(rng: np.random.Generator) -> list[Hemorrhage]:
    side = either_side(rng)
    found = [sample_subdural(rng, subdural.CONVEXITY if _with(rng, 0.82) else None, side, 24.0)]
    if _with(rng, 0.16):  # bilateral
        found.append(sample_subdural(rng, subdural.CONVEXITY, -side, 12.0))
    if _with(rng, 0.34):
        found.append(sample_subdural(rng, subdural.FALX, side, 7.0))
    if _with(rng, 0.24):
        found.append(sample_subdural(rng, subdural.TENTORIUM, side, 5.0))
    if _with(rng, 0.25):
        found.append(sample_subarachnoid(rng, subarachnoid.CONVEXITY))
    if _with(rng, 0.12):
        found += sample_contusions(rng, 2)
    return found


def _trauma(rng: np.random.Generator) -> list[Hemorrhage]:
    side = either_side(rng)
    found = [sample_subarachnoid(rng, subarachnoid.CONVEXITY)]
    if _with(rng, 0.8):
        found.append(sample_subdural(rng, side=side, thickest=14))
        if _with(rng, 0.4):
            found.append(sample_subdural(rng, subdural.FALX if _with(rng, 0.6) else subdural.TENTORIUM, side, 6))
    if _with(rng, 0.65):
        found += sample_contusions(rng)
    for _ in range(int(rng.integers(0, 4))):
        found.append(sample_subarachnoid(rng, subarachnoid.SYLVIAN if _with(rng, 0.3) else subarachnoid.CONVEXITY))
    if _with(rng, 0.05):
        found.append(sample_epidural(rng, -side))
    if _with(rng, 0.35):
        found.append(sample_intraventricular(rng, ventricles.DEPENDENT))
    if _with(rng, 0.12):
        found += sample_shear_injuries(rng)
    return found


def _traumatic_subarachnoid(rng: np.random.Generator) -> list[Hemorrhage]:
    kinds = (subarachnoid.CONVEXITY, subarachnoid.SYLVIAN, subarachnoid.INTERHEMISPHERIC)
    return [
        sample_subarachnoid(rng, kinds[int(rng.choice(3, p=[0.72, 0.18, 0.1]))]) for _ in range(int(rng.integers(1, 4)))
    ]


def _contusion(rng: np.random.Generator) -> list[Hemorrhage]:
    found = sample_contusions(rng, 5)
    if _with(rng, 0.6):
        found.append(sample_subarachnoid(rng, near=found[0].center, kind=subarachnoid.CONVEXITY))
    return found


def _shear(rng: np.random.Generator) -> list[Hemorrhage]:
    found = sample_shear_injuries(rng)
    if _with(rng, 0.4):
        found.append(sample_intraventricular(rng, ventricles.DEPENDENT))
    return found


def _aneurysm(rng: np.random.Generator) -> list[Hemorrhage]:
    kind = subarachnoid.PERIMESENCEPHALIC if _with(rng, 0.14) else subarachnoid.ANEURYSMAL
    found = [sample_subarachnoid(rng, kind)]
    if kind == subarachnoid.PERIMESENCEPHALIC:
        return found
    if _with(rng, 0.25):
        found.append(sample_subarachnoid(rng, subarachnoid.INTERHEMISPHERIC))
    if _with(rng, 0.7):
        found.append(sample_intraventricular(rng, ventricles.DEPENDENT))
    if _with(rng, 0.35):
        found.append(sample_intraventricular(rng, ventricles.FOURTH if _with(rng, 0.5) else ventricles.THIRD))
    if _with(rng, 0.3):
        found.append(sample_intraparenchymal(rng, parenchyma.LOBAR, found[0].side))
    if _with(rng, 0.06):
        found.append(sample_subdural(rng, subdural.CONVEXITY, thickest=8))
    return found


def _deep(rng: np.random.Generator) -> list[Hemorrhage]:
    kind = choose(rng, parenchyma.DEEP)
    found = [sample_intraparenchymal(rng, kind)]
    breaks_through = {parenchyma.PUTAMEN: 0.6, parenchyma.THALAMUS: 0.8, parenchyma.CAUDATE: 0.9}[kind]
    if _with(rng, breaks_through):
        found += _intraventricular(rng, found[0].side)
    return found


def _lobar(rng: np.random.Generator) -> list[Hemorrhage]:
    found = [sample_intraparenchymal(rng, parenchyma.LOBAR)]
    if _with(rng, 0.12):
        found.append(sample_intraparenchymal(rng, parenchyma.LOBAR))
    if _with(rng, 0.4):
        found.append(sample_subarachnoid(rng, subarachnoid.CONVEXITY, near=found[0].center))
    if _with(rng, 0.14):
        found.append(sample_subdural(rng, subdural.CONVEXITY, found[0].side, 9.0))
    if _with(rng, 0.4):
        found += _intraventricular(rng, found[0].side)
    return found


def _infratentorial(rng: np.random.Generator) -> list[Hemorrhage]:
    found = [sample_intraparenchymal(rng, parenchyma.PONS if _with(rng, 0.3) else parenchyma.CEREBELLUM)]
    if _with(rng, 0.4):
        found.append(sample_intraventricular(rng, ventricles.FOURTH))
        if _with(rng, 0.5):
            found.append(sample_intraventricular(rng, ventricles.DEPENDENT))
    return found


def _intraventricular(rng: np.random.Generator, side: float | None = None) -> list[Hemorrhage]:
    found = [sample_intraventricular(rng, None if _with(rng, 0.4) else ventricles.CAST, side)]
    if found[0].kind == ventricles.CAST and _with(rng, 0.8):
        found.append(sample_intraventricular(rng, ventricles.DEPENDENT, found[0].side))
        if _with(rng, 0.5):
            found.append(sample_intraventricular(rng, ventricles.THIRD))
        if _with(rng, 0.4):
            found.append(sample_intraventricular(rng, ventricles.FOURTH))
    return found


def _transformation(rng: np.random.Generator) -> list[Hemorrhage]:
    """Bleeding into a tumour, into several metastases, or into an infarct."""
    if _with(rng, 0.5):
        return [sample_intraparenchymal(rng, parenchyma.INFARCT)]
    return [sample_intraparenchymal(rng, parenchyma.TUMOUR) for _ in range(1 + 2 * int(_with(rng, 0.2)))]


def _postoperative(rng: np.random.Generator, surgery: Point) -> list[Hemorrhage]:
    """What is left, or bleeds again, below a craniotomy or beside a drain."""
    side = 1.0 if surgery[0] >= 0 else -1.0
    draw = rng.random()
    if draw < 0.45:
        return [_at(sample_subdural(rng, subdural.CONVEXITY, side, 10.0), surgery)]
    if draw < 0.75:
        kind = parenchyma.LOBAR if _with(rng, 0.7) else parenchyma.TUMOUR
        below = point(np.array(surgery) * rng.uniform(0.5, 0.8) + rng.normal(0, 4, size=3))
        found = [_at(sample_intraparenchymal(rng, kind, side), below)]
        if _with(rng, 0.3):
            found.append(_at(sample_subdural(rng, subdural.CONVEXITY, side, 6.0), surgery))
        return found
    if draw < 0.88:
        return [sample_intraventricular(rng, ventricles.DEPENDENT, side)]
    return [sample_subarachnoid(rng, subarachnoid.CONVEXITY, near=surgery)]


def _at(one: Hemorrhage, center: Point) -> Hemorrhage:
    """Moves a hemorrhage and its mass effect."""
    push = None if one.push is None else replace(one.push, center=center)
    return replace(one, center=center, push=push)


_SCENARIOS: dict[str, Callable[[np.random.Generator], list[Hemorrhage]]] = {
    "epidural": _epidural,
    "subdural": _subdural,
    "trauma": _trauma,
    "traumatic_subarachnoid": _traumatic_subarachnoid,
    "contusion": _contusion,
    "shear": _shear,
    "aneurysm": _aneurysm,
    "deep": _deep,
    "lobar": _lobar,
    "infratentorial": _infratentorial,
    "intraventricular": _intraventricular,
    "transformation": _transformation,
}
