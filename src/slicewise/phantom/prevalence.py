"""How often which hemorrhage comes: the mix of a clinic, as RSNA 2019 has it, and one that is good to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec

from slicewise.errors import UsageError

TRAINING, CLINICAL = "training", "clinical"
PRESETS = (TRAINING, CLINICAL)
_SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")

POSITIVE_SHARES: Mapping[str, float] = MappingProxyType({TRAINING: 0.5, CLINICAL: 0.41})
"""Planned share of positive studies; nearly all of them end with a positive slice, save for a few tiny bleeds."""


class ScenarioShares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often positive studies follow a scenario; normalised. Companions come with each, see `hemorrhages.plan`.

    Attributes:
        epidural: Epidural hematoma, some with contusions or subarachnoid blood.
        subdural: Subdural hematoma of one or both sides, some along falx and tentorium.
        trauma: Several subtypes at once.
        traumatic_subarachnoid: Blood in a few sulci or fissures.
        contusion: Cortical contusions.
        shear: Diffuse axonal injury.
        aneurysm: Basal subarachnoid hemorrhage, some with blood in ventricles and brain.
        deep: Hematoma of putamen, thalamus or caudate nucleus, some breaking into the ventricles.
        lobar: Hematoma of a lobe.
        infratentorial: Hematoma of cerebellum or pons.
        intraventricular: Blood in the ventricles alone.
        transformation: Bleeding into a tumour or an infarct.
    """

    epidural: float = 0.0
    subdural: float = 0.0
    trauma: float = 0.0
    traumatic_subarachnoid: float = 0.0
    contusion: float = 0.0
    shear: float = 0.0
    aneurysm: float = 0.0
    deep: float = 0.0
    lobar: float = 0.0
    infratentorial: float = 0.0
    intraventricular: float = 0.0
    transformation: float = 0.0


SCENARIO_SHARES: Mapping[str, ScenarioShares] = MappingProxyType(
    {
        TRAINING: ScenarioShares(
            epidural=0.14,
            subdural=0.2,
            trauma=0.12,
            traumatic_subarachnoid=0.09,
            contusion=0.07,
            shear=0.04,
            aneurysm=0.08,
            deep=0.07,
            lobar=0.07,
            infratentorial=0.06,
            intraventricular=0.03,
            transformation=0.03,
        ),
        CLINICAL: ScenarioShares(
            epidural=0.018,
            subdural=0.195,
            trauma=0.235,
            traumatic_subarachnoid=0.025,
            contusion=0.015,
            shear=0.01,
            aneurysm=0.125,
            deep=0.177,
            lobar=0.11,
            infratentorial=0.04,
            intraventricular=0.03,
            transformation=0.02,
        ),
    }
)


class HemorrhageParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about hemorrhages.

    Attributes:
        preset: "training" has rare subtypes more often and more positive studies; "clinical" has the prevalences and
            run lengths of RSNA 2019.
        positive_share: Share of the studies that get hemorrhages, None for the preset's. A small or cut-off one may
            still leave no slice positive.
        scenarios: How often each scenario comes, None for the preset's.
        subtypes: Subtypes that may come; others are left out of every scenario. Empty for all.
        twins: Share of the odd studies that show the head of the study before them on the same scanner, one of the two
            with blood and the other without: the share of positive studies then goes towards a half.
    """

    preset: str = TRAINING
    positive_share: float | None = None
    scenarios: ScenarioShares | None = None
    subtypes: tuple[str, ...] = ()
    twins: Annotated[float, msgspec.Meta(ge=0, le=0.8)] = 0.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            UsageError: If one does not fit.
        """
        if self.preset not in PRESETS:
            raise UsageError(f"hemorrhage.preset: {self.preset!r} is none of {', '.join(PRESETS)}")
        if not 0 <= self.share_of_positives <= 1:
            raise UsageError(f"hemorrhage.positive_share: {self.positive_share} is not between 0 and 1")
        if self.twins > 0 and self.share_of_positives in (0, 1):
            raise UsageError("hemorrhage.twins: needs a positive_share between 0 and 1; of two twins one has blood")
        shares = self.scenario_shares.values()
        if min(shares) < 0 or sum(shares) <= 0:
            raise UsageError("hemorrhage.scenarios: expected shares of at least 0 that are not all 0")
        unknown = sorted(set(self.subtypes) - set(_SUBTYPES))
        if unknown:
            raise UsageError(f"hemorrhage.subtypes: {', '.join(unknown)} is none of {', '.join(_SUBTYPES)}")

    @property
    def share_of_positives(self) -> float:
        """Share of the studies that get hemorrhages."""
        return POSITIVE_SHARES[self.preset] if self.positive_share is None else self.positive_share

    @property
    def scenario_shares(self) -> dict[str, float]:
        """Weight of every scenario."""
        shares: dict[str, float] = msgspec.structs.asdict(self.scenarios or SCENARIO_SHARES[self.preset])
        return shares
