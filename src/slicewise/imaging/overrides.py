"""Known defects of public studies, from `overrides.toml`: what no rule can see, with its reason."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from importlib import resources
from typing import Literal

import msgspec

_CQ500 = re.compile(r"\s*CQ500[-_ ]?CT[-_ ]?0*(\d+)(?!\d)", re.IGNORECASE)


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one study.

    Attributes:
        patient: Patient ID, as `patient_name` returns it.
        action: "refuse" to leave it out unless its series is asked for, "warn" to read it with a warning.
        message: What is known, as the end of a sentence.
    """

    patient: str
    action: Literal["refuse", "warn"]
    message: str


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    study: tuple[Override, ...]


def patient_name(patient_id: str) -> str:
    """Returns one spelling for the many that CQ500 has of a patient; any other Patient ID as it is.

    >>> patient_name("CQ500CT12 CQ500CT12")
    'CQ500-CT-12'
    """
    found = _CQ500.match(patient_id)
    return f"CQ500-CT-{found[1]}" if found else patient_id


def override_of(patient_id: str) -> Override | None:
    """Returns what is known of the study of a patient, None if nothing is."""
    return _overrides().get(patient_name(patient_id))


@lru_cache(maxsize=1)
def _overrides() -> dict[str, Override]:
    content = (resources.files("slicewise") / "imaging" / "overrides.toml").read_text(encoding="utf-8")
    return {item.patient: item for item in msgspec.convert(tomllib.loads(content), _Table).study}
