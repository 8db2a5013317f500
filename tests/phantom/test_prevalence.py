from __future__ import annotations

import msgspec
import pytest

from slicewise.errors import UsageError
from slicewise.phantom.hemorrhages.model import SUBTYPES
from slicewise.phantom.prevalence import HemorrhageParameters, ScenarioShares


def test_presets_and_what_replaces_them() -> None:
    assert HemorrhageParameters().share_of_positives == 0.5
    assert HemorrhageParameters("clinical").share_of_positives == pytest.approx(0.41, abs=0.02)
    assert HemorrhageParameters("clinical", positive_share=0.0).share_of_positives == 0.0
    chosen = HemorrhageParameters(scenarios=ScenarioShares(deep=2.0)).scenario_shares
    assert {name for name, share in chosen.items() if share} == {"deep"}


@pytest.mark.parametrize("preset", ["training", "clinical"])
def test_shares_of_a_preset_add_up_to_one(preset: str) -> None:
    assert sum(HemorrhageParameters(preset).scenario_shares.values()) == pytest.approx(1.0, abs=0.011)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "rsna"}, "hemorrhage.preset: 'rsna' is none of training, clinical"),
        ({"positive_share": 1.5}, "hemorrhage.positive_share: 1.5 is not between 0 and 1"),
        ({"scenarios": {}}, "not all 0"),
        ({"scenarios": {"deep": -1.0, "lobar": 2.0}}, "at least 0"),
        ({"subtypes": ["extradural"]}, "hemorrhage.subtypes: extradural is none of epidural"),
    ],
)
def test_values_that_do_not_fit_are_reported(arguments: dict[str, object], message: str) -> None:
    with pytest.raises((UsageError, msgspec.ValidationError), match=message):
        msgspec.convert(arguments, HemorrhageParameters)


def test_subtypes_are_those_of_the_model() -> None:
    assert HemorrhageParameters(subtypes=SUBTYPES).subtypes == SUBTYPES
