"""Where mimics lie: the `Mimic` itself, and one sampler a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.phantom.deform import Push
from slicewise.phantom.fields import Point
from slicewise.phantom.template import inner_table


@dataclass(frozen=True)
class Mimic:
    """One mimic.

    Attributes:
        kind: Name of its probability in `MimicParameters`.
        center: Where it is, in template coordinates.
        size_mm: Half axes, or thickness and reach, by kind.
        hu: Its density.
        form: Form within the kind.
        push: Mass effect, None where there is none worth drawing.
    """

    kind: str
    center: Point
    size_mm: Point = (0.0, 0.0, 0.0)
    hu: float = 0.0
    form: str = ""
    push: Push | None = None

    @property
    def side(self) -> float:
        """1 on the left, -1 on the right."""
        return 1.0 if self.center[0] >= 0 else -1.0


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _point(values: npt.ArrayLike) -> Point:
    x, y, z = np.asarray(values, dtype=np.float64).tolist()
    return x, y, z


def _vault(rng: np.random.Generator, elevation: tuple[float, float], azimuth: tuple[float, float] = (-70, 70)) -> Point:
    """A place on the inner table: azimuth from the side (0) to the back (90), elevation above the axial plane."""
    a, e = np.deg2rad(rng.uniform(*azimuth)), np.deg2rad(rng.uniform(*elevation))
    return inner_table((_side(rng) * np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)))


def _dot(rng: np.random.Generator, kind: str, center: Point, radius: float, hu: tuple[float, float]) -> Mimic:
    radii = radius * np.exp(rng.normal(0, 0.3, size=3))
    where = np.array(center) + rng.normal(0, 0.8, size=3)
    return Mimic(kind, _point(where), _point(radii), float(np.exp(rng.uniform(*np.log(hu)))))


def _whole(kind: str) -> Callable[[np.random.Generator], list[Mimic]]:
    """A mimic that changes the anatomy as a whole: `anatomy.with_mimics` says how."""

    def sample(rng: np.random.Generator) -> list[Mimic]:
        return [Mimic(kind, (0.0, 0.0, 0.0), hu=float(rng.uniform()))]

    return sample


def _shunt(rng: np.random.Generator) -> list[Mimic]:
    side = _side(rng)
    frontal = rng.random() < 0.4
    entry = inner_table((side * 35.0, -55.0, 52.0) if frontal else (side * 38.0, 62.0, 38.0))
    tip = (side * 6.0, -26.0, 8.0) if frontal else (side * 9.0, -18.0, 16.0)
    return [Mimic("shunt", entry, tip, float(rng.uniform(180, 420)), form="frontal" if frontal else "parietal")]


def _dense_artery(rng: np.random.Generator) -> list[Mimic]:
    form = str(rng.choice(["middle", "basilar"], p=[0.75, 0.25]))
    return [Mimic("dense_artery", (_side(rng) * 22.0, -20.0, -15.0), hu=float(rng.uniform(62, 85)), form=form)]


def _pineal(rng: np.random.Generator) -> list[Mimic]:
    return [_dot(rng, "pineal_calcification", (0.0, 13.0, 2.0), float(rng.uniform(1.2, 3.0)), (90, 500))]


def _choroid(rng: np.random.Generator) -> list[Mimic]:
    sides = [1.0, -1.0] if rng.random() < 0.8 else [_side(rng)]
    return [
        _dot(rng, "choroid_calcification", (side * 25.0, 28.0, 8.0), float(rng.uniform(1.5, 3.5)), (80, 500))
        for side in sides
    ]


def _falx_calcification(rng: np.random.Generator) -> list[Mimic]:
    return [
        Mimic(
            "falx_calcification",
            (float(rng.normal(0, 1)), float(rng.uniform(-65, 10)), float(rng.uniform(30, 62))),
            (float(rng.uniform(0.8, 2.2)), float(rng.uniform(2, 14)), float(rng.uniform(2, 9))),
            float(rng.uniform(90, 700)),
        )
        for _ in range(int(rng.integers(1, 4)))
    ]


def _tentorium_calcification(rng: np.random.Generator) -> list[Mimic]:
    center = (_side(rng) * float(rng.uniform(4, 18)), float(rng.uniform(24, 50)), 0.0)
    return [Mimic("tentorium_calcification", center, (8.0, 8.0, 1.2), float(rng.uniform(90, 400)))]


def _basal_ganglia(rng: np.random.Generator) -> list[Mimic]:
    sides = [1.0, -1.0] if rng.random() < 0.75 else [_side(rng)]
    radius, hu = float(rng.uniform(1.5, 4.5)), (60.0, 250.0)
    return [_dot(rng, "basal_ganglia_calcification", (side * 18.0, -16.0, 0.0), radius, hu) for side in sides]


def _vascular(rng: np.random.Generator) -> list[Mimic]:
    places: tuple[Point, ...] = ((12.5, -20.0, -25.0), (-12.5, -20.0, -25.0), (8.0, 17.0, -67.0), (-8.0, 17.0, -67.0))
    return [_dot(rng, "vascular_calcification", place, 1.3, (150, 900)) for place in places if rng.random() < 0.6]


def _granuloma(rng: np.random.Generator) -> list[Mimic]:
    center = np.array(_vault(rng, (-5, 60))) * rng.uniform(0.5, 0.93)
    return [_dot(rng, "granuloma", _point(center), float(rng.uniform(0.8, 2.5)), (80, 600))]


def _infarct(kind: str, hu: tuple[float, float]) -> Callable[[np.random.Generator], list[Mimic]]:
    def sample(rng: np.random.Generator) -> list[Mimic]:
        below = rng.random() < 0.15
        if below:
            center: Point = (_side(rng) * float(rng.uniform(20, 36)), float(rng.uniform(45, 62)), -42.0)
            reach = float(rng.uniform(9, 20))
        else:
            center = _point(np.array(_vault(rng, (-5, 50))) * 0.92)
            reach = float(rng.uniform(13, 40))
        radii = reach * np.exp(rng.normal(0, 0.2, size=3))
        push = None
        if kind == "fresh_infarct" and reach > 18:
            push = Push(center, (-np.sign(center[0]) * float(rng.uniform(0.5, 5)), 0.0, 0.0), reach)
        return [Mimic(kind, center, _point(radii), float(rng.uniform(*hu)), push=push)]

    return sample


def _lacunes(rng: np.random.Generator) -> list[Mimic]:
    return [
        Mimic(
            "lacunes",
            (_side(rng) * float(rng.uniform(10, 28)), float(rng.uniform(-30, 12)), float(rng.uniform(-2, 20))),
            _point(rng.uniform(1.5, 5.0, size=3)),
            float(rng.uniform(8, 18)),
        )
        for _ in range(int(rng.integers(1, 5)))
    ]


def _encephalomalacia(rng: np.random.Generator) -> list[Mimic]:
    sides = [1.0, -1.0] if rng.random() < 0.4 else [_side(rng)]
    frontal = rng.random() < 0.6
    return [
        Mimic(
            "encephalomalacia",
            (side * 18.0, -72.0, -14.0) if frontal else (side * 44.0, -32.0, -36.0),
            _point(rng.uniform(8, 22, size=3)),
            float(rng.uniform(6, 16)),
        )
        for side in sides
    ]


def _edema(rng: np.random.Generator) -> list[Mimic]:
    center = _point(np.array(_vault(rng, (0, 55))) * rng.uniform(0.5, 0.7))
    push = Push(center, (-np.sign(center[0]) * float(rng.uniform(0.5, 4)), 0.0, 0.0), 30.0)
    return [Mimic("edema", center, _point(rng.uniform(14, 32, size=3)), float(rng.uniform(14, 22)), push=push)]


def _tumour(rng: np.random.Generator) -> list[Mimic]:
    if rng.random() < 0.2:
        center: Point = (
            _side(rng) * float(rng.uniform(3, 28)),
            float(rng.uniform(34, 56)),
            float(rng.uniform(-48, -34)),
        )
        radius = float(rng.uniform(6, 15))
    else:
        center = _point(np.array(_vault(rng, (-5, 60))) * rng.uniform(0.35, 0.82))
        radius = float(rng.uniform(5, 24))
    form = str(rng.choice(["dark", "ring", "solid", "calcified"], p=[0.3, 0.3, 0.25, 0.15]))
    hu = {"dark": rng.uniform(14, 26), "ring": rng.uniform(44, 70), "solid": rng.uniform(38, 52)}.get(form, 34.0)
    push = Push(center, (-np.sign(center[0]) * 0.3 * radius * float(rng.uniform(0.5, 1.5)), 0.0, 0.0), 16 + radius)
    return [Mimic("tumour", center, _point(radius * np.exp(rng.normal(0, 0.15, 3))), float(hu), form, push)]


def _meningioma(rng: np.random.Generator) -> list[Mimic]:
    radius = float(rng.uniform(6, 24))
    if rng.random() < 0.3:
        wall: Point = (_side(rng) * 1.0, float(rng.uniform(-60, 50)), float(rng.uniform(35, 62)))
        inward = np.array([np.sign(wall[0]), 0.0, 0.0])
    else:
        wall = _vault(rng, (-5, 75))
        inward = -np.array(wall) / np.linalg.norm(wall)
    center = np.array(wall) + inward * radius * 0.75
    form = str(rng.choice(["", "calcified"], p=[0.75, 0.25]))
    push = Push(_point(center), _point(inward * 0.35 * radius), 10 + radius)
    radii = _point(radius * np.exp(rng.normal(0, 0.1, 3)))
    return [Mimic("meningioma", _point(center), radii, float(rng.uniform(42, 66)), form, push)]


def _arachnoid_cyst(rng: np.random.Generator) -> list[Mimic]:
    side = _side(rng)
    places: tuple[Point, ...] = ((side * 46.0, -34.0, -28.0), (side * 4.0, 66.0, -46.0), (side * 50.0, 0.0, 44.0))
    center = places[int(rng.choice(3, p=[0.55, 0.3, 0.15]))]
    radii = rng.uniform(9, 26, size=3)
    inward = -np.array(center) / np.linalg.norm(center)
    push = Push(center, _point(inward * 0.2 * radii.mean()), 25.0)
    return [Mimic("arachnoid_cyst", center, _point(radii), push=push)]


def _hygroma(rng: np.random.Generator) -> list[Mimic]:
    sides = [1.0, -1.0] if rng.random() < 0.5 else [_side(rng)]
    found = []
    for side in sides:
        thickness, reach = float(rng.uniform(3, 14)), float(rng.uniform(35, 70))
        center = inner_table((side * 45.0, float(rng.uniform(-65, 0)), float(rng.uniform(25, 60))))
        push = Push(center, _point(-0.35 * thickness * np.array(center) / np.linalg.norm(center)), 40.0)
        hu = float(rng.uniform(3, 18))
        found.append(Mimic("hygroma", center, (thickness, reach, reach), hu, push=push))
    return found


def _colloid_cyst(rng: np.random.Generator) -> list[Mimic]:
    return [_dot(rng, "colloid_cyst", (0.0, -14.0, 9.0), float(rng.uniform(3, 7)), (45, 75))]


def _bone_surgery(kind: str, reach: tuple[float, float]) -> Callable[[np.random.Generator], list[Mimic]]:
    def sample(rng: np.random.Generator) -> list[Mimic]:
        center = _vault(rng, (5, 55) if kind != "craniectomy" else (15, 35), (-50, 40))
        size = float(rng.uniform(*reach))
        return [Mimic(kind, center, (size, size * float(rng.uniform(0.8, 1.2)), size), float(rng.uniform(25, 50)))]

    return sample


def sample_air(rng: np.random.Generator, side: float) -> Mimic:
    """Draws air in the skull, on the left (1) or on the right (-1)."""
    form = str(rng.choice(["pool", "bubbles"]))
    center = (side * 24.0, -70.0, float(rng.uniform(10, 50)))
    return Mimic("pneumocephalus", center, (float(rng.uniform(2, 12)), float(rng.uniform(20, 55)), 0.0), -950.0, form)


def _pneumocephalus(rng: np.random.Generator) -> list[Mimic]:
    return [sample_air(rng, _side(rng))]


def _metal(kind: str) -> Callable[[np.random.Generator], list[Mimic]]:
    def sample(rng: np.random.Generator) -> list[Mimic]:
        side = _side(rng)
        places: tuple[Point, ...] = (
            (side * 36.0, -20.0, -13.0),
            (side * 3.0, -28.0, -12.0),
            (side * 11.0, -14.0, -18.0),
        )
        center = places[int(rng.choice(3, p=[0.4, 0.35, 0.25]))]
        radii = (1.2, 1.2, 4.0) if kind == "clip" else _point(rng.uniform(2.0, 5.5) * np.ones(3))
        return [Mimic(kind, center, radii, float(rng.uniform(6000, 14000)))]

    return sample


def _hyperostosis(rng: np.random.Generator) -> list[Mimic]:
    return [
        Mimic(
            "hyperostosis", (0.0, -80.0, 28.0), (float(rng.uniform(2.5, 8)), 45.0, 45.0), float(rng.uniform(600, 1100))
        )
    ]


def _scalp_swelling(rng: np.random.Generator) -> list[Mimic]:
    center = _vault(rng, (-5, 60), (-85, 85))
    reach = float(rng.uniform(14, 38))
    return [Mimic("scalp_swelling", center, (float(rng.uniform(3, 12)), reach, reach), float(rng.uniform(30, 72)))]


def _fracture(rng: np.random.Generator) -> list[Mimic]:
    center = _vault(rng, (-5, 55))
    normal = rng.normal(size=3)
    return [Mimic("fracture", center, _point(normal / np.linalg.norm(normal)), float(rng.uniform(20, 50)))]


SURGERY = ("craniectomy", "craniotomy", "burr_hole")
SAMPLERS: dict[str, Callable[[np.random.Generator], list[Mimic]]] = {
    **{
        kind: _whole(kind)
        for kind in ("atrophy", "hydrocephalus", "dense_brain", "leukoaraiosis", "dense_sinus", "contrast")
    },
    "shunt": _shunt,
    "dense_artery": _dense_artery,
    "pineal_calcification": _pineal,
    "choroid_calcification": _choroid,
    "falx_calcification": _falx_calcification,
    "tentorium_calcification": _tentorium_calcification,
    "basal_ganglia_calcification": _basal_ganglia,
    "vascular_calcification": _vascular,
    "granuloma": _granuloma,
    "old_infarct": _infarct("old_infarct", (7, 18)),
    "fresh_infarct": _infarct("fresh_infarct", (17, 27)),
    "lacunes": _lacunes,
    "encephalomalacia": _encephalomalacia,
    "edema": _edema,
    "tumour": _tumour,
    "meningioma": _meningioma,
    "arachnoid_cyst": _arachnoid_cyst,
    "hygroma": _hygroma,
    "colloid_cyst": _colloid_cyst,
    "craniectomy": _bone_surgery("craniectomy", (34, 58)),
    "craniotomy": _bone_surgery("craniotomy", (22, 42)),
    "burr_hole": _bone_surgery("burr_hole", (5.5, 8.0)),
    "pneumocephalus": _pneumocephalus,
    "clip": _metal("clip"),
    "coil": _metal("coil"),
    "hyperostosis": _hyperostosis,
    "scalp_swelling": _scalp_swelling,
    "fracture": _fracture,
}
