from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from slicewise.errors import UsageError
from slicewise.phantom.hemorrhages.model import SUBTYPES
from slicewise.phantom.hemorrhages.plan import sample_hemorrhages
from slicewise.phantom.prevalence import HemorrhageParameters, ScenarioShares


def _subtypes(parameters: HemorrhageParameters, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(count):
        found.update({one.subtype for one in sample_hemorrhages(np.random.default_rng(seed), parameters)})
    return found


def test_the_share_of_positive_studies_is_kept() -> None:
    parameters = HemorrhageParameters(positive_share=0.3)
    positive = sum(bool(sample_hemorrhages(np.random.default_rng(seed), parameters)) for seed in range(1000))
    assert positive == pytest.approx(300, abs=45)  # three standard deviations
    none = HemorrhageParameters(positive_share=0.0)
    assert sample_hemorrhages(np.random.default_rng(0), none) == ()


def test_the_training_mix_has_more_of_the_rare_subtypes() -> None:
    training = _subtypes(HemorrhageParameters(positive_share=1.0), 800)
    clinical = _subtypes(HemorrhageParameters("clinical", positive_share=1.0), 800)
    assert training["epidural"] > 3 * clinical["epidural"]
    assert min(training[subtype] for subtype in SUBTYPES) > 0.1 * 800
    assert clinical["subdural"] > clinical["epidural"] * 5


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_one_subtype_can_be_had_alone(subtype: str) -> None:
    parameters = HemorrhageParameters(positive_share=1.0, subtypes=(subtype,))
    for seed in range(20):
        found = sample_hemorrhages(np.random.default_rng(seed), parameters)
        assert {one.subtype for one in found} == {subtype}


def test_a_subtype_that_no_scenario_brings_is_reported() -> None:
    parameters = HemorrhageParameters(
        positive_share=1.0, scenarios=ScenarioShares(traumatic_subarachnoid=1.0), subtypes=("epidural",)
    )
    with pytest.raises(UsageError, match="none of epidural comes in the scenarios traumatic_subarachnoid"):
        sample_hemorrhages(np.random.default_rng(0), parameters)


@pytest.mark.parametrize("scenario", ScenarioShares.__struct_fields__)
def test_every_scenario_brings_blood(scenario: str) -> None:
    parameters = HemorrhageParameters(positive_share=1.0, scenarios=ScenarioShares(**{scenario: 1.0}))
    for seed in range(15):
        assert sample_hemorrhages(np.random.default_rng(seed), parameters)


def test_blood_after_surgery_lies_on_the_side_of_the_craniotomy() -> None:
    parameters = HemorrhageParameters(positive_share=1.0, subtypes=("subdural",))
    sides = [
        sample_hemorrhages(np.random.default_rng(seed), parameters, (-60.0, 0.0, 30.0))[0].side for seed in range(300)
    ]
    assert sides.count(-1.0) > 180  # half of them without the 60 %


def test_the_same_seed_plans_the_same() -> None:
    parameters = HemorrhageParameters(positive_share=1.0)
    first, second = (sample_hemorrhages(np.random.default_rng(7), parameters) for _ in range(2))
    assert first == second
