"""What three radiologists say of a phantom in the CQ500 layout: mostly the truth, and they disagree now and then."""

from __future__ import annotations

import numpy as np

from slicewise.phantom.hemorrhages.blood import ACUTE, HYPERACUTE
from slicewise.phantom.hemorrhages.model import SUBTYPES
from slicewise.phantom.labels import LABELS
from slicewise.phantom.study import PhantomStudy

READERS = ("R1", "R2", "R3")
_ABBREVIATIONS = {
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subdural": "SDH",
    "epidural": "EDH",
    "subarachnoid": "SAH",
}
_SIGNS = (
    "BleedLocation-Left",
    "BleedLocation-Right",
    "ChronicBleed",
    "Fracture",
    "CalvarialFracture",
    "OtherFracture",
    "MassEffect",
    "MidlineShift",
)
_FINDINGS = ("ICH", *_ABBREVIATIONS.values(), *_SIGNS)
COLUMNS = ("name", "Category", *(f"{reader}:{finding}" for reader in READERS for finding in _FINDINGS))
CATEGORY = "B1"

_FALSE_ALARM, _SLIP = 0.012, 0.02
_EASILY_SEEN_ML = 1.0
_MASS_EFFECT_MM, _MIDLINE_SHIFT_MM = 2.0, 5.0

Read = tuple[int, ...]
"""What one reader says of every finding of `COLUMNS`: 0 or 1."""


def read_study(study: PhantomStudy, rng: np.random.Generator) -> tuple[Read, ...]:
    """Returns what each reader says of a study.

    A reader misses little blood more often than much, calls borderline blood one way or the other, and slips rarely.

    Args:
        study: The study.
        rng: Draws the disagreement.
    """
    return tuple(_read(study, rng) for _ in READERS)


def _read(study: PhantomStudy, rng: np.random.Generator) -> Read:
    said = {}
    for name, short in _ABBREVIATIONS.items():
        column = study.labels[:, LABELS.index(name)]
        sees = 1 - _SLIP - 0.3 * np.exp(-study.volumes_ml[name] / _EASILY_SEEN_ML)
        probability = sees if (column == 1).any() else 0.4 if (column == -1).any() else _FALSE_ALARM / len(SUBTYPES)
        said[short] = int(rng.random() < probability)
    is_bleeding = any(said.values())
    signs = _signs(study)
    answers = rng.random(len(_SIGNS))
    for sign, answer in zip(_SIGNS, answers.tolist(), strict=True):
        said[sign] = int(answer < (0.95 if sign in signs and is_bleeding else 0.005))
    return (int(is_bleeding), *(said[finding] for finding in _FINDINGS[1:]))


def _signs(study: PhantomStudy) -> set[str]:
    """Returns what is there beside the kinds of hemorrhage."""
    found = set()
    for one in study.hemorrhages:
        found.add("BleedLocation-Left" if one.side > 0 else "BleedLocation-Right")
        if one.age not in (HYPERACUTE, ACUTE):
            found.add("ChronicBleed")
        shift = 0.0 if one.push is None else float(np.linalg.norm(one.push.displacement))
        if shift > _MASS_EFFECT_MM:
            found.add("MassEffect")
        if shift > _MIDLINE_SHIFT_MM:
            found.add("MidlineShift")
    return found
