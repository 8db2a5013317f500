from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from slicewise.errors import UsageError
from slicewise.phantom.anatomy import Anatomy, AnatomyParameters, sample_anatomy
from slicewise.phantom.mimics import MimicParameters

OFF = MimicParameters(**dict.fromkeys(MimicParameters.__struct_fields__, 0.0))


def _people(count: int, parameters: AnatomyParameters | None = None) -> list[Anatomy]:
    return [sample_anatomy(np.random.default_rng(seed), OFF, parameters) for seed in range(count)]


def test_densities_keep_the_ranges_of_textbooks() -> None:
    people = _people(200)
    assert all(35 <= one.grey_hu <= 42 and 25 <= one.white_hu <= 32 for one in people)
    assert all(one.grey_hu - one.white_hu > 2 for one in people)
    assert all(0 <= one.csf_hu <= 12 and 42 <= one.blood_hu <= 66 for one in people)


def test_the_old_have_wider_ventricles_and_sulci() -> None:
    young, old = (_people(60, AnatomyParameters(age=(age, age))) for age in (0.1, 0.9))
    for name in ("ventricles_mm", "sulci", "rim_mm"):
        assert np.mean([getattr(one, name) for one in old]) > np.mean([getattr(one, name) for one in young]) + 0.3


def test_heads_are_of_life_size_and_differ() -> None:
    # Width of the template's cavity about 146 mm, so inner widths of 125 to 150 mm.
    widths = np.array([146 * one.scale[0] for one in _people(200)])
    assert 132 < widths.mean() < 142
    assert widths.std() > 3


def test_every_mimic_can_be_switched_on_and_off() -> None:
    assert all(not one.mimics for one in _people(20))
    for kind in MimicParameters.__struct_fields__:
        if kind == "postoperative_air":
            continue
        one = sample_anatomy(np.random.default_rng(1), MimicParameters(**{**_off(), kind: 1.0}))
        assert {mimic.kind for mimic in one.mimics} == {kind}


def _off() -> dict[str, float]:
    return dict.fromkeys(MimicParameters.__struct_fields__, 0.0)


def test_switching_one_mimic_off_leaves_the_others() -> None:
    usual = sample_anatomy(np.random.default_rng(3), MimicParameters(tumour=1.0, clip=1.0))
    without = sample_anatomy(np.random.default_rng(3), MimicParameters(tumour=0.0, clip=1.0))
    assert [one for one in usual.mimics if one.kind != "tumour"] == list(without.mimics)


def test_mimics_come_as_often_as_asked() -> None:
    kinds = Counter(
        kind
        for seed in range(400)
        for kind in {
            one.kind for one in sample_anatomy(np.random.default_rng(seed), MimicParameters(tumour=0.3)).mimics
        }
    )
    assert kinds["tumour"] / 400 == pytest.approx(0.3, abs=0.07)
    assert kinds["craniectomy"] / 400 == pytest.approx(MimicParameters().craniectomy, abs=0.025)


def test_air_follows_surgery_and_surgery_has_a_place() -> None:
    parameters = MimicParameters(**{**_off(), "craniotomy": 1.0, "postoperative_air": 1.0})
    one = sample_anatomy(np.random.default_rng(0), parameters)
    assert [mimic.kind for mimic in one.mimics] == ["craniotomy", "pneumocephalus"]
    assert one.surgery == one.mimics[0].center
    assert _people(1)[0].surgery is None


def test_hydrocephalus_widens_ventricles_and_presses_sulci_shut() -> None:
    wide = sample_anatomy(np.random.default_rng(2), MimicParameters(**{**_off(), "hydrocephalus": 1.0}))
    usual = sample_anatomy(np.random.default_rng(2), OFF)
    assert min(wide.ventricles_mm) > 2
    assert wide.ventricles_mm[0] > usual.ventricles_mm[0] + 4
    assert wide.sulci < usual.sulci


@pytest.mark.parametrize(
    ("values", "message"), [({"age": (0.5, 0.2)}, "anatomy.age"), ({"size": 2.0}, "anatomy.size: 2.0")]
)
def test_impossible_parameters_are_reported(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AnatomyParameters(**values)  # type: ignore[arg-type]
